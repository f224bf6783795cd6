"""Everything that was collected at one moment, joined into what a check wants to ask about.

A Snapshot needs neither files nor a cluster: it can be saved, and judged again elsewhere.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

import orjson
from msgspec import Struct, field
from msgspec.structs import replace

from drainproof.errors import UserError
from drainproof.judge.verdict import Severity
from drainproof.model import shape
from drainproof.model.finding import Located, Origin, named
from drainproof.model.gather import gather
from drainproof.model.kinds import kind_of, meant
from drainproof.model.metrics import Metrics
from drainproof.model.owners import controller_of
from drainproof.model.scaler import Scaler, is_scaler
from drainproof.model.secrets import (
    field_holds_a_secret,
    hidden,
    is_value_of_secret,
    is_written_out,
    redacted,
)
from drainproof.model.selector import same_namespace
from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from drainproof.model.finding import Finding
    from drainproof.model.kinds import Kind
    from drainproof.model.shape import Raw
    from drainproof.model.workload import Workload

_Joined = TypeVar("_Joined")

VERSION = 1
"""Version of the saved form. A reader refuses what is newer."""
SAVED_AS = "drainproof-snapshot"
"""What ``kind`` a saved Snapshot has."""

_SECRETIVE = regex(
    r"token|secret|passw|api[_-]?key|credential|private|authorization|cookie"
    r"|(?:^|[_-])(?:creds?|pass)(?![a-z])",
    re.IGNORECASE,
)
_SECRET_LINE = regex(
    r"^([ \t]*(?:export )?[\w.-]*(?:token|secret|passw|api[_-]?key|credential|authorization)[\w.-]*"
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


class _Index(Struct):
    """What a Snapshot knows after it has looked at every object once."""

    workloads: list[Workload] = field(default_factory=list)
    scalers: dict[tuple[str, str], list[Scaler]] = field(default_factory=dict)
    by_kind: dict[tuple[str, str], list[Item]] = field(default_factory=dict)
    """Objects by API group, without a version, and kind."""
    problems: list[Problem] = field(default_factory=list)
    other_workloads: int = 0
    fragments: int = 0
    unjudged: list[tuple[Located, str]] = field(default_factory=list)


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
        cluster_version: What the API server says that it is: ``v1.34.1``; empty if it did not.
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
        cluster_version: str = "",
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
        self.cluster_version = cluster_version
        self._problems = tuple(problems)
        self._index: _Index | None = None
        self._joins: dict[Callable[[Snapshot], object], object] = {}

    @classmethod
    def of(cls, objects: Iterable[Raw], *, partial: bool = False) -> Snapshot:
        """Return a Snapshot of raw objects, such as those of a chaos run's target."""
        return cls((Item(obj) for obj in objects), partial=partial)

    def of_cluster(
        self, cluster: str, workloads: Iterable[Workload], items: Iterable[Item]
    ) -> Snapshot:
        """Return what reports ask of it, in a cluster's name and without what only checks need.

        Args:
            cluster: The context.
            workloads: Its workloads, in that name.
            items: The objects that are still needed.
        """
        short = Snapshot(
            items,
            partial=self.partial,
            problems=[replace(one, message=f"{cluster}: {one.message}") for one in self.problems],
            taken_at=self.taken_at,
            source=cluster,
            calls=self.calls,
        )
        short._index = _Index(
            workloads=list(workloads),
            other_workloads=self.other_workloads,
            fragments=self.fragments,
            unjudged=[(replace(who, cluster=cluster), why) for who, why in self.unjudged],
        )
        return short

    @classmethod
    def together(cls, parts: Sequence[Snapshot]) -> Snapshot:
        """Return what :meth:`of_cluster` returned of several clusters as one."""
        calls: Counter[str] = Counter()
        for part in parts:
            calls.update(part.calls)
        found = cls(
            [item for part in parts for item in part.items],
            partial=False,
            problems=[one for part in parts for one in part.problems],
            taken_at=min((part.taken_at for part in parts if part.taken_at), default=0.0),
            source=f"{len(parts)} clusters: {', '.join(part.source for part in parts)}",
            calls=calls,
        )
        found._index = _Index(
            workloads=[one for part in parts for one in part.workloads],
            other_workloads=sum(part.other_workloads for part in parts),
            fragments=sum(part.fragments for part in parts),
            unjudged=[one for part in parts for one in part.unjudged],
        )
        return found

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
    def unjudged(self) -> tuple[tuple[Located, str], ...]:
        """What serves a language model by what is not in the input, and why it can't be judged."""
        return tuple(self._built().unjudged)

    @property
    def whole(self) -> bool:
        """Tell whether all was read that was asked for; of what was read, some may be wrong."""
        return not self._problems

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
        return tuple([scaler for scaler in found if same_namespace(scaler, workload)])

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
                "cluster_version": self.cluster_version,
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
                cluster_version=str(values.get("cluster_version", "")),
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
            if kind == "List":
                shape.mappings(obj, "items", "")  # a list of them was taken apart
            elif is_scaler(obj):
                _add_scaler(index, Scaler.from_object(obj, item.origin))
        except shape.ShapeError as error:
            who = Located(**named(obj), object=obj, origin=item.origin)
            index.problems.append(_wrong_type(who, error))
    gathered = gather(pods, index.by_kind, partial=partial)
    index.workloads = gathered.workloads
    index.other_workloads, index.fragments = gathered.others, gathered.fragments
    index.unjudged = gathered.unjudged
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
                if isinstance(part, str)
                and ((key == "value" and secretive) or _is_secret(key, part))
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


def _is_secret(key: object, value: str) -> bool:
    """Tell whether a field is a secret by its name; counts, such as of tokens, are none."""
    named = isinstance(key, str) and field_holds_a_secret(key)
    return named and is_written_out(value) and not value.strip().isdecimal()


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


def malformed(found: object, origin: Origin) -> Iterator[Problem]:
    """Yield what in a parsed document is an object that kubectl refuses, so that none is dropped.

    That is an object without a kind, or one whose kind is a workload's in another case. Any other
    document, such as Helm values or a compose file, is no object.
    """
    if not isinstance(found, dict):
        return
    kind, version = found.get("kind"), found.get("apiVersion")
    if not kind:
        fields = [isinstance(found.get(name), dict) for name in ("metadata", "spec")]
        is_object = isinstance(version, str) or (all(fields) and named(found)["name"])
        if is_object and any(fields):
            yield _malformed(found, origin, "", "an object without a kind", "Add its kind.")
    elif isinstance(kind, str) and isinstance(version, str):
        listed = found.get("items")
        if kind.endswith("List") and isinstance(listed, list):
            for index, obj in enumerate(listed):
                yield from malformed(obj, replace(origin, prefix=(*origin.prefix, "items", index)))
        elif right := meant(version, kind):
            said = f"expected {right}, found {kind}"
            yield _malformed(found, origin, "kind", said, f"Write kind: {right}.")


def _malformed(obj: Raw, origin: Origin, path: str, said: str, hint: str) -> Problem:
    name = named(obj)["name"]
    return Problem(
        f"{said} ({name})" if name else said,
        file=origin.file,
        line=origin.line or None,
        path=path,
        origin=origin,
        hint=f"{hint} The API server refuses it as it is.",
    )
