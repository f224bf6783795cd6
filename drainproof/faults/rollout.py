"""The fault ``rollout``: replaces every pod of a Deployment, like ``kubectl rollout restart``.

It sets an annotation of its own on the pod template. Afterwards the template is what it was; see
``drainproof.faults.undo`` for how that is done without a second rollout. What stays of a completed
one is the annotation on the pods that it made, and a higher revision number.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from drainproof.errors import UserError
from drainproof.faults.consent import Need
from drainproof.faults.undo import Change, replica_sets, runs_pods

if TYPE_CHECKING:
    from collections.abc import Callable

    from drainproof.faults.api import Api, Object
    from drainproof.faults.consent import Target
    from drainproof.faults.journal import Journal
    from drainproof.faults.observe import View

KEY = "drainproof.dev/restarted-at"
_PROGRESS_S = 600
"""Kubernetes' default of ``progressDeadlineSeconds``."""
_TEARDOWN_S = 30
"""What an engine may need beyond its grace period until its pod is gone (measured: 6 to 14 s)."""


class Rollout:
    """Replace every pod of the target by a rolling update.

    Args:
        api: The cluster.
        target: What to roll.
        timeout_s: When to give up; None is as long as the Deployment itself may take.
    """

    name = "rollout"
    graceful = True
    needs = (
        Need("patch", "Deployment"),
        *(Need(verb, "ReplicaSet") for verb in ("list", "patch", "delete")),
    )

    def __init__(self, api: Api, target: Target, timeout_s: float | None) -> None:
        self._api = api
        self._target = target
        self._origin = ""
        spec = target.deployment["spec"]
        pods = max(1, spec.get("replicas", 1))
        each = spec.get("progressDeadlineSeconds") or _PROGRESS_S
        each += target.workload.grace_period_s + _TEARDOWN_S
        self.timeout_s = timeout_s or float(pods * each)

    def setup(self) -> None:
        """See that a rollout can begin.

        Raises:
            UserError: It can't, with the reason.
        """
        name, namespace = self._target.name, self._target.namespace
        spec, status = self._target.deployment["spec"], self._target.deployment.get("status", {})
        if spec.get("paused"):
            raise UserError(
                f"deployment/{name} is paused, so nothing would roll",
                hint=f"kubectl -n {namespace} rollout resume deployment/{name}",
            )
        running = [
            item for item in replica_sets(self._api, namespace, self._target.uid) if runs_pods(item)
        ]
        if len(running) != 1 or status.get("updatedReplicas", 0) != status.get("replicas", 0):
            raise UserError(
                f"deployment/{name} is in the middle of a rollout",
                hint=f"Wait for it: kubectl -n {namespace} rollout status deployment/{name}",
            )
        self._origin = running[0]["metadata"]["uid"]

    def invoke(self, journal: Journal, view: View, check: Callable[[], None]) -> bool:
        """Roll, and wait until every old pod is gone; return False if it took too long."""
        target = self._target
        old = {uid for uid, pod in view.pods.items() if pod.deletion_at is None}
        template = target.deployment["spec"]["template"]
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        change = Change(
            undo="template-annotation",
            kind="Deployment",
            name=target.name,
            uid=target.uid,
            key=KEY,
            before=(template["metadata"].get("annotations") or {}).get(KEY),
            after=now,
            digest=target.digest,
            replica_set=self._origin,
        )
        journal.plan(change)
        view.fault(self.name, "begin", f"pod template annotation {KEY}={now}")
        patch = {"spec": {"template": {"metadata": {"annotations": {KEY: now}}}}}
        stored = self._api.patch("Deployment", target.namespace, target.name, patch)
        generation = stored["metadata"]["generation"]

        def over() -> bool:
            return _stuck(view.deployment, generation) or (
                _complete(view.deployment, generation) and not old & view.pods.keys()
            )

        completed = view.wait(over, self.timeout_s, check)
        if completed and not _stuck(view.deployment, generation):
            view.fault(self.name, "end", "every pod is new, every old one is gone")
            return True
        why = "its progress deadline passed" if completed else f"not over in {self.timeout_s:.0f} s"
        view.fault(self.name, "timeout", why)
        return False

    def teardown(self, journal: Journal, say: Callable[[str], None]) -> bool:
        """Put the template back; return whether everything is as it was."""
        return journal.undo(say)


def _status(deployment: Object, generation: int) -> dict[str, Any]:
    status: dict[str, Any] = deployment.get("status", {})
    return status if status.get("observedGeneration", 0) >= generation else {}


def _complete(deployment: Object, generation: int) -> bool:
    status = _status(deployment, generation)
    wanted = deployment.get("spec", {}).get("replicas", 1)
    return bool(status) and all(
        status.get(count, 0) == wanted
        for count in ("replicas", "updatedReplicas", "availableReplicas")
    )


def _stuck(deployment: Object, generation: int) -> bool:
    return any(
        condition["type"] == "Progressing"
        and condition["status"] == "False"
        and condition.get("reason") == "ProgressDeadlineExceeded"
        for condition in _status(deployment, generation).get("conditions") or []
    )
