"""A new replica finds the weights there, and does not download them.

What it checks
    A model that is named by its name on a hub is kept in a volume that outlives the pod, mounted
    where the engine keeps downloads (``HF_HOME``, ``--download-dir``, ``/root/.cache/huggingface``,
    TGI's ``/data``, NIM's ``/opt/nim/.cache``). A model in a folder is not in an ``emptyDir`` that
    an init container fills over the network, or nothing. The PersistentVolumeClaim exists, and
    can be mounted by as many replicas as there may be. A model in the image, on the node, or
    streamed from an object store to the GPU is fine.

Why
    Weights are 16 GB for 8 billion parameters, 140 GB for 70 billion. Downloaded at each start,
    they take minutes in which the other replicas carry the load, and a hub that is slow or limits
    its callers stops every scale-up. A claim that only one node can mount leaves the replicas on
    other nodes waiting for ever.

Fix
    Mount a PersistentVolumeClaim with ``accessModes: [ReadWriteMany]`` (or ReadOnlyMany, filled
    beforehand) where the engine keeps its downloads. A ``hostPath`` on local disks that is filled
    once a node, an image volume, KServe's ``oci://`` and LocalModelCache do as well.

Source
    Module 1.5, "Common Mistakes" (downloading on every pod start) and the incident in which each
    scale-up downloaded 140 GB; its exercise: "Must be RWX for multiple replicas".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import volumes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.scaler import Scaler
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.volumes import Held, Uri, Weights
    from drainproof.model.workload import Workload


@check(
    "DP502",
    severity=Severity.ERROR,
    admission="it joins PersistentVolumeClaims and autoscalers",
)
def weights_outlive_a_replica(
    workload: Workload,
    engine: Engine,
    container: Container,
    scalers: Sequence[Scaler],
    snapshot: Snapshot,
) -> Iterator[Finding]:
    """Yield what makes each new replica download, or keeps it from mounting what is there."""
    uri = volumes.uri_of(workload)
    if uri is not None:
        yield from _brought(workload, uri, scalers, snapshot)
        return
    weights, held = workload.once(volumes.kept_by)
    if weights.source == "streamed":
        return
    if weights.source == "bucket":
        yield workload.finding(
            f"{container.path}.args",
            f"{engine.title} copies {weights.model} at each start, so a new replica comes minutes "
            "later",
            Severity.WARNING,
        )
    elif held is None:
        yield from _not_held(workload, engine, container, weights)
    elif not held.outlives_pod:
        yield from _lost(workload, engine, container, held)
    elif held.claim:
        path = f"{held.path}.claimName"
        yield from _can_mount(workload, held.claim, path, scalers, snapshot)


def _brought(
    workload: Workload, uri: Uri, scalers: Sequence[Scaler], snapshot: Snapshot
) -> Iterator[Finding]:
    if uri.claim:
        yield from _can_mount(workload, uri.claim, uri.path, scalers, snapshot)
    elif uri.is_fetched and not volumes.is_cached_on_nodes(snapshot, uri.uri):
        yield workload.finding(
            uri.path,
            f"KServe downloads {uri.uri} for each new replica, so that it serves minutes later; "
            "expected pvc://, oci:// or a LocalModelCache",
            Severity.WARNING,
        )


def _not_held(
    workload: Workload, engine: Engine, container: Container, weights: Weights
) -> Iterator[Finding]:
    if not workload.complete:
        return
    mounts = f"{container.path}.volumeMounts"
    others = workload.once(volumes.volumes_for_data)
    if weights.source == "unknown":
        if not others and workload.serves:
            yield workload.inconclusive(
                mounts, "which model is served can't be told, nor where its weights come from"
            )
    elif weights.source == "folder":
        if volumes.downloads(container):
            yield workload.finding(
                mounts,
                f"no volume holds {weights.folder}, and the container fetches the weights itself: "
                "each new replica downloads them before it can serve",
            )
    elif others and not weights.sure:
        yield workload.assumption(
            mounts,
            f"{weights.model or engine.title} is kept in a volume, if a variable that isn't in the "
            f"manifest leads to {others[0].mount_path}",
        )
    elif others:
        yield workload.finding(
            mounts,
            f"{engine.title} keeps what it downloads in {weights.folder}, where no volume is "
            f"mounted ({others[0].name} is at {others[0].mount_path}): each new replica downloads "
            f"{weights.model or 'the weights'} again",
        )
    else:
        yield workload.finding(
            mounts,
            f"no volume keeps {weights.model or 'the weights'} ({engine.title} looks in "
            f"{weights.folder}): each new replica downloads it for minutes before it can serve",
        )


def _lost(
    workload: Workload, engine: Engine, container: Container, held: Held
) -> Iterator[Finding]:
    fillers = volumes.fillers(workload, container, held.name)
    fetching = next((one for one in fillers if volumes.downloads(one)), None)
    if not fillers:
        yield workload.finding(
            held.path,
            f"{held.mount_path} is an {held.kind} volume, empty in each new replica, and nothing "
            f"but {engine.title} fills it: the weights are downloaded again at each start",
        )
    elif fetching is not None:
        yield workload.finding(
            held.path,
            f"{held.mount_path} is an {held.kind} volume that the container {fetching.name} fills "
            "over the network for each new replica, so that it serves minutes later",
            Severity.WARNING,
        )


def _can_mount(
    workload: Workload, name: str, path: str, scalers: Sequence[Scaler], snapshot: Snapshot
) -> Iterator[Finding]:
    claim = volumes.claim_of(snapshot, workload, name)
    if claim is None:
        yield snapshot.absence(
            workload,
            path,
            f"there is no PersistentVolumeClaim {name}: without it no replica starts",
        )
        return
    if claim.goes_with_all(workload):
        return
    modes = claim.access_modes
    most = max((workload.replicas, *(scaler.max_replicas for scaler in scalers)))
    one_pod = set(modes) == {"ReadWriteOncePod"}
    where = "pod" if one_pod else "node"
    if most > 1 or workload.kind == "DaemonSet":
        count = "as many replicas as nodes" if workload.kind == "DaemonSet" else f"{most} replicas"
        yield claim.finding(
            "spec.accessModes",
            f"{', '.join(modes)}: one {where} at a time can mount it, and {workload.ref} may have "
            f"{count}: those on other {where}s wait for ever",
        )
    elif _surges(workload):
        yield claim.finding(
            "spec.accessModes",
            f"{', '.join(modes)}: one {where} at a time can mount it, so a rollout of "
            f"{workload.ref} hangs where its new pod comes to another {where}",
            None if one_pod else Severity.WARNING,
        )


def _surges(workload: Workload) -> bool:
    """Tell whether a rollout of one replica starts the new pod before it stops the old one."""
    update = workload.rolling_update
    return update is not None and update.type == "RollingUpdate" and update.at(1)[1] > 0
