"""The kinds of workload, and where each keeps its pod template: adding a kind is adding a line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """Where a kind of workload keeps what the model reads."""

    pods: tuple[str, ...]
    """Path to the object that holds the pods' ``metadata`` and ``spec``; empty is the root."""
    replicas: tuple[str, ...] = ()
    """Path to the number of replicas; empty if there is none (then it is 1)."""
    strategy: str = ""
    """The field of ``spec`` that says how updates roll; empty if the kind doesn't roll."""
    surges: bool = False
    """Whether an update can start a new pod before it stops an old one."""
    scales: bool = False
    """Whether an autoscaler can target it."""


_TEMPLATE = ("spec", "template")
_REPLICAS = ("spec", "replicas")

KINDS: dict[tuple[str, str], Kind] = {
    ("apps", "Deployment"): Kind(_TEMPLATE, _REPLICAS, "strategy", surges=True, scales=True),
    ("apps", "StatefulSet"): Kind(_TEMPLATE, _REPLICAS, "updateStrategy", scales=True),
    ("apps", "DaemonSet"): Kind(_TEMPLATE, (), "updateStrategy", surges=True),
    ("apps", "ReplicaSet"): Kind(_TEMPLATE, _REPLICAS, scales=True),
    ("batch", "Job"): Kind(_TEMPLATE, ("spec", "parallelism")),
    ("", "Pod"): Kind(()),
}
"""By API group (empty is the core group) and kind."""


def kind_of(obj: dict[str, object]) -> Kind | None:
    """Return the kind of a raw object, None if it is no workload."""
    version, kind = obj.get("apiVersion"), obj.get("kind")
    if not isinstance(version, str) or not isinstance(kind, str):
        return None
    group, slash, _ = version.rpartition("/")
    return KINDS.get((group if slash else "", kind))
