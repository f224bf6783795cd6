"""What a check yields: one place, in one object, where it does not hold."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from drainproof.judge.verdict import Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drainproof.model.form import Form
    from drainproof.model.shape import Raw


NOTHING: Mapping[str, Any] = MappingProxyType({})
"""The repair of what a person has to decide; one value, since large audits have very many."""


class Origin(Struct, frozen=True, gc=False):
    """Where in the input an object was written, so that lines can be found for what needs them."""

    file: str
    """Path as the user gave it; ``-`` is standard input."""
    line: int
    """First line of its document, from 1; 0 if it was rendered and stands in no file as it is."""
    start: int
    """Where its document begins in the file's text, in characters."""
    end: int
    """Where its document ends."""
    prefix: tuple[str | int, ...] = ()
    """Where the object is in its document: ``("items", 3)`` in a List, else empty."""
    world: str = ""
    """The folder that it was read from, where another one holds the same workload. The two are for
    two clusters, and nothing joins them; what has no world goes with everything."""
    form: Form | None = None
    """What it shares with documents before it that differ in the number in its name only."""


class Located(Struct, frozen=True, kw_only=True):
    """An object that checks look at and findings point into."""

    kind: str
    namespace: str
    """Empty if the manifest names none."""
    name: str
    object: Raw
    """The object as it was written."""
    origin: Origin | None = None
    cluster: str = ""
    """The context of its cluster, where an audit is of several; else empty."""

    @property
    def file(self) -> str:
        """The file that it was read from; empty if it came from a cluster."""
        return self.origin.file if self.origin else ""

    @property
    def ref(self) -> str:
        """Its name in reports: :attr:`own_ref`, after its cluster where there are several."""
        return f"{self.cluster}: {self.own_ref}" if self.cluster else self.own_ref

    @property
    def own_ref(self) -> str:
        """Its name as people write it: ``Deployment/inference/vllm``."""
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)

    def finding(
        self,
        path: str,
        message: str,
        severity: Severity | None = None,
        *,
        repair: Mapping[str, Any] | None = None,
        fix: str = "",
    ) -> Finding:
        """Return a finding at a field; severity and fix are the check's unless they are given."""
        return Finding(path, message, self, severity, repair=repair or NOTHING, fix=fix)

    def inconclusive(self, path: str, message: str, *, fix: str = "") -> Finding:
        """Return what says that the check can't be decided, and why."""
        return Finding(path, message, self, verdict=Verdict.INCONCLUSIVE, fix=fix)

    def assumption(self, path: str, message: str) -> Finding:
        """Return what says that the check holds if something holds that can't be seen."""
        return Finding(path, message, self, verdict=Verdict.PASS)


class Finding(Struct, frozen=True, gc=False):
    """One place where a check fails, or can't tell, or rests on an assumption."""

    path: str
    """Field path from the object's root; empty is the object itself."""
    message: str
    """What happens to users, with the value found."""
    where: Located
    """The object that ``path`` is in; not always the subject itself."""
    severity: Severity | None = None
    """None is the check's own."""
    verdict: Verdict = Verdict.FAIL
    """``pass`` marks an assumption that the verdict rests on."""
    repair: Mapping[str, Any] = NOTHING
    """Fields of ``where``, by path, and the values that mend it without guessing. Empty where a
    person has to decide. A path may name what is not there yet, and an item of a list by its name:
    ``spec.template.spec.volumes[name=dshm].emptyDir.sizeLimit``."""
    fix: str = ""
    """What to do, in a sentence, where that is not what the check's own documentation says first:
    for another engine, kind or cause. Empty is the check's own."""

    @property
    def object(self) -> str:
        """The object as people write it: ``Kind/namespace/name``."""
        return self.where.ref

    @property
    def origin(self) -> Origin | None:
        """Where that object was written; None if it came from a cluster."""
        return self.where.origin


def named(obj: Raw) -> dict[str, Any]:
    """Return ``kind``, ``namespace`` and ``name`` of a raw object, as strings."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    name = metadata.get("name") or metadata.get("generateName") or ""
    return {
        "kind": str(obj.get("kind") or ""),
        "namespace": str(metadata.get("namespace") or ""),
        "name": str(name),
    }
