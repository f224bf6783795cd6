"""Label selectors and namespaces: how Kubernetes' objects find each other."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from drainproof.model import shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from drainproof.model.finding import Located
    from drainproof.model.shape import Raw

_Asking = TypeVar("_Asking")


class Selector(Struct, frozen=True):
    """A ``LabelSelector``: ``matchLabels`` and ``matchExpressions``."""

    labels: Mapping[str, str]
    expressions: tuple[tuple[str, str, tuple[str, ...]], ...]
    """Key, operator (``In``, ``NotIn``, ``Exists``, ``DoesNotExist``) and values."""
    written: bool
    """Whether it is there at all; what a selector that isn't there selects depends on the kind."""

    @classmethod
    def read(cls, parent: Raw, key: str, path: str) -> Selector:
        """Read the selector in a field.

        Raises:
            ShapeError: It holds another type than Kubernetes wants.
        """
        raw = shape.mapping(parent, key, path)
        path = shape.join(path, key)
        expressions = []
        for index, item in enumerate(shape.mappings(raw, "matchExpressions", path)):
            at = f"{path}.matchExpressions[{index}]"
            expressions.append(
                (
                    shape.text(item, "key", at),
                    shape.text(item, "operator", at),
                    shape.strings(item, "values", at),
                )
            )
        return cls(
            labels=shape.string_map(raw, "matchLabels", path),
            expressions=tuple(expressions),
            written=parent.get(key) is not None,
        )

    @property
    def names_some(self) -> bool:
        """Whether it asks for a label's value, so that it is meant for some objects, not all."""
        return bool(self.labels) or any(one[1] == "In" for one in self.expressions)

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Tell whether it selects an object with these labels; an empty one selects all."""
        for key, value in self.labels.items():
            if labels.get(key) != value:
                return False
        for key, operator, values in self.expressions:
            if operator == "In":
                met = labels.get(key) in values
            elif operator == "NotIn":
                met = labels.get(key) not in values
            else:
                met = (key in labels) == (operator == "Exists")
            if not met:
                return False
        return True


class Asking(Generic[_Asking]):
    """Finds what asks for labels, quickly where many ask for the same ``app: vllm``.

    Args:
        entries: What asks, each with the labels that it asks for.
    """

    def __init__(self, entries: Iterable[tuple[Mapping[str, str], _Asking]]) -> None:
        entries = list(entries)
        asked = Counter(pair for labels, _ in entries for pair in labels.items())
        self._by_label: dict[tuple[str, str], list[_Asking]] = {}
        self.for_nothing: list[_Asking] = []
        """Those that ask for no label."""
        for labels, entry in entries:
            if labels:
                rarest = min(labels.items(), key=asked.__getitem__)
                self._by_label.setdefault(rarest, []).append(entry)
            else:
                self.for_nothing.append(entry)

    def __bool__(self) -> bool:
        """Tell whether anything asks at all."""
        return bool(self._by_label or self.for_nothing)

    def candidates(self, labels: Mapping[str, str]) -> Iterator[_Asking]:
        """Yield what may ask for some of these labels: it does ask for one of them."""
        if self._by_label:
            for pair in labels.items():
                yield from self._by_label.get(pair, ())


def same_namespace(one: Located, other: Located) -> bool:
    """Tell whether two objects share a namespace; one that names none goes where the other is."""
    if one.namespace != other.namespace and one.namespace and other.namespace:
        return False
    here, there = one.origin, other.origin
    return (
        here is None
        or there is None
        or here.world == there.world
        or not here.world
        or not there.world
    )


def in_words(labels: Mapping[str, str]) -> str:
    """Write labels as people do: ``app=llama, tier=serving``."""
    return ", ".join(f"{key}={value}" for key, value in labels.items())
