"""Which node a fault may take, and what else is on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.errors import UserError
from drainproof.faults.consent import ALLOWED, LABEL, Need
from drainproof.faults.undo import MANAGED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drainproof.faults.api import Object
    from drainproof.faults.fault import Fault

NEEDS = (Need("get", "Node"), Need("list", "Node"))
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
_MIRROR = "kubernetes.io/config.mirror"


def choose(fault: Fault, asked: str | None, nodes: Iterable[Object]) -> tuple[Object, list[str]]:
    """Return the node that is to be taken, and the target's ready pods on it.

    Of several it is the one with the fewest of them.

    Raises:
        UserError: None may be.
    """
    fitting = {node["metadata"]["name"]: node for node in nodes}
    on: dict[str, list[str]] = {}
    for pod in fault.api.list("Pod", fault.target.namespace, labels=fault.target.selector)["items"]:
        name = pod["metadata"]["name"]
        if name in fault.target.pods:
            on.setdefault(pod["spec"].get("nodeName", ""), []).append(name)
    if asked:
        found = fitting.get(asked)
        if found is None or asked not in on:
            have = ", ".join(sorted(on.keys() & fitting.keys())) or "no node"
            raise UserError(
                f"node/{asked} may not be taken, or has no ready pod of {fault.target}",
                hint=f"These have and may: {have}.",
            )
        return found, sorted(on[asked])
    possible = sorted(on.keys() & fitting.keys(), key=lambda name: (len(on[name]), name))
    if not possible:
        raise UserError(
            f"{fault.name} finds no node with a ready pod of {fault.target} that it may take: they "
            f"are on {', '.join(sorted(on))}"
        )
    return fitting[possible[0]], sorted(on[possible[0]])


def takes_pods(node: Object) -> bool:
    """Tell whether a node is ready and takes new pods of any kind."""
    ready = any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in node.get("status", {}).get("conditions") or []
    )
    return ready and not node["spec"].get("unschedulable")


def others(fault: Fault, node: str) -> list[Object]:
    """Return the pods of other workloads on a node that a drain would evict.

    Pods of DaemonSets, static ones, those that ended and the streaming clients' own stay.

    Raises:
        ApiError: They can't be listed.
    """
    found = fault.api.list("Pod", fields=f"spec.nodeName={node}")["items"]
    return [pod for pod in found if not _stays(fault, pod)]


def _stays(fault: Fault, pod: Object) -> bool:
    meta = pod["metadata"]
    return (
        (meta["namespace"] == fault.target.namespace and meta["name"] in fault.target.pods)
        or _MIRROR in (meta.get("annotations") or {})
        or any(owner["kind"] == "DaemonSet" for owner in meta.get("ownerReferences") or [])
        or pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}
        or (meta.get("labels") or {}).items() >= MANAGED.items()
    )


def consented(fault: Fault, pods: Iterable[Object]) -> None:
    """See that pods of other workloads may be evicted, too.

    Raises:
        UserError: Some may not.
    """
    pods = list(pods)
    namespaces = {pod["metadata"]["namespace"] for pod in pods}
    refused = [
        name
        for name in sorted(namespaces)
        if (fault.api.get("Namespace", "", name)["metadata"].get("labels") or {}).get(LABEL)
        != ALLOWED
    ]
    if refused:
        raise UserError(
            f"{fault.name} would evict {named(pods)}, and these namespaces do not allow chaos: "
            f"{', '.join(refused)}",
            hint=f"Label them {LABEL}={ALLOWED}, or leave others=evict out: then only pods of "
            f"{fault.target} are evicted.",
        )
    bare = [pod for pod in pods if not pod["metadata"].get("ownerReferences")]
    if bare:
        raise UserError(
            f"{fault.name} would evict {named(bare)}, which nothing would make anew",
            hint="Delete them, or leave others=evict out.",
        )


def named(pods: Iterable[Object]) -> str:
    """Return pods by namespace and name."""
    return ", ".join(f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" for pod in pods)
