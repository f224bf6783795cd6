"""The journal: every change to a cluster, written down before it is made, with what takes it back.

It is on disk (synced) and in the cluster as a ConfigMap before the first change, so that a run that
was killed at any moment can be undone from either. Undoing is idempotent: a change that was never
made, or was taken back already, is found to be so and left alone.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import orjson

from drainproof.errors import UserError
from drainproof.faults.api import NOT_FOUND, ApiError, Object
from drainproof.faults.undo import MANAGED, Change, change_of, make, undo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drainproof.faults.api import Api

VERSION = 3
FILE = "journal.json"
RUN_LABEL = "drainproof.dev/run"
JOURNALS = "app.kubernetes.io/managed-by=drainproof,drainproof.dev/role=journal"
_PATIENCE_S = 60.0
"""How long undoing goes on against an API server that doesn't answer."""
_PAUSE_S = 1.0
_MOST_BYTES = 1_000_000
"""A ConfigMap's data may have 1 MiB, its keys included."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A journal's whole content."""

    version: int
    run: str
    context: str
    namespace: str
    target: str
    lease: str
    created: float
    """Seconds since the Unix epoch."""
    changes: tuple[Change, ...] = ()


def journal_name(run: str) -> str:
    """Return the name of the ConfigMap with a run's journal."""
    return f"drainproof-journal-{run}"


class Journal:
    """The journal of one run.

    Args:
        api: The cluster.
        folder: Where ``journal.json`` is; made if need be.
        entry: What is known of the run before any change.
    """

    def __init__(self, api: Api, folder: Path | None, entry: Entry) -> None:
        self._api = api
        self._folder = folder
        self.entry = entry

    @property
    def name(self) -> str:
        """The ConfigMap's name."""
        return journal_name(self.entry.run)

    def open(self) -> None:
        """Write the empty journal to disk, then into the cluster.

        Raises:
            UserError: Either can't be written; nothing has been changed.
        """
        self._to_disk()
        self._api.create("ConfigMap", self.entry.namespace, self._config_map())

    @property
    def mark(self) -> int:
        """How many changes stand in it: where those of the next fault begin."""
        return len(self.entry.changes)

    def plan(self, change: Change) -> None:
        """Write down a change that is about to be made.

        Raises:
            UserError: It can't be written, on disk or in the cluster; so don't make it.
        """
        self._check_size(change)
        self.entry = replace(self.entry, changes=(*self.entry.changes, change))
        self._to_disk()
        self._to_cluster()

    def make(self, change: Change) -> Object:
        """Write a change to an object's fields down, and make it.

        Returns:
            The object as it is stored.

        Raises:
            UserError: It can't be written down, or the object is no longer what it was when the
                change was planned, or the API server refused.
        """
        self.plan(change)
        return make(self._api, self.entry.namespace, change)

    def undo(
        self, say: Callable[[str], None], since: int | None = None, until: int | None = None
    ) -> bool:
        """Take back every change that is not taken back yet, the last first; say what was done.

        Args:
            say: Told each step.
            since: Leave the changes before this :attr:`mark` as they are; the journal then stays.
            until: Likewise those from this one on.

        Returns:
            Whether everything is as it was. If not, the journal stays in the cluster.
        """
        clean = True
        give_up = time.monotonic() + _PATIENCE_S
        for index in reversed(range(since or 0, self.mark if until is None else until)):
            change = self.entry.changes[index]
            if change.undone:
                continue
            try:
                say(patiently(partial(undo, self._api, self.entry.namespace, change), give_up))
            except UserError as error:
                say(f"could not undo {change}: {error.message}")
                clean = False
                continue
            changes = list(self.entry.changes)
            changes[index] = replace(change, undone=True)
            self.entry = replace(self.entry, changes=tuple(changes))
            try:
                self._to_disk()
            except UserError as error:  # what is left must be undone all the same
                say(error.message)
        try:
            patiently(self._close if clean and since is None else self._to_cluster, give_up)
        except ApiError as error:
            # it may be gone when this journal was read from disk
            if error.status != NOT_FOUND:
                say(f"could not write configmap/{self.name}: {error.message}")
                clean = False
        return clean

    def _close(self) -> None:
        self._api.delete("ConfigMap", self.entry.namespace, self.name)

    def _check_size(self, change: Change) -> None:
        size = len(_dump(self._left(change)))
        if size > _MOST_BYTES:
            raise UserError(
                f"the journal of {len(self.entry.changes)} changes has {size} bytes, and a "
                f"ConfigMap takes {_MOST_BYTES}",
                hint="Put fewer faults into one run.",
            )

    def _left(self, *more: Change) -> Entry:
        """Return what is still to be taken back, which is all that the cluster's copy holds."""
        changes = (*self.entry.changes, *more)
        return replace(self.entry, changes=tuple(item for item in changes if not item.undone))

    def _to_cluster(self) -> None:
        self._api.replace("ConfigMap", self.entry.namespace, self._config_map())

    def _to_disk(self) -> None:
        """Replace the file so that a crash leaves the old or the new one, never half of one."""
        if self._folder is None:
            return
        scratch = self._folder / f".{FILE}.new"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with scratch.open("wb") as out:
                out.write(_dump(self.entry))
                out.flush()
                os.fsync(out.fileno())
            scratch.replace(self._folder / FILE)
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise UserError(
                f"{self._folder}: cannot write the journal: {error.strerror}",
                hint="Nothing is changed without it. Name a writable folder with --evidence.",
            ) from None

    def _config_map(self) -> Object:
        labels = {**MANAGED, "drainproof.dev/role": "journal", RUN_LABEL: self.entry.run}
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.name, "labels": labels},
            "data": {FILE: _dump(self._left()).decode()},
        }


def load(text: str | bytes, where: str) -> Entry:
    """Read a journal's content back.

    Raises:
        UserError: It is not a journal, or newer than this reader.
    """
    try:
        values = orjson.loads(text)
        version = values["version"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{where}: not a journal of drainproof") from None
    if version != VERSION:
        raise UserError(
            f"{where}: journal version {version}; this drainproof reads {VERSION}",
            hint="Restore with the drainproof that wrote it.",
        )
    try:
        changes = tuple(change_of(change) for change in values.pop("changes"))
        entry = Entry(**values, changes=changes)
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{where}: damaged journal: {error}") from None
    return entry


def _dump(entry: Entry) -> bytes:
    return orjson.dumps(asdict(entry), option=orjson.OPT_INDENT_2)


def patiently(action: Callable[[], _T], give_up: float | None = None) -> _T:
    """Try again while the API server is away: an undo is worth waiting for.

    Args:
        action: What is tried.
        give_up: Until when, on the monotonic clock; None is a minute from now.
    """
    give_up = give_up or time.monotonic() + _PATIENCE_S
    while True:
        try:
            return action()
        except ApiError as error:
            if not error.passing or time.monotonic() > give_up:
                raise
        time.sleep(_PAUSE_S)
