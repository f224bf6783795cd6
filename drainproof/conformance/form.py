"""The form of a conformance report, as ``report/conformance.schema.json`` describes it."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

KIND: Final = "drainproof-conformance"
VERSION: Final = 1
"""Version of the form; it grows where a field is removed or means something else."""

Passed = Literal["passed", "failed", "inconclusive", "not_run"]
"""What became of a check. ``not_run``: the evidence does not hold what it asks for."""
Level = Literal["core", "extended"]
Shown = Literal["yes", "partly", "no", "not_shown"]


class Image(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a container of the deployment runs."""

    container: str
    image: str
    """As it is written in the pod template, or else as its node names it."""
    digest: str
    """``sha256:…`` as the pods' status has it, or as it is written; empty if neither tells."""


class Deployment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the report is about."""

    kind: str
    namespace: str
    name: str
    engine: str
    engine_version: str
    """Empty if nothing tells."""
    images: tuple[Image, ...]
    """More than one for a container if its pods did not all run the same."""

    @property
    def ref(self) -> str:
        """Its name as people write it."""
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


class Cluster(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where it ran."""

    sources: tuple[str, ...]
    """Where the evidence is from, in words: ``context prod, all namespaces``; none if all of it is
    files."""
    version: str
    """What the API server said: ``v1.34.1``; empty if it was not asked."""


class Result(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the evidence shows of one check."""

    check: str
    id: str
    title: str
    kind: Literal["manifest", "live", "chaos"]
    level: Level
    result: Passed
    reasons: tuple[str, ...]
    """Where it fails or why it can't be told or was not run; empty if it passed."""


class Features(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the deployment can do beyond the core."""

    supported: tuple[str, ...]
    """All checks of the feature passed."""
    unsupported: tuple[str, ...]
    """One of them failed."""
    unknown: tuple[str, ...]
    """Neither: the evidence does not show it."""


class Requirement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the evidence shows of one requirement of CNCF's Kubernetes AI Conformance."""

    id: str
    asks: str
    shown: Shown
    checks: dict[str, Passed]
    note: str


class Tally(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many checks of a level came out how."""

    passed: int
    failed: int
    inconclusive: int
    not_run: int


class Summary(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The counts."""

    core: Tally
    extended: Tally


class Proof(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that the report rests on."""

    file: str
    """Its name, and that of the run's folder."""
    kind: Literal["snapshot", "manifest", "history"]
    """A Snapshot of a cluster; the target's manifest alone; the streams and faults of a run."""
    taken_at: str
    """When, in UTC; empty if it does not say."""
    sha256: str
    """Of its bytes, in hexadecimal digits."""


class Report(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A conformance report. The same evidence gives the same report, byte for byte."""

    kind: Literal["drainproof-conformance"] = KIND
    version: Literal[1] = VERSION
    drainproof: str
    """The version of drainproof that wrote it."""
    deployment: Deployment
    cluster: Cluster
    profile: str
    summary: Summary
    checks: tuple[Result, ...]
    features: Features
    kubernetes_ai_conformance: tuple[Requirement, ...]
    evidence: tuple[Proof, ...]
