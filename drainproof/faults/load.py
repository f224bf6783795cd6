"""The load: streams from a Job in the cluster, through the Service, as users' traffic comes.

The Job's pod obeys restricted Pod Security. What the client prints is followed as it comes, so that
a crash on either side loses nothing that was received.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import orjson

from drainproof.errors import UserError
from drainproof.faults.api import NOT_FOUND, ApiError, Object
from drainproof.faults.journal import MANAGED, RUN_LABEL, patiently
from drainproof.faults.undo import Change
from drainproof.streams.history import Client, ClientDone, Clock, from_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from drainproof.faults.api import Api
    from drainproof.faults.journal import Journal
    from drainproof.streams.history import Record
    from drainproof.streams.settings import Load

VARIABLE = "DRAINPROOF_LOAD"
"""Where the client looks for its settings."""
_START_S = 180.0
"""How long the Job's pod may take to run: a pull of its image over a slow line."""
_SCHEDULE_S = 15.0
"""How long it may stay unschedulable; it is small, so waiting longer rarely helps."""
_GRACE_S = 15
"""How much longer than its streams the client may take to end."""
_KEPT_S = 3600
"""How long the cluster keeps a Job that ended and that nobody deleted."""
_POLL_S = 0.5
_NEVER_STARTS = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """What the load runs in."""

    image: str
    node_selector: tuple[tuple[str, str], ...] = ()
    cpu: str = "50m"
    """Request only: small, so that it fits beside engines on a full node."""
    memory: str = "96Mi"


class LoadJob:
    """A client in the cluster, from its start to its last words.

    Args:
        api: The cluster.
        journal: Where what is created is written down first.
        load: What to send.
        runner: What it runs in.
        lifetime_s: When the cluster itself ends it, should this process be killed and never undone.
        heard: Called for each record, in the follower's thread.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a client
        self,
        api: Api,
        journal: Journal,
        load: Load,
        runner: Runner,
        lifetime_s: float,
        heard: Callable[[Record], None],
    ) -> None:
        self._api = api
        self._journal = journal
        self._load = load
        self._runner = runner
        self._lifetime_s = lifetime_s
        self._heard = heard
        self._namespace = journal.entry.namespace
        self._run = journal.entry.run
        self.name = f"drainproof-{self._run}"
        self._words: deque[str] = deque(maxlen=8)
        self._ended = threading.Event()
        self._asked = 0.0
        self._skew_low = float("-inf")
        self._skew_high = float("inf")
        self.done = False
        """Whether the client said its last words."""

    @property
    def skew_s(self) -> float:
        """The client's clock less ours, in seconds; 0 unless they are known to differ."""
        low, high = self._skew_low, self._skew_high
        return 0.0 if low <= 0 <= high or low == float("-inf") else low

    @property
    def ended(self) -> bool:
        """Whether nothing more will be heard."""
        return self._ended.is_set()

    def start(self) -> None:
        """Create the Job, and return when the client runs.

        Raises:
            UserError: The Job's pod can't be made, scheduled or started.
        """
        self._journal.plan(Change(undo="delete", kind="Job", name=self.name))
        self._asked = time.time()
        self._api.create("Job", self._namespace, self._job())
        pod = self._running_pod()
        threading.Thread(target=self._follow, args=(pod,), daemon=True).start()

    def stop(self) -> None:
        """Ask the client to send nothing new; streams in flight go on to their end."""
        # suspending makes the Job controller end the pod gracefully, and not make another
        patch = {"spec": {"suspend": True}}
        patiently(lambda: self._api.patch("Job", self._namespace, self.name, patch))

    def wait(self) -> bool:
        """Wait until the client has said its last words; return whether it did."""
        self._ended.wait(self._load.settle_s + 2 * _GRACE_S)
        return self.done

    def words(self) -> str:
        """Return what the client printed last that was no record."""
        return "\n".join(self._words)

    def _job(self) -> Object:
        labels = {**MANAGED, RUN_LABEL: self._run}
        container = {
            "name": "client",
            "image": self._runner.image,
            "imagePullPolicy": "IfNotPresent",
            "env": [{"name": VARIABLE, "value": _settings(self._load)}],
            "resources": {
                "requests": {"cpu": self._runner.cpu, "memory": self._runner.memory},
            },
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": self.name, "labels": labels},
            "spec": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": round(self._lifetime_s),
                "ttlSecondsAfterFinished": _KEPT_S,
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "restartPolicy": "Never",
                        "automountServiceAccountToken": False,
                        "enableServiceLinks": False,
                        "terminationGracePeriodSeconds": round(self._load.settle_s) + _GRACE_S,
                        "nodeSelector": dict(self._runner.node_selector),
                        "securityContext": {
                            "runAsNonRoot": True,
                            "runAsUser": 65532,
                            "runAsGroup": 65532,
                            "seccompProfile": {"type": "RuntimeDefault"},
                        },
                        "containers": [container],
                    },
                },
            },
        }

    def _running_pod(self) -> str:
        begun = time.monotonic()
        while True:
            pods = self._api.list("Pod", self._namespace, labels=f"{RUN_LABEL}={self._run}")
            spent = time.monotonic() - begun
            if not pods["items"]:
                self._refused()
            for pod in pods["items"]:
                state = _container(pod)
                if "running" in state:
                    return str(pod["metadata"]["name"])
                self._doomed(pod, state, spent)
            if spent > _START_S:
                raise UserError(
                    f"job/{self.name} does not run its client after {_START_S:.0f} s",
                    hint=f"kubectl -n {self._namespace} describe job {self.name}",
                )
            time.sleep(_POLL_S)

    def _refused(self) -> None:
        """Raise if the Job may not make its pod (quota, admission)."""
        events = self._api.list(
            "Event", self._namespace, fields=f"involvedObject.name={self.name},reason=FailedCreate"
        )["items"]
        if events:
            raise UserError(
                f"job/{self.name} may not create its pod: {events[-1].get('message', '')}",
                hint="It asks for "
                f"{self._runner.cpu} CPU and {self._runner.memory} memory, under restricted Pod "
                "Security.",
            )

    def _doomed(self, pod: Object, state: Object, spent: float) -> None:
        """Raise if the client's pod will not run."""
        name = pod["metadata"]["name"]
        for condition in pod.get("status", {}).get("conditions") or []:
            if condition.get("reason") == "Unschedulable" and spent > _SCHEDULE_S:
                raise UserError(
                    f"the client's pod/{name} cannot be scheduled: {condition.get('message')}",
                    hint="Make room, or choose other nodes with --node-selector.",
                )
        waiting = state.get("waiting") or {}
        if waiting.get("reason") in _NEVER_STARTS:
            raise UserError(
                f"the client's pod/{name} cannot start from image {self._runner.image}: "
                f"{waiting['reason']}: {waiting.get('message', '')}",
                hint="Name an image that the cluster can pull with --image, or load it into the "
                "nodes (kind load docker-image).",
            )
        if "terminated" in state:
            words = [line.decode(errors="replace") for line in self._tail(name)]
            raise UserError(
                f"the client's pod/{name} ended at once, exit code "
                f"{state['terminated'].get('exitCode')}: {' '.join(words)[-500:]}"
            )

    def _tail(self, pod: str) -> list[bytes]:
        try:
            return [
                line.partition(b" ")[2]
                for line in self._api.log(self._namespace, pod, follow=False)
            ]
        except ApiError:
            return []

    def _follow(self, pod: str) -> None:
        """Hear every line once: a broken follow goes on from the last line's own timestamp."""
        last = ""
        try:
            while not self.done:
                alive = self._alive(pod)  # asked first: a dead one is read to its end once more
                resumed = _sortable(last)
                try:
                    for line in self._api.log(self._namespace, pod, since=last, follow=True):
                        stamp, _, text = line.partition(b" ")
                        if _sortable(stamp.decode()) > resumed:
                            last = stamp.decode()
                            self._hear(text)
                except ApiError as error:
                    if error.status == NOT_FOUND:
                        return
                if not alive:
                    return
                if not self.done:
                    time.sleep(_POLL_S)
        finally:
            self._ended.set()

    def _hear(self, text: bytes) -> None:
        try:
            record = from_line(text)
        except ValueError:
            self._words.append(text.decode(errors="replace")[:500])
            return
        if isinstance(record, Clock | Client):
            self._skew_low = max(self._skew_low, record.at - time.time())
        if isinstance(record, Clock):
            self._skew_high = record.at - self._asked
        self._heard(record)
        if isinstance(record, ClientDone):
            self.done = True

    def _alive(self, pod: str) -> bool:
        try:
            found = self._api.find("Pod", self._namespace, pod)
        except ApiError:
            return True
        return found is not None and "terminated" not in _container(found)


def _settings(load: Load) -> str:
    return orjson.dumps(asdict(load) | {"headers": dict(load.headers)}).decode()


def _container(pod: Object) -> Object:
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    state: Object = statuses[0].get("state") or {}
    return state


def _sortable(stamp: str) -> tuple[str, str]:
    """Order log timestamps, whose fraction drops its trailing zeros."""
    seconds, _, fraction = stamp.rstrip("Z").partition(".")
    return seconds, fraction.ljust(9, "0")
