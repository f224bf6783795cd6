"""The Lease that keeps two runs off one target, and tells a live run from a dead one."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from drainproof.errors import UserError
from drainproof.faults.api import CONFLICT, ApiError, Object
from drainproof.faults.journal import FILE, JOURNALS, RUN_LABEL, load
from drainproof.faults.undo import MANAGED

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
        self._target = target
        self.name = f"drainproof-{target.replace('/', '-')}"
        self.run = run
        self._restore = restore
        self._stop = threading.Event()
        self._lost = ""
        self._renewed = time.monotonic()
        self._thread: threading.Thread | None = None

    def look(self) -> str:
        """See that the target is free; return the dead run that still holds its Lease, if any.

        Raises:
            UserError: Another run holds it, or a dead run has left changes behind.
        """
        found = self._api.find("Lease", self.namespace, self.name)
        if found is not None and not is_dead(self._api, self.namespace, found, wait=False):
            raise UserError(
                f"another run ({run_of(found)}) is at work on {self._target}: "
                f"lease/{self.name} is {holder(found)}",
                hint=f"Wait until it ends. If it was killed: {self._restore}",
            )
        for item in self._api.list("ConfigMap", self.namespace, labels=JOURNALS)["items"]:
            entry = load((item.get("data") or {}).get(FILE) or "", item["metadata"]["name"])
            if entry.lease == self.name:
                raise UserError(
                    f"run {entry.run} was killed and has left changes behind: "
                    f"configmap/{item['metadata']['name']}",
                    hint=f"Undo them first: {self._restore}",
                )
        return run_of(found) if found else ""

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
            try:
                stored = self._api.create("Lease", self.namespace, self._body())
            except ApiError as again:
                if again.status == CONFLICT:  # a third run was faster
                    self.look()
                raise
        self._thread = threading.Thread(target=self._renew, args=(stored,), daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise if the Lease was lost since: another run may be at work on the target.

        Raises:
            UserError: It was lost.
        """
        unheard_s = time.monotonic() - self._renewed
        if not self._lost and self._thread and unheard_s > DURATION_S:
            self._lost = f"it could not be renewed for {unheard_s:.0f} s"
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
                "holderIdentity": f"{_here()}/{os.getpid()}",
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
                try:
                    stored = self._still_ours(error, stored)
                except ApiError as lost:
                    if not lost.passing:
                        self._lost = lost.message
                        return

    def _still_ours(self, error: ApiError, stored: Object) -> Object:
        """Return the Lease to go on with after it could not be renewed; raise if it was lost."""
        if error.passing:
            return stored
        # a renewal whose answer got lost changes the version, too
        found = self._api.find("Lease", self.namespace, self.name)
        if error.status != CONFLICT or found is None or run_of(found) != self.run:
            raise error
        return found


def run_of(lease: Object) -> str:
    """Return the run that holds a Lease."""
    return str(lease["metadata"].get("labels", {}).get(RUN_LABEL, "unknown"))


def holder(lease: Object) -> str:
    """Say who holds a Lease, and since when."""
    spec = lease["spec"]
    return (
        f"held by {spec.get('holderIdentity')} since {spec.get('acquireTime')}, "
        f"renewed at {spec.get('renewTime')}"
    )


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
    where, _, pid = str(lease["spec"].get("holderIdentity") or "").rpartition("/")
    if where == _here() and pid.isdigit() and not _runs(int(pid)):
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


def _here() -> str:
    """Return where a process id means what it means to us: this boot, this PID namespace.

    Containers often share a host's name, and two of them a process id.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - it is no file
    except OSError:  # not Linux: no process is known to be gone, so Leases must expire
        boot, space = secrets.token_hex(4), 0
    return f"{socket.gethostname()}/{boot[:8]}-{space}"


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
