"""The fault ``rollout``: replaces every pod of a Deployment by a rolling update.

Without options it is what ``kubectl rollout restart`` does: it sets an annotation of its own on the
pod template. Afterwards the template is what it was; see ``drainproof.faults.undo`` for how that is
done without a second rollout. What stays of a completed one is the annotation on the pods that it
made, and a higher revision number.

With another image, or with further arguments, the engine's container is changed as a new version
would change it. Taking that back is a rollout, too.
"""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Any, ClassVar

from drainproof.errors import UserError
from drainproof.faults.consent import Need
from drainproof.faults.fault import Fault, Option, text
from drainproof.faults.undo import (
    replica_sets,
    runs_pods,
    template,
    template_annotation,
    value_at,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from drainproof.faults.api import Object
    from drainproof.faults.undo import Change

KEY = "drainproof.dev/restarted-at"
_SHELLS = {"sh", "bash", "dash", "ash"}


def _words(value: object) -> tuple[str, ...]:
    """Read arguments: a list of them, or one text that is split as a shell does."""
    words = shlex.split(value) if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
        raise ValueError
    return tuple(words)


class Rollout(Fault):
    """Replace every pod of the target by a rolling update."""

    name = "rollout"
    needs = (
        Need("patch", "Deployment"),
        *(Need(verb, "ReplicaSet") for verb in ("list", "patch", "delete")),
    )
    options: ClassVar[Mapping[str, Option]] = {
        "image": Option(says="another image for the engine's container", read=text),
        "args": Option(
            says="further arguments, put after those that the engine's container has", read=_words
        ),
    }

    @property
    def longest_s(self) -> float:
        """As long as the Deployment itself may take, each pod after the other."""
        return max(1, self.replicas) * super().longest_s

    def setup(self) -> None:
        """See that a rollout can begin.

        Raises:
            UserError: It can't, with the reason.
        """
        name, namespace = self.target.name, self.target.namespace
        spec, status = self.target.deployment["spec"], self.target.deployment.get("status", {})
        if spec.get("paused"):
            raise UserError(
                f"deployment/{name} is paused, so nothing would roll",
                hint=f"kubectl -n {namespace} rollout resume deployment/{name}",
            )
        running = [
            item for item in replica_sets(self.api, namespace, self.target.uid) if runs_pods(item)
        ]
        if len(running) != 1 or status.get("updatedReplicas", 0) != status.get("replicas", 0):
            raise UserError(
                f"deployment/{name} is in the middle of a rollout",
                hint=f"Wait for it: kubectl -n {namespace} rollout status deployment/{name}",
            )
        self._origin: str = running[0]["metadata"]["uid"]
        if not self.change(self.target.deployment).fields:
            raise UserError(f"deployment/{name} has this image already, so nothing would roll")

    def touches(self) -> Iterable[str]:
        """Say all that would be changed."""
        yield self.change(self.target.deployment).what
        yield f"every pod of {self.target} is replaced: {', '.join(self.target.pods)}"
        if self.chosen["image"] or self.chosen["args"]:
            yield "taking that back replaces them once more"

    def act(self) -> str:
        """Roll, and wait until every old pod is gone; return why it did not end."""
        change = self.change()
        self.begin(change.what)
        return self.roll(change)

    def roll(self, change: Change) -> str:
        """Make the change, and wait until every old pod is gone; return why it did not end."""
        view = self.view
        old = {uid for uid, pod in view.pods.items() if pod.deletion_at is None}
        generation = self.journal.make(change)["metadata"]["generation"]

        def over() -> bool:
            return _stuck(view.deployment, generation) or (
                _complete(view.deployment, generation) and not old & view.pods.keys()
            )

        if problem := self.wait(over, "not over"):
            return problem
        return "its progress deadline passed" if _stuck(view.deployment, generation) else ""

    def outcome(self) -> str:
        """Say what holds once it is over."""
        return "every pod is new, every old one is gone"

    def change(self, deployment: Object | None = None) -> Change:
        """Return what makes the Deployment roll, by default as it is now."""
        if deployment is None:
            deployment = self.api.get("Deployment", self.target.namespace, self.target.name)
        image, added = self.chosen["image"], self.chosen["args"]
        if not image and not added:
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            return template_annotation(deployment, KEY, now, self._origin)
        container = self.target.engine.container
        at = ("spec", "template", "spec", "containers", container)
        args = None
        if added:
            words = [*(value_at(deployment, (*at, "command")) or [])]
            args = [*(value_at(deployment, (*at, "args")) or [])]
            words += args
            if words and words[0].rpartition("/")[2] in _SHELLS and "-c" in words:
                raise UserError(
                    f"container {container} runs a shell script, so further arguments would not "
                    "reach the engine",
                    hint="Roll out another image, or restart it (rollout without args).",
                )
            args += added
        return template(deployment, container, self._origin, image=image, args=args)


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
