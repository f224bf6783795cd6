"""Reads saved evidence: Snapshots of ``audit --save`` and the folders of chaos runs."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from drainproof.collect import files
from drainproof.conformance.form import Image, Proof
from drainproof.errors import UserError
from drainproof.faults.snapshot import REDACTED, SNAPSHOT
from drainproof.judge.chaos import HISTORY, judge_evidence
from drainproof.model.running import pods_of
from drainproof.streams.history import Header, Pod, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

Digests = dict[str, dict[str, str]]
"""By container: each image that its pods ran, by its digest."""


class Seen(Struct, frozen=True, kw_only=True):
    """A Snapshot, with what it is written in."""

    snapshot: Snapshot
    proof: Proof
    hides: bool
    """Whether values were taken out of it that checks may ask for, as a run does with variables."""


class Run(Struct, frozen=True, kw_only=True):
    """A chaos run."""

    verdict: ChaosVerdict
    digests: Digests
    manifest: Seen | None
    proof: Proof


class Evidence(Struct, frozen=True, kw_only=True):
    """All that a report rests on."""

    seen: tuple[Seen, ...]
    runs: tuple[Run, ...]
    files: tuple[Path, ...]
    """Every file that was read."""


def gather(paths: Sequence[Path]) -> Evidence:
    """Read evidence.

    Args:
        paths: Files that ``drainproof audit --save`` wrote, and evidence folders of
            ``drainproof chaos``.

    Raises:
        UserError: One is neither, or is damaged.
    """
    seen: list[Seen] = []
    runs: list[Run] = []
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            run, own = _run(path)
            runs.append(run)
            found += own
        else:
            seen.append(_saved(path, path.name, "snapshot"))
            found.append(path)
    return Evidence(seen=tuple(seen), runs=tuple(runs), files=tuple(found))


def _run(folder: Path) -> tuple[Run, list[Path]]:
    history, manifest = folder / HISTORY, folder / SNAPSHOT
    verdict = judge_evidence(folder)
    at, digests = _of_pods(history)
    name = folder.resolve().name
    proof = Proof(
        file=f"{name}/{HISTORY}", kind="history", taken_at=_utc(at), sha256=_sha256(history)
    )
    if not manifest.is_file():
        return Run(verdict=verdict, digests=digests, manifest=None, proof=proof), [history]
    own = _saved(manifest, f"{name}/{SNAPSHOT}", "manifest")
    return Run(verdict=verdict, digests=digests, manifest=own, proof=proof), [history, manifest]


def _saved(path: Path, name: str, kind: Literal["manifest", "snapshot"]) -> Seen:
    """Read a Snapshot, or the manifest that a run keeps.

    Raises:
        UserError: It can't be read, or is neither.
    """
    snapshot = files.read([path])
    of_run = kind == "manifest"
    if snapshot.files and snapshot.problems:
        raise UserError(str(snapshot.problems[0]), hint=snapshot.problems[0].hint)
    if snapshot.files and not of_run:  # one that was saved does not say how many it was read from
        raise UserError(
            f"{path}: expected a Snapshot or the evidence folder of a chaos run, found neither",
            hint="Save one: drainproof audit --context CONTEXT -n NAMESPACE --save FILE",
        )
    return Seen(
        snapshot=snapshot,
        hides=of_run and REDACTED.encode() in path.read_bytes(),
        proof=Proof(
            file=name,
            kind=kind,
            taken_at="" if of_run else _utc(snapshot.taken_at),
            sha256=_sha256(path),
        ),
    )


def _of_pods(history: Path) -> tuple[float, Digests]:
    """Return when a History begins, and the images of its pods."""
    at = 0.0
    digests: Digests = {}
    for record in read(history, _few):
        if isinstance(record, Header):
            at = record.at
        elif isinstance(record, Pod):
            for one in record.containers:
                _note(digests, one.get("name"), one.get("image"), one.get("image_id"))
    return at, digests


def _few(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the header and what is said of pods; a History's other lines may be millions."""
    for number, line in enumerate(lines, 1):
        if number == 1 or line.startswith(b'{"kind":"pod"'):
            yield number, line


def running(snapshot: Snapshot, workload: Workload) -> Digests:
    """Return the images of a workload's pods in a Snapshot."""
    digests: Digests = {}
    for pod in pods_of(snapshot, workload):
        for one in pod.object["status"].get("containerStatuses") or ():
            _note(digests, one.get("name"), one.get("image"), one.get("imageID"))
    return digests


def _note(digests: Digests, container: object, image: object, image_id: object) -> None:
    digest = digest_in(str(image_id or ""))
    if digest:
        digests.setdefault(str(container), {}).setdefault(digest, str(image or ""))


def digest_in(image: str) -> str:
    """Return the digest in an image's name or id: ``sha256:…``; empty if there is none."""
    _, found, digits = image.rpartition("sha256:")
    return f"{found}{digits}" if found and digits else ""


def images(written: Mapping[str, str], digests: Sequence[Digests]) -> tuple[Image, ...]:
    """Return what each container runs.

    Args:
        written: The image of each container, as the pod template has it.
        digests: What its pods ran, from each piece of evidence.
    """
    together: Digests = {container: {} for container in written}
    for one in digests:
        for container, ran in one.items():
            if not written or container in written:
                for digest, image in ran.items():
                    together.setdefault(container, {}).setdefault(digest, image)
    return tuple(
        Image(container=container, image=written.get(container) or image, digest=digest)
        for container, ran in sorted(together.items())
        for digest, image in sorted((ran or {digest_in(written[container]): ""}).items())
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
