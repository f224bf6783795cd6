"""What is listed in a live cluster: every kind that the model reads, and nothing else.

:func:`cluster_role` is the permission that this takes; ``read-only-rbac.yaml`` beside this file is
written from it (``python -m drainproof.collect.resources``).
"""

from __future__ import annotations

import sys
from typing import Any, Final, NamedTuple

from drainproof.model import gateways, monitoring, routing, scaler
from drainproof.model.kinds import KINDS


class Resource(NamedTuple):
    """A kind of object that is listed, if the cluster has it."""

    group: str
    """API group; empty is the core group."""
    kind: str

    @property
    def plural(self) -> str:
        """Its name in paths and in RBAC: ``deployments``."""
        word = self.kind.lower()
        if word.endswith("y") and word[-2] not in "aeiou":
            return f"{word[:-1]}ies"
        return f"{word}es" if word.endswith("s") else f"{word}s"

    @property
    def name(self) -> str:
        """Its name as ``kubectl`` takes it: ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


_OPERATORS: Final = (
    Resource("orchestration.aibrix.ai", "StormService"),
    Resource("orchestration.aibrix.ai", "RoleSet"),
    Resource("orchestration.aibrix.ai", "RayClusterFleet"),
    Resource("orchestration.aibrix.ai", "RayClusterReplicaSet"),
    Resource("nvidia.com", "DynamoGraphDeployment"),
    Resource("grove.io", "PodCliqueSet"),
)
"""Custom resources that hold pod templates somewhere, which the model finds without knowing them.
Of others their Deployments, StatefulSets and pods are judged."""
_LINKS: Final = (
    Resource("serving.knative.dev", "Revision"),
    Resource("serving.knative.dev", "Configuration"),
)
"""What stands between a workload and its pods, listed for its owner alone."""
_RELATED: Final = (
    Resource("", "Service"),
    Resource("discovery.k8s.io", "EndpointSlice"),
    Resource("policy", "PodDisruptionBudget"),
    Resource("", "PersistentVolumeClaim"),
    Resource("resource.k8s.io", "ResourceClaim"),
    Resource("resource.k8s.io", "ResourceClaimTemplate"),
    Resource("", "Node"),
    Resource("networking.k8s.io", "Ingress"),
    Resource("networking.k8s.io", "IngressClass"),
    Resource("gateway.networking.k8s.io", "Gateway"),
    Resource("gateway.networking.k8s.io", "GatewayClass"),
    Resource("monitoring.coreos.com", "Prometheus"),
)

POD: Final = Resource("", "Pod")
CONFIG_MAP: Final = Resource("", "ConfigMap")
"""Not listed: the few that workloads name are got one by one, since any may hold secrets."""

WORKLOADS: Final = (
    *(Resource(group, kind) for group, kind in KINDS if (group, kind) != POD),
    *_OPERATORS,
    POD,
)
RESOURCES: Final = (
    *WORKLOADS,
    *_LINKS,
    *_RELATED,
    *(Resource(group, kind) for group, kind in scaler.READERS),
    *(Resource(group, kind) for group, kind in monitoring.KINDS),
    *(Resource(group, "InferencePool") for group in routing.POOL_GROUPS),
    *(Resource(group, kind) for group, kind, _ in gateways.ROUTES),
    *(Resource(group, kind) for group, kind, _ in gateways.POLICIES),
)
"""Everything that is listed, in order."""

_NAME: Final = "drainproof-audit"
_HEADER: Final = """\
# What `drainproof audit --context C -A` needs: it reads, and changes nothing. No Secret is read.
# To audit some namespaces only, bind the ClusterRole there by RoleBindings instead of the
# ClusterRoleBinding; rules that need nodes are then inconclusive.
# Listing pods and nodes is for the live checks; ConfigMaps are got by name where an LLM workload
# names them (get), and ingress-nginx's own is found by its label (list).
"""
_PROMETHEUS: Final = """\
---
# Only for --prometheus, to hold an autoscaler's query against what pods say themselves: allows GET
# of whatever pods serve. Without it the check query-answers is inconclusive.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: drainproof-pods
rules:
- apiGroups: [""]
  resources: [pods/proxy]
  verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: drainproof-pods
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: drainproof-pods
subjects:
- kind: ServiceAccount
  name: drainproof-audit
  namespace: drainproof
---
# Only for --prometheus NAMESPACE/SERVICE, which reaches Prometheus through the API server. Not
# needed for --prometheus URL. Name your Service and its port; drainproof asks for exactly these.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: drainproof-prometheus
  namespace: monitoring
rules:
- apiGroups: [""]
  resources: [services/proxy]
  resourceNames: ["prometheus-operated:9090"]
  verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: drainproof-prometheus
  namespace: monitoring
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: drainproof-prometheus
subjects:
- kind: ServiceAccount
  name: drainproof-audit
  namespace: drainproof
"""


def cluster_role() -> dict[str, Any]:
    """Return the ClusterRole that lets the audit list all it looks at."""
    groups: dict[str, list[str]] = {}
    for resource in RESOURCES:
        groups.setdefault(resource.group, []).append(resource.plural)
    rules: list[dict[str, Any]] = [
        {"apiGroups": [group], "resources": plurals, "verbs": ["list"]}
        for group, plurals in groups.items()
    ]
    rules += [
        {"apiGroups": [""], "resources": [CONFIG_MAP.plural], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
        {"nonResourceURLs": ["/apis", "/apis/*", "/version"], "verbs": ["get"]},
    ]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": _NAME},
        "rules": rules,
    }


def rbac() -> str:
    """Return everything that a ServiceAccount needs for an audit, as YAML."""
    import yaml  # noqa: PLC0415 - only to write the file

    account = {"kind": "ServiceAccount", "name": _NAME, "namespace": "drainproof"}
    documents = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "drainproof"}},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": _NAME, "namespace": "drainproof"},
        },
        cluster_role(),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": _NAME},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": _NAME,
            },
            "subjects": [account],
        },
    ]
    written = yaml.safe_dump_all(documents, sort_keys=False, width=100)
    return f"{_HEADER}{written}{_PROMETHEUS}"


if __name__ == "__main__":
    sys.stdout.write(rbac())
