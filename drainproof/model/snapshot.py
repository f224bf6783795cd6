"""Everything that was collected at one moment, joined into what a check wants to ask about.

A Snapshot needs neither files nor a cluster: it can be saved, and judged again elsewhere.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

import orjson
from msgspec import Struct, field

from drainproof.errors import UserError
from drainproof.judge.verdict import Severity
from drainproof.model import shape
from drainproof.model.finding import Located, Origin, named
from drainproof.model.gather import gather
from drainproof.model.kinds import kind_of
from drainproof.model.metrics import Metrics
from drainproof.model.owners import controller_of
from drainproof.model.scaler import Scaler, is_scaler
from drainproof.model.secrets import hidden, is_value_of_secret, redacted
from drainproof.model.selector import same_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from drainproof.model.finding import Finding
    from drainproof.model.kinds import Kind
    from drainproof.model.shape import Raw
    from drainproof.model.workload import Workload

_Joined = TypeVar("_Joined")

VERSION = 1
"""Version of the saved form. A reader refuses what is newer."""
SAVED_AS = "drainproof-snapshot"
"""What ``kind`` a saved Snapshot has."""

_SECRETIVE = re.compile(r"token|secret|passw|api_?key|credential|private", re.IGNORECASE)
_SECRET_LINE = re.compile(
    r"^([ \t]*(?:export )?[\w.-]*(?:token|secret|passw|api[_-]?key|credential)[\w.-]*"
    r"[ \t]*[:=][ \t]*)(?!\d+[ \t]*$)\S.*$",
    re.IGNORECASE | re.MULTILINE,
)
"""A setting in a file that is named like a secret; counts, such as of tokens, are none."""
_NOBODYS = frozenset(
    {
        "Node", "Pod", "EndpointSlice", "ConfigMap", "IngressClass", "GatewayClass",
        "ClusterServingRuntime",
    }
)  # fmt: skip
"""Kinds that no workload must have an object of its own of."""
_HIDDEN = "(hidden)"


class Item(Struct, frozen=True, gc=False):
    """A raw object, and where it was written."""

    object: Raw
    origin: Origin | None = None


class Problem(Struct, frozen=True):
    """A part of the input that can't be read; the rest is judged all the same."""

    message: str
    file: str = ""
    line: int | None = None
    hint: str = ""
    path: str = ""
    """Field path, for a field that holds a wrong type."""
    origin: Origin | None = None

    def __str__(self) -> str:
        where = self.file + (f":{self.line}" if self.line else "")
        return ": ".join(part for part in (where, self.path, self.message) if part)


class Service(Located, frozen=True, kw_only=True):
    """A Service as checks ask about it."""

    selector: dict[str, str]


class _Index(Struct):
    """What a Snapshot knows after it has looked at every object once."""

    workloads: list[Workload] = field(default_factory=list)
    scalers: dict[tuple[str, str], list[Scaler]] = field(default_factory=dict)
    services: dict[tuple[str, str], list[Service]] = field(default_factory=dict)
    by_kind: dict[tuple[str, str], list[Item]] = field(default_factory=dict)
    """Objects by API group, without a version, and kind."""
    problems: list[Problem] = field(default_factory=list)
    other_workloads: int = 0
    fragments: int = 0


class Snapshot:
    """Kubernetes objects of one moment, and the joins between them.

    Args:
        items: The objects.
        partial: Whether related objects may exist elsewhere: true for files, false for a cluster.
        problems: What could not be read.
        files: How many files were read.
        skipped: How many documents were no Kubernetes manifests.
        taken_at: When, in seconds since the Unix epoch.
        source: Where from, in words: ``context prod, all namespaces``.
        texts: Text of inputs that can't be read again, by file name, to find lines in.
        metrics: What Prometheus said; None if it was not asked.
        unseen: Resources that could not be listed, by the kind that they are.
        calls: How many requests were made, by verb and resource: ``list deployments.apps``.
        namespaces: The only namespaces that were read; empty is all of them.
    """

    def __init__(  # noqa: PLR0913 - what was collected
        self,
        items: Iterable[Item] = (),
        *,
        partial: bool = True,
        problems: Iterable[Problem] = (),
        files: int = 0,
        skipped: int = 0,
        taken_at: float = 0.0,
        source: str = "",
        texts: Mapping[str, str] | None = None,
        metrics: Metrics | None = None,
        unseen: Mapping[str, str] | None = None,
        calls: Mapping[str, int] | None = None,
        namespaces: Iterable[str] = (),
    ) -> None:
        self.items = tuple(items)
        self.partial = partial
        self.files = files
        self.skipped = skipped
        self.taken_at = taken_at
        self.source = source
        self.texts = dict(texts or {})
        self.metrics = metrics
        self.unseen = dict(unseen or {})
        self.calls = Counter(calls or {})
        self.namespaces = tuple(namespaces)
        self._problems = tuple(problems)
        self._index: _Index | None = None
        self._joins: dict[Callable[[Snapshot], object], object] = {}

    @classmethod
    def of(cls, objects: Iterable[Raw], *, partial: bool = False) -> Snapshot:
        """Return a Snapshot of raw objects, such as those of a chaos run's target."""
        return cls((Item(obj) for obj in objects), partial=partial)

    @property
    def objects(self) -> tuple[Raw, ...]:
        """The raw objects."""
        return tuple(item.object for item in self.items)

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """The workloads that run an LLM engine."""
        return tuple(self._built().workloads)

    @property
    def other_workloads(self) -> int:
        """How many workloads run no LLM engine; they are left alone."""
        return self._built().other_workloads

    @property
    def fragments(self) -> int:
        """How many workloads are patches: no containers, or containers without an image."""
        return self._built().fragments

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What could not be read: broken files, and fields with a wrong type."""
        return (*self._problems, *self._built().problems)

    @property
    def hidden(self) -> str:
        """Related resources that could not be listed, in words; empty if all could."""
        return ", ".join(name for kind, name in self.unseen.items() if kind not in _NOBODYS)

    def scalers_for(self, workload: Workload) -> tuple[Scaler, ...]:
        """Return the autoscalers that target a workload."""
        found = self._built().scalers.get((workload.kind, workload.name), ())
        return tuple(scaler for scaler in found if same_namespace(scaler, workload))

    def scaler_for(self, workload: Workload) -> Scaler | None:
        """Return the autoscaler that targets a workload; the first if there are several."""
        return next(iter(self.scalers_for(workload)), None)

    def services_for(self, workload: Workload) -> tuple[Service, ...]:
        """Return the Services that select a workload's pods."""
        services = self._built().services
        labels = workload.pod_labels
        return tuple(
            service
            for pair in labels.items()
            for service in services.get(pair, ())
            if same_namespace(service, workload)
            and all(labels.get(key) == value for key, value in service.selector.items())
        )

    def join(self, build: Callable[[Snapshot], _Joined]) -> _Joined:
        """Return what ``build`` makes of this Snapshot; it is called once, at first asking."""
        if build not in self._joins:
            self._joins[build] = build(self)
        return cast("_Joined", self._joins[build])

    def read(
        self, group: str, kind: str, reader: Callable[[Raw, Origin | None], _Joined]
    ) -> list[_Joined]:
        """Return all objects of a kind, read by ``reader``.

        One that holds a wrong type becomes a problem of the Snapshot. Call it inside what
        :meth:`join` builds, so that each object is read once.

        Args:
            group: API group without a version: ``policy``; empty is the core group.
            kind: ``PodDisruptionBudget``.
            reader: Makes a value of a raw object and its origin; may raise ShapeError.
        """
        found = []
        for item in self._built().by_kind.get((group, kind), ()):
            try:
                found.append(reader(item.object, item.origin))
            except shape.ShapeError as error:
                who = Located(**named(item.object), object=item.object, origin=item.origin)
                self.refuse(who, error)
        return found

    def refuse(self, who: Located, error: shape.ShapeError) -> None:
        """Note that a field of an object holds another type than Kubernetes wants."""
        problem = _wrong_type(who, error)
        if problem not in self._built().problems:
            self._built().problems.append(problem)

    def absence(
        self, subject: Located, path: str, message: str, severity: Severity | None = None
    ) -> Finding:
        """Return a finding that a related object is missing.

        Where the input is partial, such as one file of a chart, it is a warning that says so. In a
        cluster it can't be told where related objects may not be listed.
        """
        if self.hidden:
            return subject.inconclusive(
                path, f"{message}, unless it is among what could not be listed: {self.hidden}"
            )
        if self.partial:
            message = (
                f"{message} (a warning only: it may be in files that this audit was not given)"
            )
            severity = Severity.WARNING
        return subject.finding(path, message, severity)

    def to_json(self) -> bytes:
        """Return the saved form. Values that look like secrets are hidden in it."""
        return orjson.dumps(
            {
                "kind": SAVED_AS,
                "version": VERSION,
                "taken_at": self.taken_at,
                "source": self.source,
                "partial": self.partial,
                "unseen": self.unseen,
                "namespaces": self.namespaces,
                "metrics": self.metrics and self.metrics.saved(),
                "items": [
                    {
                        "object": _without_secrets(item.object),
                        "file": item.origin.file if item.origin else "",
                        "line": item.origin.line if item.origin else None,
                    }
                    for item in self.items
                    if item.object.get("kind") != "Secret"
                ],
            }
        )

    @classmethod
    def from_json(cls, saved: bytes) -> Snapshot:
        """Return the Snapshot that :meth:`to_json` saved.

        Raises:
            UserError: It is no saved Snapshot, or a newer one than this drainproof reads.
        """
        try:
            return cls.from_saved(orjson.loads(saved))
        except orjson.JSONDecodeError as error:
            raise UserError(f"not a saved Snapshot: {error}") from None

    @classmethod
    def from_saved(cls, values: object) -> Snapshot:
        """Return the Snapshot in a parsed saved form.

        Raises:
            UserError: It is no saved Snapshot, or a newer one than this drainproof reads.
        """
        if not isinstance(values, dict) or values.get("kind") != SAVED_AS:
            raise UserError("not a saved Snapshot")
        version = values.get("version")
        if version != VERSION:
            raise UserError(
                f"a Snapshot of version {version}; this drainproof reads version {VERSION}"
            )
        try:
            return cls(
                (
                    Item(_mapping(item["object"]), Origin(item["file"], _line(item["line"]), 0, 0))
                    if item["file"]
                    else Item(_mapping(item["object"]))
                    for item in values["items"]
                ),
                partial=bool(values["partial"]),
                taken_at=float(values["taken_at"]),
                source=str(values["source"]),
                metrics=Metrics.from_saved(values["metrics"]) if values.get("metrics") else None,
                unseen={str(kind): str(name) for kind, name in values.get("unseen", {}).items()},
                namespaces=[str(name) for name in values.get("namespaces", ())],
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"a damaged Snapshot: {error!r}") from None

    def _built(self) -> _Index:
        if self._index is None:
            self._index = _index(self.items, partial=self.partial)
        return self._index


def _index(items: Iterable[Item], *, partial: bool) -> _Index:
    index = _Index()
    pods: list[tuple[Item, Kind]] = []
    for item in items:
        obj = item.object
        version, kind = obj.get("apiVersion"), obj.get("kind")
        if isinstance(version, str) and isinstance(kind, str):
            group, slash, _ = version.partition("/")
            index.by_kind.setdefault((group if slash else "", kind), []).append(item)
        facts = kind_of(obj)
        if facts is not None:
            pods.append((item, facts))
            continue
        try:
            if is_scaler(obj):
                _add_scaler(index, Scaler.from_object(obj, item.origin))
            elif kind == "Service" and version == "v1":
                _add_service(index, obj, item.origin)
        except shape.ShapeError as error:
            who = Located(**named(obj), object=obj, origin=item.origin)
            index.problems.append(_wrong_type(who, error))
    gathered = gather(pods, index.by_kind, partial=partial)
    index.workloads = gathered.workloads
    index.other_workloads, index.fragments = gathered.others, gathered.fragments
    index.problems += [_wrong_type(*refused) for refused in gathered.refused]
    return index


def _wrong_type(who: Located, error: shape.ShapeError) -> Problem:
    return Problem(
        f"{who.ref}: {error.message}",
        file=who.file,
        path=error.path,
        origin=who.origin,
        hint="The API server would refuse it too.",
    )


def _add_scaler(index: _Index, scaler: Scaler) -> None:
    if controller_of(scaler.object) is not None:
        return  # the HorizontalPodAutoscaler that KEDA makes of a ScaledObject
    index.scalers.setdefault((scaler.target_kind, scaler.target_name), []).append(scaler)


def _add_service(index: _Index, obj: Raw, origin: Origin | None) -> None:
    spec = shape.mapping(obj, "spec", "")
    selector = shape.string_map(spec, "selector", "spec")
    if selector:
        service = Service(**named(obj), object=obj, origin=origin, selector=selector)
        index.services.setdefault(next(iter(selector.items())), []).append(service)


def _mapping(value: Any) -> Raw:  # noqa: ANN401 - a part of a saved form
    if not isinstance(value, dict):
        raise TypeError("an object that is no mapping")
    return value


def _without_secrets(obj: Raw) -> Raw:
    """Return a copy without what may hold secrets or is of no use to judge."""

    def clean(value: Any, name: str = "") -> Any:  # noqa: ANN401 - any part of a manifest
        if isinstance(value, dict):
            secretive = bool(_SECRETIVE.search(str(value.get("name", ""))))
            return {
                key: hidden(part)
                if key == "value" and secretive and isinstance(part, str)
                else clean(part, key)
                for key, part in value.items()
                if key not in {"managedFields", "kubectl.kubernetes.io/last-applied-configuration"}
            }
        if isinstance(value, list):
            return [
                _HIDDEN
                if index and is_value_of_secret(value[index - 1], part)
                else clean(part, name)
                for index, part in enumerate(value)
            ]
        if isinstance(value, str):
            return redacted(value)
        return value

    cleaned: Raw = clean(obj)
    data = cleaned.get("data")
    if cleaned.get("kind") == "ConfigMap" and isinstance(data, dict):
        cleaned["data"] = {
            key: _HIDDEN
            if _SECRETIVE.search(key) and isinstance(text, str) and not text.strip().isdecimal()
            else _SECRET_LINE.sub(rf"\1{_HIDDEN}", text)
            if isinstance(text, str)
            else text
            for key, text in data.items()
        }
    return cleaned


def _line(saved: int | None) -> int:
    """Return a saved line; 0, which says that an object was rendered, stays 0."""
    return 1 if saved is None else saved


def items_of(found: object, origin: Origin | None) -> Iterator[Item]:
    """Yield the objects in a parsed document: itself, or what a List holds.

    A document that is no Kubernetes manifest yields nothing.
    """
    if not isinstance(found, dict) or "kind" not in found or "apiVersion" not in found:
        return
    kind, listed = found["kind"], found.get("items")
    if isinstance(kind, str) and kind.endswith("List") and isinstance(listed, list):
        for index, obj in enumerate(listed):
            inner = None
            if origin is not None:
                prefix = (*origin.prefix, "items", index)
                inner = Origin(origin.file, origin.line, origin.start, origin.end, prefix)
            yield from items_of(obj, inner)
        return
    yield Item(found, origin)
