"""Things that take long to make are made once: a cache keyed by what each thing is made from."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drainproof.clusters.places import cache_folder, clusters_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from drainproof.progress import Progress

_KEEP_UNUSED_S = 14 * 24 * 3600
_AT_ONCE = 2


@dataclass(frozen=True, slots=True, eq=False)
class Artefact:
    """A folder that can be made again from its inputs.

    Args:
        name: What it is, in a word or two with hyphens; part of the folder's name.
        inputs: What it is made from, by name. A path stands for the content of that file or
            folder (of a Python file: for its code without comments), an artefact for its key.
        build: Fills the empty folder that it is given. Only what it finishes is ever used.
        estimate_s: Seconds that ``build`` takes on two cores; a guess until it was built once.
    """

    name: str
    inputs: Mapping[str, str | Path | Artefact]
    build: Callable[[Path], None]
    estimate_s: float
    _key: list[str] = field(default_factory=list, repr=False)

    @property
    def key(self) -> str:
        """The hash of the name and of all inputs."""
        if not self._key:
            digest = hashlib.sha256(self.name.encode())
            for label, value in sorted(self.inputs.items()):
                one = value.key if isinstance(value, Artefact) else content_hash(value)
                digest.update(f"\0{label}\0{one}".encode())
            self._key.append(digest.hexdigest()[:16])
        return self._key[0]

    @property
    def path(self) -> Path:
        """The folder where the artefact is once it was built."""
        return artefacts_folder() / f"{self.name}-{self.key}"

    @property
    def exists(self) -> bool:
        """Whether it was built and is whole."""
        return self.path.is_dir()

    @property
    def needs(self) -> list[Artefact]:
        """The artefacts among the inputs."""
        return [value for value in self.inputs.values() if isinstance(value, Artefact)]

    @property
    def seconds(self) -> float:
        """How long the last build took, or the estimate."""
        try:
            return float((_times_folder() / self.name).read_text())
        except (OSError, ValueError):
            return self.estimate_s


def artefacts_folder() -> Path:
    """Return the folder of all artefacts."""
    return cache_folder() / "artefacts"


def _times_folder() -> Path:
    return artefacts_folder() / ".times"


def content_hash(value: str | Path) -> str:
    """Hash a text, a file or a folder; names, kinds and execute bits count, times do not."""
    if isinstance(value, str):
        return hashlib.sha256(value.encode()).hexdigest()
    if not value.is_dir():
        return hashlib.sha256(_file_content(value)).hexdigest()
    digest = hashlib.sha256()
    for path in sorted(value.rglob("*")):
        if "__pycache__" in path.parts:
            continue
        state = path.lstat()
        kind = stat.S_IFMT(state.st_mode) | (state.st_mode & stat.S_IXUSR)
        digest.update(f"\0{path.relative_to(value)}\0{kind}\0".encode())
        if path.is_symlink():
            digest.update(str(path.readlink()).encode())
        elif path.is_file():
            digest.update(hashlib.sha256(_file_content(path)).digest())
    return digest.hexdigest()


def _file_content(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".py":
        with contextlib.suppress(SyntaxError):
            return ast.dump(ast.parse(content)).encode()
    return content


def missing(wanted: Sequence[Artefact]) -> list[Artefact]:
    """Return what must be built to have ``wanted``, inputs before what is made from them.

    Inputs of an artefact that exists are not needed any more, and not listed.
    """
    order: list[Artefact] = []
    seen: set[str] = set()

    def visit(artefact: Artefact) -> None:
        if artefact.key in seen or artefact.exists:
            return
        seen.add(artefact.key)
        for need in artefact.needs:
            visit(need)
        order.append(artefact)

    for artefact in wanted:
        visit(artefact)
    return order


def ensure(wanted: Sequence[Artefact], progress: Progress) -> None:
    """Build what is missing of ``wanted`` and of their inputs, two at a time.

    Whoever else builds the same artefact at this time is waited for, and its result is used.

    Raises:
        UserError: An artefact could not be built.
    """
    todo = missing(wanted)
    for artefact in wanted:
        if artefact.exists:
            os.utime(artefact.path)
    if not todo:
        return
    waiting = {artefact.key: artefact for artefact in todo}
    running: dict[Future[None], str] = {}
    try:
        while waiting or running:
            for key, artefact in list(waiting.items()):
                unbuilt = {need.key for need in artefact.needs} & {*waiting, *running.values()}
                if not unbuilt and len(running) < _AT_ONCE:
                    del waiting[key]
                    running[_in_background(artefact, progress)] = key
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                del running[future]
                future.result()
    except Exception:
        wait(running)
        raise


def _in_background(artefact: Artefact, progress: Progress) -> Future[None]:
    """Build in a thread that no interrupt waits for; what it runs dies with it."""
    future: Future[None] = Future()

    def work() -> None:
        try:
            _make(artefact, progress)
            future.set_result(None)
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=work, name=artefact.name, daemon=True).start()
    return future


def _make(artefact: Artefact, progress: Progress) -> None:
    folder = artefacts_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".locks" / artefact.path.name, progress, artefact.name):
        if artefact.exists:
            return
        for stale in folder.glob(f".{artefact.path.name}.*"):
            shutil.rmtree(stale, ignore_errors=True)
        unfinished = folder / f".{artefact.path.name}.{os.getpid()}"
        unfinished.mkdir()
        begun = time.monotonic()
        try:
            with progress.step(artefact.name, artefact.seconds):
                artefact.build(unfinished)
            unfinished.rename(artefact.path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        _times_folder().mkdir(exist_ok=True)
        (_times_folder() / artefact.name).write_text(f"{time.monotonic() - begun:.1f}\n")
    _forget_unused(artefact)


def _forget_unused(artefact: Artefact) -> None:
    """Remove other versions of an artefact that no cluster and, for two weeks, nobody used."""
    running = "".join(record.read_text() for record in clusters_folder().glob("*/cluster.json"))
    for other in artefacts_folder().glob(f"{artefact.name}-{'[0-9a-f]' * len(artefact.key)}"):
        unused_s = time.time() - other.stat().st_mtime
        if other != artefact.path and unused_s > _KEEP_UNUSED_S and other.name not in running:
            doomed = other.with_name(f".{other.name}.old")
            with contextlib.suppress(OSError):
                other.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


@contextlib.contextmanager
def locked(lock: Path, progress: Progress, what: str) -> Iterator[None]:
    """Hold an exclusive lock between processes; it is let go even if this one is killed."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.line(f"{what}: another run is at it; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
