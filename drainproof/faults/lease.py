"""The Lease that keeps two runs off one target, and tells a live run from a dead one."""

from __future__ import annotations

import os
import socket
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drainproof.errors import UserError
from drainproof.faults.api import CONFLICT, ApiError, Object
from drainproof.faults.journal import MANAGED, RUN_LABEL, journal_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from drainproof.faults.api import Api

DURATION_S = 15
"""How long a Lease holds without being renewed; client-go's own default for leader election."""
_RENEW_S = 5.0
_POLL_S = 1.0


class Lease:
    """The right to disturb one target, renewed in the background until released.

    Args:
        api: The cluster.
        namespace: The target's namespace.
        target: ``deployment/NAME``.
        run: The run that wants it.
        restore: The command that undoes what a dead run left; for the error's hint.
    """

    def __init__(self, api: Api, namespace: str, target: str, run: str, *, restore: str) -> None:
        self._api = api
        self.namespace = namespace
        self.name = f"drainproof-{target.replace('/', '-')}"
        self.run = run
        self._restore = restore
        self._stop = threading.Event()
        self._lost = ""
        self._renewed = time.monotonic()
        self._thread: threading.Thread | None = None

    def look(self) -> str:
        """See that the Lease can be taken; return the dead run that holds it, if one does.

        Raises:
            UserError: Another run holds it, or a dead run has left changes behind.
        """
        found = self._api.find("Lease", self.namespace, self.name)
        if found is None:
            return ""
        other = run_of(found)
        if not is_dead(self._api, self.namespace, found, wait=False):
            raise UserError(
                f"another run ({other}) is at work on this target: it holds lease/{self.name}, "
                f"renewed at {found['spec'].get('renewTime')}",
                hint=f"Wait until it ends. If it was killed: {self._restore}",
            )
        journal = journal_name(other)
        if self._api.find("ConfigMap", self.namespace, journal) is not None:
            raise UserError(
                f"run {other} was killed and has left changes behind: configmap/{journal}",
                hint=f"Undo them first: {self._restore}",
            )
        return other

    def take(self) -> None:
        """Take the Lease, or a dead run's that left nothing to undo.

        Raises:
            UserError: As :meth:`look`.
        """
        try:
            stored = self._api.create("Lease", self.namespace, self._body())
        except ApiError as error:
            if error.status != CONFLICT:
                raise
            drop(self._api, self.namespace, self.name, self.look())
            stored = self._api.create("Lease", self.namespace, self._body())
        self._thread = threading.Thread(target=self._renew, args=(stored,), daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise if the Lease was lost since: another run may be at work on the target.

        Raises:
            UserError: It was lost.
        """
        if self._lost:
            raise UserError(f"lease/{self.name} was lost: {self._lost}")

    def release(self) -> None:
        """Stop renewing, and delete the Lease if it is still this run's."""
        self._stop.set()
        if self._thread:
            self._thread.join()
        drop(self._api, self.namespace, self.name, self.run)

    def _body(self) -> Object:
        now = _micro_time()
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "labels": {**MANAGED, RUN_LABEL: self.run}},
            "spec": {
                "holderIdentity": f"{socket.gethostname()}/{os.getpid()}",
                "leaseDurationSeconds": DURATION_S,
                "acquireTime": now,
                "renewTime": now,
            },
        }

    def _renew(self, stored: Object) -> None:
        while not self._stop.wait(_RENEW_S):
            stored["spec"]["renewTime"] = _micro_time()
            try:
                stored = self._api.replace("Lease", self.namespace, stored)
                self._renewed = time.monotonic()
            except ApiError as error:
                if not error.passing:
                    self._lost = error.message
                    return
                if time.monotonic() - self._renewed > DURATION_S:
                    self._lost = f"it could not be renewed for {DURATION_S} s: {error.message}"


def run_of(lease: Object) -> str:
    """Return the run that holds a Lease."""
    return str(lease["metadata"].get("labels", {}).get(RUN_LABEL, "unknown"))


def is_dead(
    api: Api,
    namespace: str,
    lease: Object,
    *,
    wait: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Tell whether the holder of a Lease is gone.

    It is gone if its process was on this machine and is no more, or if the Lease is not renewed
    for as long as it is meant to hold, watched on this machine's own clock, since clocks differ.

    Args:
        api: The cluster.
        namespace: The Lease's namespace.
        lease: The Lease as read just now.
        wait: Watch it for its duration. If False, one that *looks* fresh counts as alive at once.
        sleep: Waits between two looks; for tests.
    """
    host, _, pid = str(lease["spec"].get("holderIdentity") or "").rpartition("/")
    if host == socket.gethostname() and pid.isdigit() and not _runs(int(pid)):
        return True
    renewed = lease["spec"].get("renewTime")
    age = time.time() - datetime.fromisoformat(renewed).timestamp() if renewed else DURATION_S + 1
    if not wait and abs(age) < DURATION_S:
        return False
    for _ in range(round((DURATION_S + 1) / _POLL_S)):
        sleep(_POLL_S)
        now = api.find("Lease", namespace, lease["metadata"]["name"])
        if now is None:
            return True
        if now["spec"].get("renewTime") != renewed:
            return False
    return True


def drop(api: Api, namespace: str, name: str, run: str) -> bool:
    """Delete a Lease if ``run`` holds it; return whether it was there."""
    found = api.find("Lease", namespace, name)
    if found is None or run_of(found) != run:
        return False
    return api.delete("Lease", namespace, name, uid=found["metadata"]["uid"])


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
