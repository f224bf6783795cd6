"""How each kind of change to a cluster is made, and taken back by its run or by a later one.

A change names the fields that it sets, with the value before and the value set, so the journal
holds nothing else of an object. Taking back is idempotent: a change that was never made, or was
taken back already, or that someone else has made their own since, is found to be so.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from drainproof.errors import UserError
from drainproof.faults.api import CONFLICT, NOT_FOUND, RESOURCES, ApiError
from drainproof.faults.snapshot import secret_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from drainproof.faults.api import Api, Object

MANAGED = {"app.kubernetes.io/managed-by": "drainproof"}
"""The label of every object that drainproof puts into a cluster."""
PAUSED = "autoscaling.keda.sh/paused"
PAUSED_REPLICAS = "autoscaling.keda.sh/paused-replicas"
OUTAGES = ("Prometheus", "Deployment", "StatefulSet")
"""Kinds of what an outage can take away. The first makes one of the last, and puts it back."""
_TRIES = 20
"""How often a patch is tried while controllers write to the same object: they do so in bursts."""
_TEMPLATE_ANNOTATIONS = ("spec", "template", "metadata", "annotations")
_LISTS = {"args", "env"}
"""Fields of a container that are lists and may be absent."""
_T = TypeVar("_T")
Path = tuple[str | int, ...]
"""Where a field is: keys; within a list, the ``name`` of an item, or its index from 0."""
_UNDOING: Path = ("metadata", "labels", "drainproof.dev/undoing")
"""Set on a Deployment while an undo has it paused. A label, since ReplicaSets copy annotations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of an object, and what is done to it. None is its absence."""

    path: Path
    before: Any
    after: Any

    def __str__(self) -> str:
        return ".".join(str(key) for key in self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change, and all that is needed to take it back."""

    undo: str
    """A key of :data:`UNDO`."""
    kind: str
    name: str
    uid: str = ""
    """Identity of an object that was there before; one of another identity is left alone."""
    fields: tuple[Field, ...] = ()
    """What is set; empty if the object itself is created."""
    digest: str = ""
    """:func:`digest` of the pod template before the change."""
    replica_set: str = ""
    """Identity of the ReplicaSet that ran the pods before the change."""
    namespace: str = ""
    """Where the object is, if that is not where the target is."""
    undone: bool = False

    def __str__(self) -> str:
        elsewhere = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.kind.lower()}/{self.name}{elsewhere}"

    @property
    def what(self) -> str:
        """The change in words."""
        if not self.fields:
            return f"create {self}"
        set_ = (f"{f}={f.after}" if f.after is not None else f"{f} removed" for f in self.fields)
        return f"{self}: {', '.join(set_)}"


def change_of(values: Mapping[str, Any]) -> Change:
    """Read a change back from JSON.

    Raises:
        TypeError, KeyError, ValueError: It is none.
    """
    rest = dict(values)
    fields = tuple(
        Field(path=tuple(item["path"]), before=item["before"], after=item["after"])
        for item in rest.pop("fields")
    )
    return Change(**rest, fields=fields)


# ── the changes ──


def created(kind: str, name: str) -> Change:
    """An object that is about to be created, with the labels :data:`MANAGED`."""
    return Change(undo="delete", kind=kind, name=name)


def template_annotation(deployment: Object, key: str, value: str, replica_set: str) -> Change:
    """An annotation of the pod template, which replaces every pod."""
    wanted: dict[Path, Any] = {(*_TEMPLATE_ANNOTATIONS, key): value}
    return _of_template("template-annotation", deployment, wanted, replica_set)


def template(  # noqa: PLR0913 - the parts of a container
    deployment: Object,
    container: str,
    replica_set: str,
    *,
    image: str | None = None,
    args: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Change:
    """A container's new image, whole new arguments, or some environment variables.

    Raises:
        UserError: The journal would have to hold what looks like a secret.
    """
    at = ("spec", "template", "spec", "containers", container)
    wanted: dict[Path, Any] = {}
    if image is not None:
        wanted[*at, "image"] = image
    if args is not None:
        old = value_at(deployment, (*at, "args")) or []
        secret = {*secret_words(old), *secret_words(args)}
        for index in range(max(len(old), len(args))):
            word = args[index] if index < len(args) else None
            if word != (old[index] if index < len(old) else None):
                _no_secret(f"argument {index} of container {container}", index in secret)
                wanted[*at, "args", index] = word
    for name, value in (env or {}).items():
        known = value_at(deployment, (*at, "env", name)) or {}
        written = [f"{name}={word}" for word in (value, known.get("value")) if word]
        _no_secret(f"environment variable {name}", bool(secret_words(written)))
        wanted[*at, "env", name] = {"name": name, "value": value}
    return _of_template("template", deployment, wanted, replica_set)


def replicas(deployment: Object, count: int) -> Change:
    """Another number of replicas."""
    return _of("replicas", deployment, {("spec", "replicas"): count})


def outage(item: Object) -> Change:
    """A part of the control plane, in whichever namespace, that has no replica any more."""
    change = _of("outage", item, {("spec", "replicas"): 0})
    return replace(change, namespace=item["metadata"]["namespace"])


def hold(scaler: Object, count: int) -> Change:
    """A ScaledObject, or an HPA, that keeps its target at ``count`` replicas."""
    if scaler["kind"] == "ScaledObject":
        at = ("metadata", "annotations")
        return _of("scaler", scaler, {(*at, PAUSED): "true", (*at, PAUSED_REPLICAS): str(count)})
    # 0 would need a feature gate, and there an HPA leaves its target alone anyway
    least = max(count, 1)
    return _of("scaler", scaler, {("spec", "minReplicas"): least, ("spec", "maxReplicas"): least})


def cordon(node: Object) -> Change:
    """A node that takes no new pod. One that is cordoned already stays so."""
    return _of("unschedulable", node, {("spec", "unschedulable"): True}, kind="Node")


def label(item: Object, key: str, value: str | None, *, kind: str = "") -> Change:
    """A label set, or removed (None)."""
    return _of("label", item, {("metadata", "labels", key): value}, kind=kind)


def annotation(item: Object, key: str, value: str | None, *, kind: str = "") -> Change:
    """An annotation set, or removed (None)."""
    return _of("annotation", item, {("metadata", "annotations", key): value}, kind=kind)


def stopped(node: Object, context: str) -> Change:
    """A node whose container is stopped, in the embedded cluster of a context."""
    field = Field(path=("container", context), before="running", after="stopped")
    meta = node["metadata"]
    return Change(undo="stopped", kind="Node", name=meta["name"], uid=meta["uid"], fields=(field,))


def passing(pod: Object, what: str) -> Change:
    """Something done to a pod that Kubernetes itself makes good: ``deleted``, ``killed``."""
    meta = pod["metadata"]
    field = Field(path=(what,), before=None, after=True)
    return Change(undo="passing", kind="Pod", name=meta["name"], uid=meta["uid"], fields=(field,))


def scaled(deployment: Object, by: str) -> Change:
    """Replicas that an autoscaler sets, and takes back by itself."""
    meta = deployment["metadata"]
    field = Field(path=("scaled",), before=None, after=by)
    return Change(
        undo="scaled", kind="Deployment", name=meta["name"], uid=meta["uid"], fields=(field,)
    )


def _of(undo: str, item: Object, wanted: Mapping[Path, Any], *, kind: str = "") -> Change:
    found = {path: value_at(item, path) for path in wanted}
    return Change(
        undo=undo,
        kind=kind or item["kind"],
        name=item["metadata"]["name"],
        uid=item["metadata"]["uid"],
        fields=tuple(
            Field(path=path, before=found[path], after=after)
            for path, after in wanted.items()
            if found[path] != after
        ),
    )


def _of_template(
    undo: str, deployment: Object, wanted: Mapping[Path, Any], replica_set: str
) -> Change:
    change = _of(undo, deployment, wanted, kind="Deployment")
    return Change(
        undo=undo,
        kind=change.kind,
        name=change.name,
        uid=change.uid,
        fields=change.fields,
        digest=digest(deployment["spec"]["template"]),
        replica_set=replica_set,
    )


def _no_secret(what: str, secret: bool) -> None:  # noqa: FBT001 - what was found
    if secret:
        raise UserError(
            f"{what} looks like a secret, and to be put back it would have to be in the journal",
            hint="Change something else, or keep the value in a Secret and refer to it.",
        )


# ── what is there ──


def value_at(item: Any, path: Path) -> Any:  # noqa: ANN401 - JSON
    """Return what is at a path of an object; None if nothing is."""
    for key in path:
        if isinstance(item, list):
            item = next(iter(item[_slot(item, key)]), None)
        elif isinstance(item, dict):
            item = item.get(key)
        else:
            return None
    return item


def find_scalers(api: Api, namespace: str, kind: str, name: str) -> list[Object]:
    """Return what scales an object: its ScaledObjects, and the HPAs that are not one's own."""

    def of_target(scaler_kind: str, default: str) -> list[Object]:
        try:
            items = api.list(scaler_kind, namespace)["items"]
        except ApiError as error:
            if error.status == NOT_FOUND:  # its CRD is not installed
                return []
            raise
        targets = ((item, item["spec"].get("scaleTargetRef") or {}) for item in items)
        return [
            {**item, "kind": scaler_kind}
            for item, target in targets
            if (target.get("kind") or default, target.get("name")) == (kind, name)
        ]

    scaled = of_target("ScaledObject", "Deployment")
    owned = {item["metadata"]["uid"] for item in scaled}
    return scaled + [
        item
        for item in of_target("HorizontalPodAutoscaler", "")
        if not any(owner["uid"] in owned for owner in item["metadata"].get("ownerReferences") or [])
    ]


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


# ── making, and taking back ──


def make(api: Api, namespace: str, change: Change) -> Object:
    """Set the fields of a change; return the object as it is stored.

    Raises:
        UserError: The object or one of the fields is no longer what it was when the change was
            planned, or the API server refused.
    """
    namespace = change.namespace or namespace

    def attempt() -> Object:
        found = api.find(change.kind, namespace, change.name)
        if found is None or found["metadata"]["uid"] != change.uid:
            raise UserError(f"{change} is no longer the one that it was")
        for field in change.fields:
            if value_at(found, field.path) not in (field.before, field.after):
                raise UserError(f"{change}: someone else changed {field} meanwhile")
        wanted = {field.path: field.after for field in change.fields}
        return _store(api, namespace, change, found, wanted)

    return _against_others(attempt)


def undo(api: Api, namespace: str, change: Change) -> str:
    """Take one change back; say what was done.

    Raises:
        UserError: The API server refused, or this version doesn't know such a change.
    """
    way, where = _way(change), change.namespace or namespace
    return _against_others(lambda: way(api, where, change))


def _way(change: Change) -> Callable[[Api, str, Change], str]:
    """Return how a change is taken back.

    Raises:
        UserError: This version never makes such a change.
    """
    way = UNDO.get(change.undo)
    # whoever may write ConfigMaps must not get more than that by a forged journal
    forged = any(not _belongs(change.undo, field.path) for field in change.fields)
    forged |= (change.undo == "outage" or bool(change.namespace)) and not _may_be_elsewhere(change)
    if way is None or forged or change.kind not in RESOURCES:
        raise UserError(
            f"this version does not know how to undo {change.undo!r} of {change}",
            hint="Restore with the drainproof that wrote the journal.",
        )
    return way


def preview(api: Api, namespace: str, change: Change) -> str:
    """Say what :func:`undo` would do, and change nothing.

    Raises:
        UserError: The API server refused.
    """
    namespace = change.namespace or namespace
    if _way(change) in {_start, _passing}:
        return _told_of(change)
    if _way(change) is _delete:
        there = api.find(change.kind, namespace, change.name) is not None
        return f"{change}: {'to delete' if there else 'not there'}"
    found = _same(api, namespace, change)
    if isinstance(found, str):
        return found
    ours, theirs = _ours(found, change)
    back = ", ".join(f"{field} is {field.after}, to be {field.before}" for field in ours)
    return f"{change}: {back}" if back else _told(change, ours, theirs)


def _delete(api: Api, namespace: str, change: Change) -> str:
    found = api.find(change.kind, namespace, change.name)
    if found is None:
        return f"{change}: not there"
    labels = found["metadata"].get("labels") or {}
    if not labels.items() >= MANAGED.items():
        return f"{change}: not made by drainproof, left alone"
    there = api.delete(change.kind, namespace, change.name, uid=found["metadata"]["uid"])
    return f"{change}: deleted" if there else f"{change}: not there"


def _start(_api: Api, _namespace: str, change: Change) -> str:
    """Start a node's container again. One that runs is left as it is."""
    from drainproof.faults.nodes import nodes_of  # noqa: PLC0415 - only where a node was stopped

    context = str(change.fields[0].path[1])
    nodes = nodes_of(context)
    if nodes is None:
        raise UserError(
            f"{change} is of the cluster {context}, which is not up on this machine",
            hint="Start it again there, or bring the cluster up anew.",
        )
    nodes.start(change.name)
    return f"{change}: started again"


def _passing(_api: Api, _namespace: str, change: Change) -> str:
    """Leave it to Kubernetes: its owner makes another pod, its kubelet starts it again."""
    return _told_of(change)


def _told_of(change: Change) -> str:
    done = change.fields[0]
    if change.undo == "scaled":
        return f"{change}: its replicas are set by {done.after}, which goes on by itself"
    if change.undo == "passing":
        return f"{change}: {done}, which Kubernetes makes good by itself"
    return f"{change}: its container is to run again"


def _put_back(api: Api, namespace: str, change: Change) -> str:
    """Give the fields that are still ours the values that they had."""
    found = _same(api, namespace, change)
    if isinstance(found, str):
        return found
    ours, theirs = _ours(found, change)
    _store(api, namespace, change, found, {field.path: field.before for field in ours})
    return _told(change, ours, theirs)


def _template(api: Api, namespace: str, change: Change) -> str:
    """Put a Deployment's pod template back, without a second rollout where that can be.

    In the middle of a rollout Kubernetes rolls back. After one that changed nothing that runs (an
    annotation), putting the template back alone would stop every pod a second time, since
    Kubernetes would return to the old ReplicaSet. So the new ReplicaSet is given the old template,
    and the old one, empty by then, is deleted. The Deployment is paused for that moment, so that
    its controller does not act on half of it; a mark tells a later undo whose pause that is.
    """
    found = _same(api, namespace, change)
    if isinstance(found, str):
        return found
    ours, theirs = _ours(found, change)
    how = _told(change, ours, theirs, "pod template")
    wanted = {field.path: field.before for field in ours}
    if ours:
        all_sets = replica_sets(api, namespace, change.uid)
        running = [item for item in all_sets if runs_pods(item)]
        rolled = len(running) == 1 and running[0]["metadata"]["uid"] != change.replica_set
        if rolled and all(path[:4] == _TEMPLATE_ANNOTATIONS for path in wanted):
            found = _paused(api, namespace, change, found)
            _keep_pods(api, namespace, change, found, wanted, running[0], all_sets)
            how += "; its new pods stay"
        else:
            how += "; Kubernetes rolls back to it"
    if value_at(found, _UNDOING):
        wanted |= {_UNDOING: None, ("spec", "paused"): None}
    found = _store(api, namespace, change, found, wanted)
    if not theirs and digest(found["spec"]["template"]) != change.digest:
        how += "; someone else changed the pod template meanwhile, which was left as it is"
    return how


def _paused(api: Api, namespace: str, change: Change, found: Object) -> Object:
    """Pause a Deployment, with a mark that says whose pause it is."""
    if found["spec"].get("paused"):
        return found
    pause: dict[Path, Any] = {_UNDOING: "true", ("spec", "paused"): True}
    return _store(api, namespace, change, found, pause)


def _keep_pods(  # noqa: PLR0913, PLR0917 - the parts of one swap
    api: Api,
    namespace: str,
    change: Change,
    deployment: Object,
    before: Mapping[Path, Any],
    new: Object,
    all_sets: list[Object],
) -> None:
    """Make the new ReplicaSet of a paused Deployment the one of the old template."""
    old = copy.deepcopy(deployment)
    _set(old, before)
    if digest(old["spec"]["template"]) == change.digest:
        # otherwise someone has deployed meanwhile, and the old one is what they may go back to
        for item in all_sets:
            if item["metadata"]["uid"] == change.replica_set:
                name = item["metadata"]["name"]
                api.delete("ReplicaSet", namespace, name, uid=change.replica_set)
    annotations = {str(path[-1]): value for path, value in before.items()}
    patch = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
    api.patch("ReplicaSet", namespace, new["metadata"]["name"], patch)


def _same(api: Api, namespace: str, change: Change) -> Object | str:
    """Return the object that was changed, or why there is nothing to put back."""
    found = api.find(change.kind, namespace, change.name)
    if found is None:
        return f"{change}: gone, so nothing to put back"
    if found["metadata"]["uid"] != change.uid:
        return f"{change}: another one of the same name now, left alone"
    return found


def _ours(found: Object, change: Change) -> tuple[list[Field], list[Field]]:
    """Return the fields that are as the change set them, and those that someone else has set."""
    ours, theirs = [], []
    for field in change.fields:
        value = value_at(found, field.path)
        if value == field.after:
            ours.append(field)
        elif value != field.before:
            theirs.append(field)
    return ours, theirs


def _told(change: Change, ours: list[Field], theirs: list[Field], what: str = "") -> str:
    def names(fields: list[Field]) -> str:
        return ", ".join(str(field) for field in fields)

    said = [f"{what or names(ours)} put back"] if ours else []
    if theirs:
        said.append(f"someone else changed {names(theirs)} meanwhile, left as it is")
    return f"{change}: {'; '.join(said) or 'was what it was before'}"


def _set(item: Object, values: Mapping[Path, Any]) -> None:
    """Set fields of an object in place; removals last and from the end, so that indices hold."""
    removed = [path for path, value in values.items() if value is None]
    for path in [path for path in values if path not in removed] + removed[::-1]:
        _set_one(item, path, values[path])


def _set_one(item: Any, path: Path, value: Any) -> None:  # noqa: ANN401 - JSON
    key, rest = path[0], path[1:]
    if isinstance(item, list):
        slot = _slot(item, key)
        if rest:
            for inner in item[slot]:
                _set_one(inner, rest, value)
        else:
            item[slot] = [] if value is None else [value]
    elif rest:
        if not item.get(key):
            item[key] = [] if key in _LISTS else {}
        _set_one(item[key], rest, value)
    elif value is None:
        item.pop(key, None)
    else:
        item[key] = value


def _slot(items: list[Any], key: str | int) -> slice:
    """Return where in a list an item is, or belongs if it isn't there: at its end."""
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    index = key if isinstance(key, int) else names.index(key) if key in names else len(items)
    return slice(index, index + 1)


def _store(
    api: Api, namespace: str, change: Change, found: Object, values: Mapping[Path, Any]
) -> Object:
    """Set fields of an object, unless someone has written to it since it was read."""
    wanted = copy.deepcopy(found)
    _set(wanted, values)
    patch = _difference(found, wanted)
    if not patch:
        return found
    version = {"resourceVersion": found["metadata"]["resourceVersion"]}
    patch["metadata"] = {**patch.get("metadata", {}), **version}
    return api.patch(change.kind, namespace, change.name, patch)


def _difference(old: Object, new: Object) -> Object:
    """Return the JSON merge patch that leads from one object to another."""
    patch: Object = {key: None for key in old if key not in new}
    for key, value in new.items():
        was = old.get(key)
        if isinstance(value, dict) and isinstance(was, dict):
            inner = _difference(was, value)
            if inner:
                patch[key] = inner
        elif value != was:
            patch[key] = value
    return patch


def _against_others(attempt: Callable[[], _T]) -> _T:
    """Read and write again if someone else wrote in between."""
    for _ in range(_TRIES - 1):
        try:
            return attempt()
        except ApiError as error:
            if error.status != CONFLICT:
                raise
    return attempt()


UNDO: dict[str, Callable[[Api, str, Change], str]] = {
    "delete": _delete,
    "template-annotation": _template,
    "template": _template,
    "replicas": _put_back,
    "outage": _put_back,
    "scaler": _put_back,
    "unschedulable": _put_back,
    "label": _put_back,
    "annotation": _put_back,
    "stopped": _start,
    "passing": _passing,
    "scaled": _passing,
}
"""Each takes the cluster, the namespace and the change, and says what it did."""


_PLACES: dict[str, tuple[Path, ...]] = {
    "template-annotation": (_TEMPLATE_ANNOTATIONS,),
    "template": (("spec", "template", "spec", "containers"),),
    "replicas": (("spec", "replicas"),),
    "outage": (("spec", "replicas"),),
    "scaler": (
        ("metadata", "annotations", PAUSED),
        ("metadata", "annotations", PAUSED_REPLICAS),
        ("spec", "minReplicas"),
        ("spec", "maxReplicas"),
    ),
    "unschedulable": (("spec", "unschedulable"),),
    "label": (("metadata", "labels"),),
    "annotation": (("metadata", "annotations"),),
    "stopped": (("container",),),
    "passing": (("deleted",), ("evicted",), ("killed",), ("unready",)),
    "scaled": (("scaled",),),
}
"""What each kind of change may set."""


def _may_be_elsewhere(change: Change) -> bool:
    """Tell whether a change may be to an object of another namespace than the target's."""
    return change.undo == "outage" and change.kind in OUTAGES


def _belongs(kind: str, path: Path) -> bool:
    return any(path[: len(place)] == place for place in _PLACES.get(kind, ()))


def verbs(change: Change) -> tuple[tuple[str, str], ...]:
    """Return the permissions (verb, kind) that taking a change back needs."""
    if change.undo == "delete":
        return (("get", change.kind), ("delete", change.kind))
    if change.undo in {"stopped", "passing", "scaled"}:
        return ()
    own = (("get", change.kind), ("patch", change.kind))
    if change.undo.startswith("template"):
        return (*own, *((verb, "ReplicaSet") for verb in ("list", "patch", "delete")))
    return own
