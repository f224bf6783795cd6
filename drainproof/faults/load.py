"""The load: streams from a Job in the cluster, through the Service, as users' traffic comes.

The Job's pods obey restricted Pod Security. Where one is too small for the load, several share it
(an Indexed Job). What each prints is followed as it comes, so that a crash on either side loses
nothing that was received.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drainproof.errors import UserError
from drainproof.faults.api import NOT_FOUND, ApiError, Object
from drainproof.faults.journal import RUN_LABEL, patiently
from drainproof.faults.undo import MANAGED, created
from drainproof.streams.listen import Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
_MOST_SETTINGS = 100_000
"""Bytes of settings that a pod's environment takes for sure: Linux has 131,072 for one variable."""
LOAD_LABEL = "drainproof.dev/load"
_INDEX = "batch.kubernetes.io/job-completion-index"
"""The annotation with which an Indexed Job numbers its pods."""
_BAD_CONFIG = "CreateContainerConfigError"
_STILL_SYNCING = "failed to sync "
"""What a kubelet says that has not read a Secret or ConfigMap yet; it tries again."""
_NEVER_STARTS = {
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A value that the cluster keeps and gives to the client's container; nothing here reads it."""

    variable: str
    """The environment variable that the client finds it in: ``token_env`` or a value of
    ``headers_from`` in its load."""
    name: str
    """The Secret's name, in the target's namespace."""
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """What the load runs in."""

    image: str
    node_selector: tuple[tuple[str, str], ...] = ()
    cpu: str = "50m"
    """Request only: small, so that it fits beside engines on a full node."""
    memory: str = "96Mi"
    limits: tuple[tuple[str, str], ...] = ()
    """Resource limits, such as ``("memory", "512Mi")``, for namespaces whose quota asks for them.
    None by default: a throttled client makes a run inconclusive."""
    secrets: tuple[Secret, ...] = ()
    ca: tuple[str, str, str] | None = None
    """Authorities to trust: ``secret`` or ``configmap``, its name and its key."""
    avoids: tuple[str, ...] = ()
    """Nodes that it keeps off."""


CA_FILE = "/drainproof/ca.pem"
"""Where the client finds the authorities of :attr:`Runner.ca`."""


class LoadJob:
    """The clients in the cluster, from their start to their last words.

    Args:
        api: The cluster.
        journal: Where what is created is written down first.
        load: What to send; ``load.parts`` pods share it.
        runner: What they run in.
        lifetime_s: When the cluster itself ends them, should this process be killed and never
            undone.
        heard: Called for each record, in a follower's thread.
        name: Tells the loads of one run apart.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a client
        self,
        api: Api,
        journal: Journal,
        load: Load,
        runner: Runner,
        lifetime_s: float,
        heard: Callable[[Record], None],
        name: str = "main",
    ) -> None:
        self._api = api
        self._journal = journal
        self._load = load
        self._runner = runner
        self._lifetime_s = lifetime_s
        self._heard = heard
        self._namespace = journal.entry.namespace
        self._run = journal.entry.run
        self.name = f"drainproof-{self._run}" + ("" if name == "main" else f"-{name}")
        self._labels = {**MANAGED, RUN_LABEL: self._run, LOAD_LABEL: name}
        self._followers: list[_Follower] = []

    @property
    def ended(self) -> bool:
        """Whether nothing more will be heard of one of the clients."""
        return any(follower.ended.is_set() for follower in self._followers)

    @property
    def done(self) -> bool:
        """Whether all clients said their last words."""
        return bool(self._followers) and all(each.listener.done for each in self._followers)

    def start(self) -> None:
        """Create the Job, and return when all its clients run.

        Raises:
            UserError: The Job's pods can't be made, scheduled or started.
        """
        settings = self._load.to_json()
        if len(settings) > _MOST_SETTINGS:
            raise UserError(
                f"the load's settings are {len(settings)} bytes, and a pod's environment takes "
                f"{_MOST_SETTINGS}",
                hint="Give fewer or shorter prompts.",
            )
        self._journal.plan(created("Job", self.name))
        asked = time.time()
        self._api.create("Job", self._namespace, self._job(settings.decode()))
        for pod in self._running_pods():
            listener = Listener(asked, self._heard)
            self._followers.append(_Follower(self._api, self._namespace, pod, listener))
        for follower in self._followers:
            follower.start()

    def stop(self) -> None:
        """Ask the client to send nothing new; streams in flight go on to their end."""
        # suspending makes the Job controller end the pod gracefully, and not make another
        patch = {"spec": {"suspend": True}}
        patiently(lambda: self._api.patch("Job", self._namespace, self.name, patch))

    def wait(self) -> bool:
        """Wait until the clients have said their last words; return whether all of them did."""
        give_up = time.monotonic() + self._load.settle_s + 2 * _GRACE_S
        for follower in self._followers:
            follower.ended.wait(max(give_up - time.monotonic(), 0))
        return self.done

    def words(self) -> str:
        """Return what the clients printed last that was no record."""
        return "\n".join(filter(None, (each.listener.words() for each in self._followers)))

    def _job(self, settings: str) -> Object:
        labels = self._labels
        parts = self._load.parts
        indexed = {"completionMode": "Indexed", "completions": parts, "parallelism": parts}
        secrets = [
            {
                "name": secret.variable,
                "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}},
            }
            for secret in self._runner.secrets
        ]
        container = {
            "name": "client",
            "image": self._runner.image,
            "imagePullPolicy": "IfNotPresent",
            "env": [{"name": VARIABLE, "value": settings}, *secrets],
            "resources": {
                "requests": {"cpu": self._runner.cpu, "memory": self._runner.memory},
                "limits": dict(self._runner.limits),
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
                **(indexed if parts > 1 else {}),
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
                        **self._volumes(container),
                        **self._placed(),
                    },
                },
            },
        }

    def _volumes(self, container: Object) -> Object:
        """Mount the authorities to trust, if there are any."""
        if self._runner.ca is None:
            return {}
        kind, name, key = self._runner.ca
        container["volumeMounts"] = [{"name": "ca", "mountPath": CA_FILE, "subPath": key}]
        source = {
            "secret": {"secret": {"secretName": name}},
            "configmap": {"configMap": {"name": name}},
        }[kind]
        return {"volumes": [{"name": "ca", **source}]}

    def _placed(self) -> Object:
        """Keep off the nodes that are to be avoided."""
        if not self._runner.avoids:
            return {}
        off = [
            {"key": "metadata.name", "operator": "NotIn", "values": [node]}
            for node in self._runner.avoids
        ]
        terms = {"nodeSelectorTerms": [{"matchFields": off}]}
        return {
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
        }

    def _running_pods(self) -> list[str]:
        """Return the names of the clients' pods once all of them run, each client's newest."""
        begun = time.monotonic()
        selector = ",".join(f"{key}={value}" for key, value in self._labels.items())
        while True:
            found = self._api.list("Pod", self._namespace, labels=selector)
            pods = {_index(pod): pod for pod in found["items"]}
            spent = time.monotonic() - begun
            if len(pods) < self._load.parts:
                self._refused()
            running = []
            for _, pod in sorted(pods.items()):
                state = _container(pod)
                if "running" in state:
                    running.append(str(pod["metadata"]["name"]))
                else:
                    self._doomed(pod, state, spent)
            if len(running) == self._load.parts:
                return running
            if spent > _START_S:
                raise UserError(
                    f"job/{self.name} runs {len(running)} of its {self._load.parts} clients after "
                    f"{_START_S:.0f} s: {_why_not(pods.values())}",
                    hint=f"kubectl -n {self._namespace} describe job {self.name}",
                )
            time.sleep(_POLL_S)

    def _refused(self) -> None:
        """Raise if the Job may not make its pods (quota, admission)."""
        events = self._api.list(
            "Event", self._namespace, fields=f"involvedObject.name={self.name},reason=FailedCreate"
        )["items"]
        if events:
            said = events[-1].get("message", "")
            limits = "; limits: give them with --client-limit" if "limits" in said else ""
            raise UserError(
                f"job/{self.name} may not create its pods: {said}",
                hint=f"Each of its {self._load.parts} asks for {self._runner.cpu} CPU and "
                f"{self._runner.memory} memory, under restricted Pod Security{limits}.",
            )

    def _doomed(self, pod: Object, state: Object, spent: float) -> None:
        """Raise if a client's pod will not run."""
        name = pod["metadata"]["name"]
        for condition in pod.get("status", {}).get("conditions") or []:
            if condition.get("reason") == "Unschedulable" and spent > _SCHEDULE_S:
                raise UserError(
                    f"the client's pod/{name} cannot be scheduled: {condition.get('message')}",
                    hint="Make room, or choose other nodes with --node-selector. It asks for "
                    f"{self._runner.cpu} CPU and {self._runner.memory} memory.",
                )
        waiting = state.get("waiting") or {}
        reason, said = waiting.get("reason"), waiting.get("message", "")
        if reason == _BAD_CONFIG and not said.startswith(_STILL_SYNCING):
            raise UserError(
                f"the client's pod/{name} cannot be set up: {reason}: {said}",
                hint=f"It takes from namespace {self._namespace}: {self._taken()}.",
            )
        if reason in _NEVER_STARTS:
            raise UserError(
                f"the client's pod/{name} cannot start from image {self._runner.image}: "
                f"{reason}: {said}",
                hint="Name an image that the cluster can pull with --image, or load it into the "
                "nodes (kind load docker-image).",
            )
        if "terminated" in state:
            raise UserError(
                f"the client's pod/{name} ended at once, exit code "
                f"{state['terminated'].get('exitCode')}: {self._tail(name)}"
            )

    def _taken(self) -> str:
        found = [f"secret/{secret.name} key {secret.key}" for secret in self._runner.secrets]
        return ", ".join(found) or "nothing but its image"

    def _tail(self, pod: str) -> str:
        try:
            lines = list(self._api.log(self._namespace, pod, follow=False))
        except ApiError:
            return ""
        return b" ".join(line.partition(b" ")[2] for line in lines).decode(errors="replace")[-500:]


class _Follower:
    """Hears one pod: every line once, to its last."""

    def __init__(self, api: Api, namespace: str, pod: str, listener: Listener) -> None:
        self._api = api
        self._namespace = namespace
        self._pod = pod
        self.listener = listener
        self.ended = threading.Event()

    def start(self) -> None:
        """Begin, in a thread of its own."""
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        """Hear every line once: a broken follow goes on from the last line's own timestamp."""
        last = ""
        try:
            while not self.listener.done:
                alive = self._alive()  # asked first: a dead one is read to its end once more
                resumed = _sortable(last)
                try:
                    for line in self._api.log(self._namespace, self._pod, since=last, follow=True):
                        stamp, _, text = line.partition(b" ")
                        if _sortable(stamp.decode()) > resumed:
                            last = stamp.decode()
                            self.listener.line(text)
                except ApiError as error:
                    if error.status == NOT_FOUND:
                        return
                if not alive:
                    return
                if not self.listener.done:
                    time.sleep(_POLL_S)
        finally:
            self.ended.set()

    def _alive(self) -> bool:
        try:
            found = self._api.find("Pod", self._namespace, self._pod)
        except ApiError:
            return True
        return found is not None and "terminated" not in _container(found)


def _index(pod: Object) -> int:
    """Return which client of its Job a pod is."""
    annotations = pod["metadata"].get("annotations") or {}
    return int(annotations.get(_INDEX, 0))


def _container(pod: Object) -> Object:
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    state: Object = statuses[0].get("state") or {}
    return state


def _why_not(pods: Iterable[Object]) -> str:
    """Return what the pods that do not run say of it."""
    said = []
    for pod in pods:
        state = _container(pod)
        if "running" not in state:
            reason = (state.get("waiting") or {}).get("reason")
            said.append(f"{pod['metadata']['name']}: {reason or pod['status'].get('phase')}")
    return ", ".join(said) or "it has too few pods"


def _sortable(stamp: str) -> tuple[str, str]:
    """Order log timestamps, whose fraction drops its trailing zeros."""
    seconds, _, fraction = stamp.rstrip("Z").partition(".")
    return seconds, fraction.ljust(9, "0")
