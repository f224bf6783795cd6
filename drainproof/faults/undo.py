"""How each kind of change to a cluster is taken back, at the end of a run or by a later one.

Every way is idempotent: a change that was never made, or was taken back already, or that someone
else has made their own since, is found to be so.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from drainproof.faults.api import Api, Object


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change, and all that is needed to take it back."""

    undo: str
    """``delete`` (an object that was created) or ``template-annotation`` (one that was set)."""
    kind: str
    name: str
    uid: str = ""
    """Identity of an object that was there before; one of another identity is left alone."""
    key: str = ""
    """The annotation's key."""
    before: str | None = None
    """The annotation's value before the change; None if there was none."""
    after: str = ""
    """The annotation's value that the change sets."""
    digest: str = ""
    """:func:`digest` of the pod template before the change."""
    replica_set: str = ""
    """Identity of the ReplicaSet that ran the pods before the change."""
    undone: bool = False

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"


def digest(template: Object) -> str:
    """Return a digest of a pod template; an absent and an empty map are the same to Kubernetes."""

    def lean(value: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(value, dict):
            kept = {key: lean(item) for key, item in value.items()}
            return {key: item for key, item in kept.items() if item not in (None, {}, [])}
        return [lean(item) for item in value] if isinstance(value, list) else value

    return hashlib.sha256(orjson.dumps(lean(template), option=orjson.OPT_SORT_KEYS)).hexdigest()


def replica_sets(api: Api, namespace: str, owner_uid: str) -> list[Object]:
    """Return the ReplicaSets that a Deployment owns."""
    return [
        item
        for item in api.list("ReplicaSet", namespace)["items"]
        if any(owner["uid"] == owner_uid for owner in item["metadata"].get("ownerReferences") or [])
    ]


def runs_pods(replica_set: Object) -> bool:
    """Tell whether a ReplicaSet has pods, or wants some."""
    return bool(
        replica_set["spec"].get("replicas") or replica_set.get("status", {}).get("replicas")
    )


def _delete(api: Api, namespace: str, change: Change) -> str:
    there = api.delete(change.kind, namespace, change.name)
    return f"{change}: deleted" if there else f"{change}: not there"


def _template_annotation(api: Api, namespace: str, change: Change) -> str:
    """Put a Deployment's pod template back, without a second rollout where that can be.

    In the middle of a rollout Kubernetes rolls back. After it, putting the template back alone
    would stop every pod a second time, since Kubernetes would return to the old ReplicaSet. So the
    new ReplicaSet is given the old template, and the old one, empty by then, is deleted. The
    Deployment is paused for that moment, so that its controller does not act on half of it.
    """
    found = api.find(change.kind, namespace, change.name)
    if found is None:
        return f"{change}: gone, so nothing to put back"
    if found["metadata"]["uid"] != change.uid:
        return f"{change}: another one of the same name now, left alone"
    annotations = found["spec"]["template"]["metadata"].get("annotations") or {}
    how = "the pod template was what it was before"
    if annotations.get(change.key) == change.after:
        all_sets = replica_sets(api, namespace, change.uid)
        running = [item for item in all_sets if runs_pods(item)]
        if len(running) == 1 and running[0]["metadata"]["uid"] != change.replica_set:
            _keep_pods(api, namespace, change, found, running[0], all_sets)
            how = "pod template put back; its new pods stay"
        else:
            how = "pod template put back; Kubernetes rolls back to it"
        api.patch(change.kind, namespace, change.name, _put_back(change, paused=None))
    template = api.get(change.kind, namespace, change.name)["spec"]["template"]
    if digest(template) != change.digest:
        return f"{change}: {how}; someone else changed it meanwhile, which was left as it is"
    return f"{change}: {how}"


def _keep_pods(  # noqa: PLR0913, PLR0917 - the parts of one swap
    api: Api,
    namespace: str,
    change: Change,
    deployment: Object,
    new: Object,
    all_sets: list[Object],
) -> None:
    """Make the new ReplicaSet the one of the old template."""
    api.patch(change.kind, namespace, change.name, {"spec": {"paused": True}})
    template = dict(deployment["spec"]["template"])
    meta = dict(template["metadata"])
    meta["annotations"] = {**meta["annotations"], change.key: change.before}
    if digest({**template, "metadata": meta}) == change.digest:
        # otherwise someone has deployed meanwhile, and the old one is what they may go back to
        for item in all_sets:
            if item["metadata"]["uid"] == change.replica_set:
                name = item["metadata"]["name"]
                api.delete("ReplicaSet", namespace, name, uid=change.replica_set)
    api.patch("ReplicaSet", namespace, new["metadata"]["name"], _put_back(change))


def _put_back(change: Change, **spec: Any) -> Object:  # noqa: ANN401 - JSON
    annotations = {"annotations": {change.key: change.before}}
    return {"spec": {**spec, "template": {"metadata": annotations}}}


UNDO: dict[str, Callable[[Api, str, Change], str]] = {
    "delete": _delete,
    "template-annotation": _template_annotation,
}
"""Each takes the cluster, the namespace and the change, and says what it did."""


def undo(api: Api, namespace: str, change: Change) -> str:
    """Take one change back; say what was done.

    Raises:
        UserError: The API server refused, or this version doesn't know such a change.
    """
    way = UNDO.get(change.undo)
    if way is None:
        raise UserError(
            f"{change}: this version does not know how to undo {change.undo!r}",
            hint="Restore with the drainproof that wrote the journal.",
        )
    return way(api, namespace, change)
