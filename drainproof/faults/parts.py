"""The parts of a cluster that scale a target: KEDA's operator, its metrics API server, Prometheus.

Each lies in some other namespace and serves other targets, too, so that namespace has to allow
chaos itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from drainproof.errors import UserError
from drainproof.faults.consent import Need, labelled, permissions, ready_pods, selector_of
from drainproof.faults.undo import OUTAGES, outage
from drainproof.judge.outage import KEDA, METRICS_API, NAMES, PROMETHEUS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.faults.api import Api, Object
    from drainproof.faults.consent import Target
    from drainproof.faults.undo import Change
    from drainproof.model.scaler import Scaler

_NAME = "app.kubernetes.io/name"
_OF_KEDA = "app.kubernetes.io/part-of=keda-operator"
"""On all that KEDA's manifests and its Helm chart install."""
_ROLES = {
    "keda-operator": KEDA,
    "keda-metrics-apiserver": METRICS_API,
    "keda-operator-metrics-apiserver": METRICS_API,
}
"""By the name that KEDA's manifests, and its Helm chart, put into a label."""
_OF_PROMETHEUS = "operator.prometheus.io/name"
"""A label of the pods that Prometheus Operator makes."""
_SERVICE_PARTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One of them."""

    role: str
    """One of :data:`drainproof.judge.outage.NAMES`."""
    kind: str
    item: Object

    @property
    def namespace(self) -> str:
        """Where it is."""
        return str(self.item["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.item["metadata"]["name"])

    @property
    def replicas(self) -> int:
        """How many pods it is to have."""
        return int(self.item["spec"].get("replicas", 1))

    @property
    def selector(self) -> str:
        """Its pods' label selector."""
        if self.kind == "Prometheus":
            return f"{_OF_PROMETHEUS}={self.name}"
        return selector_of(self.item)

    @property
    def change(self) -> Change:
        """What takes it away."""
        return outage({**self.item, "kind": self.kind})

    def gone(self, api: Api) -> bool:
        """Tell whether none of its pods is left."""
        return not api.list("Pod", self.namespace, labels=self.selector)["items"]

    def serves(self, api: Api) -> bool:
        """Tell whether all of its pods are ready."""
        return len(ready_pods(api, self.namespace, self.selector)) >= self.replicas

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name} in namespace {self.namespace}"


def find(api: Api, target: Target, scaler: Scaler, asked: str) -> Part:
    """Return the part that a user means, as it is now.

    Args:
        api: The cluster.
        target: Whose autoscaler needs it.
        scaler: That autoscaler.
        asked: One of :data:`drainproof.judge.outage.NAMES`, or ``NAMESPACE/NAME``.

    Raises:
        UserError: It is not there, may not be touched, or is away already.
    """
    if asked == PROMETHEUS:
        part = _prometheus(api, scaler)
    elif asked in NAMES:
        part = _of_keda(api, asked)
    else:
        part = _named(api, *asked.split("/"))
    if part.item["metadata"]["uid"] == target.uid:
        raise UserError(
            f"{part} is the target itself",
            hint="Name what its autoscaler needs: KEDA, its metrics API, Prometheus.",
        )
    labelled(api, part.namespace, target.context)
    needs = (Need("get", part.kind), Need("patch", part.kind), Need("list", "Pod"))
    permissions(api, part.namespace, needs)
    if not part.replicas:
        raise UserError(f"{part} has no replica, so it is away already")
    return part


def _of_keda(api: Api, role: str) -> Part:
    if not api.allowed("list", "Deployment", ""):
        raise UserError(
            f"{NAMES[role]} can't be looked for: no permission in all namespaces to: "
            f"{Need('list', 'Deployment')}",
            hint="Grant it, or say where it is: away=NAMESPACE/NAME.",
        )
    found = [
        Part(role=role, kind="Deployment", item=item)
        for item in api.list("Deployment", labels=_OF_KEDA)["items"]
        if _role(item) == role
    ]
    return _only(found, NAMES[role], f"Deployment with the labels {_OF_KEDA} and {_NAME}")


def _role(item: Object) -> str | None:
    return _ROLES.get((item["metadata"].get("labels") or {}).get(_NAME, ""))


def _prometheus(api: Api, scaler: Scaler) -> Part:
    """Find the Prometheus that an autoscaler asks, by the address that its trigger has."""
    server = next((trigger.server for trigger in scaler.triggers if trigger.server), "")
    host = (urlsplit(server).hostname or "").split(".")
    if len(host) < _SERVICE_PARTS or host[_SERVICE_PARTS : _SERVICE_PARTS + 1] not in ([], ["svc"]):
        raise UserError(
            f"no trigger of {scaler.ref} names a Prometheus of this cluster, as "
            f"http://SERVICE.NAMESPACE.svc:9090: found {server or 'no serverAddress'}",
            hint="Say which one it asks: away=NAMESPACE/NAME.",
        )
    namespace = host[1]
    found = []
    if api.serves("Prometheus"):
        permissions(api, namespace, (Need("list", "Prometheus"),))
        found = [
            Part(role=PROMETHEUS, kind="Prometheus", item=item)
            for item in api.list("Prometheus", namespace)["items"]
        ]
    return _only(found, NAMES[PROMETHEUS], f"Prometheus in namespace {namespace}")


def _only(found: list[Part], name: str, looked_for: str) -> Part:
    if len(found) != 1:
        named = ", ".join(f"{part.namespace}/{part.name}" for part in found) or "none"
        raise UserError(
            f"{name} was not found: expected one {looked_for}, found {named}",
            hint="Say which Deployment, StatefulSet or Prometheus it is: away=NAMESPACE/NAME.",
        )
    return found[0]


def _named(api: Api, namespace: str, name: str) -> Part:
    """Find what is called so; one that is not known to be KEDA's answers its queries."""
    for kind in _kinds(api):
        permissions(api, namespace, (Need("get", kind),))
        item = api.find(kind, namespace, name)
        if item is None:
            continue
        owner = next(iter(item["metadata"].get("ownerReferences") or ()), None)
        if owner:
            raise UserError(
                f"{kind.lower()}/{name} in namespace {namespace} is {owner['kind']} "
                f"{owner['name']}'s, which would put it back",
                hint=f"Name that one: away={namespace}/{owner['name']}.",
            )
        return Part(role=_role(item) or PROMETHEUS, kind=kind, item=item)
    raise UserError(
        f"there is no {' or '.join(_kinds(api))} {name} in namespace {namespace}",
        hint="The namespace comes first: away=NAMESPACE/NAME.",
    )


def _kinds(api: Api) -> Iterator[str]:
    return (kind for kind in OUTAGES if kind != "Prometheus" or api.serves(kind))
