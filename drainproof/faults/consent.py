"""Whether the target may be disturbed: everything is asked for and looked at before any change."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import orjson

from drainproof.errors import UserError
from drainproof.faults.api import RESOURCES, ApiError, Object
from drainproof.faults.undo import digest, find_scalers

if TYPE_CHECKING:
    from drainproof.faults.api import Api
    from drainproof.model.engine import Engine
    from drainproof.model.workload import Workload

LABEL = "drainproof.dev/chaos"
ALLOWED = "allowed"
PRODUCTION = re.compile(r"prod|(?:^|[^a-z])(?:prd|live)(?:[^a-z]|$)", re.IGNORECASE)
"""What names of production have in them."""
_ENDPOINTS_S = 10.0
"""How long a Service may take to list pods that just became ready."""
_ASK_S = 5.0
_AT_ONCE = 8
"""Permissions asked for at once: a far API server takes 0.1 s for each."""


class Need(NamedTuple):
    """A permission."""

    verb: str
    kind: str
    subresource: str = ""

    def __str__(self) -> str:
        resource = RESOURCES[self.kind]
        plural = f"{resource.plural}/{self.subresource}" if self.subresource else resource.plural
        return f"{self.verb} {plural}" + (f".{resource.group}" if resource.group else "")


NEEDS = (
    Need("get", "Namespace"),
    Need("get", "Deployment"),
    Need("list", "Deployment"),
    Need("watch", "Deployment"),
    Need("list", "Pod"),
    Need("watch", "Pod"),
    Need("get", "Pod", "log"),
    Need("get", "Pod", "proxy"),
    Need("list", "Service"),
    Need("list", "EndpointSlice"),
    Need("watch", "EndpointSlice"),
    Need("list", "Event"),
    Need("watch", "Event"),
    *(Need(verb, "ConfigMap") for verb in ("list", "create", "update", "delete")),
    *(Need(verb, "Lease") for verb in ("get", "create", "update", "delete")),
    *(Need(verb, "Job") for verb in ("create", "get", "patch", "delete")),
)
"""What every chaos run does, apart from its fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A Deployment that may be disturbed, and the way to its streams."""

    context: str
    namespace: str
    name: str
    uid: str
    deployment: Object
    workload: Workload
    engine: Engine
    selector: str
    """Its pods' label selector, as the API wants it."""
    pods: tuple[str, ...]
    """Its ready pods."""
    service: str
    port: int
    """The Service's port."""
    engine_port: int
    """The container's own port."""
    metrics_port: int
    scalers: tuple[Object, ...] = ()
    """What sets its number of replicas."""
    tls: bool = False
    """Whether the Service speaks HTTPS."""

    @property
    def floor(self) -> int:
        """The least replicas that it is meant to have: its autoscalers' minimum, or its own."""
        fields = {
            "ScaledObject": ("minReplicaCount", 0),
            "HorizontalPodAutoscaler": ("minReplicas", 1),
        }
        least = [int(self.deployment["spec"].get("replicas", 1))]
        for scaler in self.scalers:
            name, default = fields[scaler["kind"]]
            least.append(int(scaler["spec"].get(name, default)))
        return max(min(least), 1)

    @property
    def kind(self) -> str:
        """Its kind."""
        return "Deployment"

    @property
    def url(self) -> str:
        """The Service's root, as the cluster's DNS knows it."""
        scheme = "https" if self.tls else "http"
        return f"{scheme}://{self.service}.{self.namespace}.svc:{self.port}"

    @property
    def digest(self) -> str:
        """Digest of its pod template."""
        return digest(self.deployment["spec"]["template"])

    def __str__(self) -> str:
        return f"deployment/{self.name}"


def permissions(api: Api, namespace: str, needs: tuple[Need, ...]) -> None:
    """Ask the API server for every permission that will be needed.

    Raises:
        UserError: Some are missing; each is named by verb and resource.
    """
    asked = tuple(dict.fromkeys(needs))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        allowed = pool.map(
            lambda need: api.allowed(need.verb, need.kind, namespace, need.subresource), asked
        )
        missing = [str(need) for need, granted in zip(asked, allowed, strict=True) if not granted]
    if missing:
        where = f"namespace {namespace}" if namespace else "all namespaces"
        raise UserError(
            f"no permission in {where} to: {', '.join(missing)}",
            hint="Grant them with a Role and a RoleBinding. Nothing was changed. Check with: "
            f"kubectl auth can-i {missing[0]}" + (f" -n {namespace}" if namespace else ""),
        )


def consent(  # noqa: PLR0913 - what the command line names
    api: Api,
    *,
    context: str,
    namespace: str,
    target: str,
    service: str = "",
    port: int | None = None,
    tls: bool = False,
    needs: tuple[Need, ...] = NEEDS,
    yes_production: str = "",
) -> Target:
    """Return the target if it may be disturbed and serves.

    Args:
        api: The cluster.
        context: Name of the kubeconfig context, as the user gave it.
        namespace: The target's namespace.
        target: ``deployment/NAME``.
        service: The Service to send streams through; empty is the one that selects the target.
        port: The Service's port; None is the one that leads to the engine.
        tls: Whether the Service speaks HTTPS.
        needs: The permissions that the run takes.
        yes_production: The context again, if it looks like production.

    Raises:
        UserError: It may not, or there is no one way to its streams. Nothing was changed.
    """
    from drainproof.model.workload import Workload  # noqa: PLC0415 - the model is for chaos runs only

    name = _deployment_name(target)
    _not_production(context, namespace, api.host, yes_production)
    scalers = ("HorizontalPodAutoscaler", *(["ScaledObject"] if api.serves("ScaledObject") else ()))
    permissions(api, namespace, (*needs, *(Need("list", kind) for kind in scalers)))
    labelled(api, namespace, context)
    deployment = api.find("Deployment", namespace, name)
    if deployment is None:
        there = [item["metadata"]["name"] for item in api.list("Deployment", namespace)["items"]]
        raise UserError(
            f"deployment/{name} does not exist in namespace {namespace}",
            hint=f"There are: {', '.join(there)}." if there else "The namespace has no Deployment.",
        )
    selector = selector_of(deployment)
    pods = ready_pods(api, namespace, selector)
    if not pods:
        raise UserError(
            f"deployment/{name} in namespace {namespace} has no ready pod, so it serves nothing",
            hint=f"See why: kubectl -n {namespace} get pods -l {selector}",
        )
    workload = Workload.from_object(deployment)
    engine = workload.engine
    if engine is None:
        raise UserError(
            f"no container of deployment/{name} runs an LLM engine that drainproof knows",
            hint="If one does, say which in the pod template's annotation drainproof.dev/engine "
            "(vllm, sglang, tgi, …).",
        )
    found = _service(api, namespace, deployment, service)
    service_name = found["metadata"]["name"]
    _endpoints(api, namespace, service_name)
    service_port = _port(found, deployment, port, engine.port)
    served = engine.port or _number(service_port, deployment)
    return Target(
        context=context,
        namespace=namespace,
        name=name,
        uid=deployment["metadata"]["uid"],
        deployment=deployment,
        workload=workload,
        engine=engine,
        selector=selector,
        pods=pods,
        service=service_name,
        port=service_port["port"],
        engine_port=served,
        metrics_port=engine.metrics_port or served,
        scalers=tuple(find_scalers(api, namespace, "Deployment", name)),
        tls=tls,
    )


def again(api: Api, target: Target) -> Target:
    """Return the target as it is now, after a fault was done to it and undone."""
    deployment = api.get("Deployment", target.namespace, target.name)
    return replace(
        target,
        deployment=deployment,
        pods=ready_pods(api, target.namespace, target.selector),
        scalers=tuple(find_scalers(api, target.namespace, "Deployment", target.name)),
    )


def ready_pods(api: Api, namespace: str, selector: str) -> tuple[str, ...]:
    """Return the names of the ready pods that a label selector selects."""
    found = api.list("Pod", namespace, labels=selector)["items"]
    return tuple(sorted(pod["metadata"]["name"] for pod in found if _ready(pod)))


def _not_production(context: str, namespace: str, host: str, yes: str) -> None:
    """See that the user means it, where a name says that users' own traffic is there.

    Raises:
        UserError: They haven't said so, or said another context.
    """
    shown = {"context": context, "namespace": namespace, "API server": host}
    like = [f"{what} {name}" for what, name in shown.items() if PRODUCTION.search(name)]
    if yes and yes != context:
        raise UserError(
            f"--yes-production names {yes!r}, and the context is {context!r}",
            hint="Name the context once more, exactly.",
        )
    if like and not yes:
        raise UserError(
            f"{', '.join(like)} looks like production",
            hint="If users may lose answers there, name the context a second time: "
            f"--yes-production {context}",
        )


def served_model(api: Api, target: Target) -> str:
    """Ask a ready pod which model it serves.

    Raises:
        UserError: It doesn't say.
    """
    pod = target.pods[0]
    try:
        said = api.scrape(target.namespace, pod, target.engine_port, "/v1/models", timeout_s=_ASK_S)
        return str(orjson.loads(said)["data"][0]["id"])
    except (ApiError, ValueError, LookupError, TypeError) as error:
        words = error.message if isinstance(error, ApiError) else "its answer names no model"
        raise UserError(
            f"pod/{pod} does not say which model it serves (GET :{target.engine_port}/v1/models): "
            f"{words}",
            hint="Name it with --model.",
        ) from None


def _deployment_name(target: str) -> str:
    kind, slash, name = target.partition("/")
    if not slash or not name:
        raise UserError(
            f"expected a target as deployment/NAME, found {target!r}",
            hint="For example deployment/vllm.",
        )
    if kind.lower() not in {
        "deployment",
        "deployments",
        "deploy",
        "deployments.apps",
        "deployment.apps",
    }:
        raise UserError(f"expected a target of kind deployment, found {kind!r} in {target!r}")
    return name


def labelled(api: Api, namespace: str, context: str) -> None:
    """See that a namespace allows chaos.

    Raises:
        UserError: It doesn't, or there is none.
    """
    found = api.find("Namespace", "", namespace)
    if found is None:
        raise UserError(
            f"namespace {namespace} does not exist in context {context}",
            hint=f"kubectl --context {context} get namespaces",
        )
    value = found["metadata"].get("labels", {}).get(LABEL)
    if value != ALLOWED:
        has = f"{LABEL}={value}" if value is not None else "no such label"
        raise UserError(
            f"namespace {namespace} does not allow chaos: expected the label {LABEL}={ALLOWED}, "
            f"found {has}",
            hint="If its users can bear it: "
            f"kubectl --context {context} label namespace {namespace} {LABEL}={ALLOWED}",
        )


def selector_of(deployment: Object) -> str:
    """Return the label selector of a workload's pods, as the API wants it."""
    selector = deployment["spec"]["selector"]
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for rule in selector.get("matchExpressions") or []:
        key, operator, values = rule["key"], rule["operator"], ",".join(rule.get("values") or [])
        parts.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[operator]
        )
    return ",".join(parts)


def _ready(pod: Object) -> bool:
    return not pod["metadata"].get("deletionTimestamp") and any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod.get("status", {}).get("conditions") or []
    )


def _selects(service: Object, deployment: Object) -> bool:
    labels = deployment["spec"]["template"]["metadata"].get("labels") or {}
    wanted = service["spec"].get("selector") or {}
    return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())


def _service(api: Api, namespace: str, deployment: Object, asked: str) -> Object:
    name = deployment["metadata"]["name"]
    services = {item["metadata"]["name"]: item for item in api.list("Service", namespace)["items"]}
    if asked:
        if asked not in services:
            raise UserError(
                f"service/{asked} does not exist in namespace {namespace}",
                hint=f"There are: {', '.join(services) or 'none'}.",
            )
        if not _selects(services[asked], deployment):
            raise UserError(
                f"service/{asked} selects {_written(services[asked])}, "
                f"which no pod of deployment/{name} has, so no stream would reach it",
                hint="Correct its selector, or name another Service with --service.",
            )
        asked_for: Object = services[asked]
        return asked_for
    fitting = [item for item in services.values() if _selects(item, deployment)]
    if len(fitting) > 1:
        # a headless twin is how monitors and StatefulSets find pods; users' traffic takes the other
        fitting = [item for item in fitting if item["spec"].get("clusterIP") != "None"] or fitting
    if not fitting:
        others = "; ".join(f"{key} selects {_written(item)}" for key, item in services.items())
        raise UserError(
            f"no Service in namespace {namespace} selects the pods of deployment/{name}",
            hint=f"Streams go through a Service, as users' do. Found: {others or 'no Service'}.",
        )
    if len(fitting) > 1:
        names = ", ".join(item["metadata"]["name"] for item in fitting)
        raise UserError(
            f"several Services select the pods of deployment/{name}: {names}",
            hint="Name the one that users' traffic takes with --service.",
        )
    found: Object = fitting[0]
    return found


def _written(service: Object) -> str:
    selector = service["spec"].get("selector") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items())) or "nothing"


def _endpoints(api: Api, namespace: str, service: str) -> None:
    give_up = time.monotonic() + _ENDPOINTS_S
    while True:
        slices = api.list(
            "EndpointSlice", namespace, labels=f"kubernetes.io/service-name={service}"
        )["items"]
        if any(
            (endpoint.get("conditions") or {}).get("ready") is not False
            for item in slices
            for endpoint in item.get("endpoints") or []
        ):
            return
        if time.monotonic() > give_up:
            raise UserError(
                f"service/{service} in namespace {namespace} has no ready endpoint",
                hint=f"kubectl -n {namespace} describe service {service}",
            )
        time.sleep(1)


def _port(
    service: Object, deployment: Object, asked: int | None, engine_port: int | None
) -> Object:
    ports: list[Object] = service["spec"].get("ports") or []
    listed = ", ".join(f"{item['port']} ({item.get('name', 'no name')})" for item in ports)
    name = service["metadata"]["name"]
    if asked is not None:
        ports = [item for item in ports if item["port"] == asked]
        if not ports:
            raise UserError(f"service/{name} has no port {asked}", hint=f"It has: {listed}.")
    if len(ports) > 1:
        ports = [item for item in ports if _number(item, deployment) == engine_port]
    if len(ports) != 1:
        raise UserError(
            f"service/{name} has no single port that leads to the engine: {listed or 'none'}",
            hint="Name it with --port.",
        )
    found: Object = ports[0]
    return found


def _number(port: Object, deployment: Object) -> int:
    """Return the container port that a Service's port leads to."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        for item in container.get("ports") or []:
            if item.get("name") == target:
                return int(item["containerPort"])
    return int(port["port"])
