"""The kinds of workload, and where each keeps its pod templates: adding a kind is adding a line.

Any other custom resource that holds pod templates, at any depth, is found by looking through it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.model.shape import Raw

DEFAULT_GRACE_PERIOD_S = 30
"""Kubernetes' own default of ``terminationGracePeriodSeconds``."""


class Place(Struct, frozen=True):
    """Where a kind keeps one pod template, or a list of them."""

    path: str
    """Field path of what holds the pods' ``metadata`` and ``spec``; empty is the object itself.
    ``[]`` stands for each item of a list, at most once."""
    replicas: str = ""
    """Field path of the number of pods; empty if there is none (then it is 1)."""
    role: str = ""
    """What these pods are in a group of several kinds of pods."""
    named_by: str = "name"
    """The field of a list's item that is its role."""
    inline: bool = False
    """Whether the pods' spec is at ``path`` itself, labels and annotations beside it."""
    worker: bool = False
    """Whether these pods work for others of the same object, which answer for them."""


class Kind(Struct, frozen=True):
    """Where a kind of workload keeps what the model reads."""

    places: tuple[Place, ...]
    rolls: str = ""
    """How it replaces pods: a name in :data:`drainproof.model.rollout.READERS`; empty if it does
    not, or if how can't be told."""
    scales: bool = False
    """Whether an autoscaler can target it."""
    complete: bool = True
    """Whether it says all that there is to say of its pods: false if another object fills in the
    rest."""
    default_grace_s: int = DEFAULT_GRACE_PERIOD_S
    """Seconds until SIGKILL if nothing is written."""
    grace_field: str = "terminationGracePeriodSeconds"
    """The field of the pods' spec that sets it."""
    labels: tuple[tuple[str, str], ...] = ()
    """Labels that the operator puts on the pods; ``{name}`` is the object's."""
    variables: tuple[tuple[str, str], ...] = ()
    """Variables that the operator sets in the containers, and the fields that hold their values:
    whole numbers, and 1 by default."""


PREFILL = "prefill"
"""What the roles begin with of pods that only read prompts, and of those that work for them."""


def _one(**fields: object) -> tuple[Place, ...]:
    return (Place("spec.template", "spec.replicas", **fields),)  # type: ignore[arg-type]


def _llm(at: str, replicas: str, prefix: str = "") -> tuple[Place, ...]:
    return (
        Place(f"{at}.template", replicas, role=prefix, inline=True),
        Place(f"{at}.worker", role=f"{prefix} worker".strip(), inline=True, worker=True),
    )


def _ray(at: str) -> tuple[Place, ...]:
    groups = f"{at}.workerGroupSpecs[]"
    return (
        Place(f"{at}.headGroupSpec.template", role="head"),
        Place(f"{groups}.template", f"{groups}.replicas", named_by="groupName", worker=True),
    )


_LLM_SERVICE = (
    *_llm("spec", "spec.replicas"),
    *_llm("spec.prefill", "spec.prefill.replicas", PREFILL),
)
_RUNTIME = (Place("spec", inline=True),)

KINDS: dict[tuple[str, str], Kind] = {
    ("apps", "Deployment"): Kind(_one(), "deployment", scales=True),
    ("apps", "StatefulSet"): Kind(_one(), "statefulset", scales=True),
    ("apps", "DaemonSet"): Kind((Place("spec.template"),), "daemonset"),
    ("apps", "ReplicaSet"): Kind(_one(), scales=True),
    ("batch", "Job"): Kind((Place("spec.template", "spec.parallelism"),)),
    ("batch", "CronJob"): Kind((Place("spec.jobTemplate.spec.template"),)),
    ("", "ReplicationController"): Kind(_one(), scales=True),
    ("", "Pod"): Kind((Place(""),)),
    ("argoproj.io", "Rollout"): Kind(_one(), "rollout", scales=True),
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): Kind(
        (
            Place("spec.leaderWorkerTemplate.leaderTemplate", "spec.replicas", role="leader"),
            Place(
                "spec.leaderWorkerTemplate.workerTemplate",
                "spec.replicas",
                role="worker",
                worker=True,
            ),
        ),
        "leaderworkerset",
        scales=True,
        labels=(("leaderworkerset.sigs.k8s.io/name", "{name}"),),
        variables=(("LWS_GROUP_SIZE", "spec.leaderWorkerTemplate.size"),),
    ),
    # Knative's default of a revision's timeoutSeconds is 300, and that is its pods' grace period
    ("serving.knative.dev", "Service"): Kind(
        (Place("spec.template"),),
        "revision",
        default_grace_s=300,
        grace_field="timeoutSeconds",
        labels=(("serving.knative.dev/service", "{name}"),),
    ),
    ("serving.kserve.io", "InferenceService"): Kind(
        (
            Place("spec.predictor", "spec.predictor.minReplicas", inline=True),
            Place("spec.predictor.workerSpec", role="worker", inline=True, worker=True),
        ),
        "inferenceservice",
        labels=(
            ("app", "isvc.{name}-predictor"),
            ("component", "predictor"),
            ("serving.kserve.io/inferenceservice", "{name}"),
        ),
    ),
    ("serving.kserve.io", "ServingRuntime"): Kind(_RUNTIME, complete=False),
    ("serving.kserve.io", "ClusterServingRuntime"): Kind(_RUNTIME, complete=False),
    ("serving.kserve.io", "LLMInferenceService"): Kind(
        _LLM_SERVICE,
        labels=(
            ("app.kubernetes.io/name", "{name}"),
            ("app.kubernetes.io/part-of", "llminferenceservice"),
        ),
    ),
    ("serving.kserve.io", "LLMInferenceServiceConfig"): Kind(_LLM_SERVICE, complete=False),
    # the NIM Operator writes its Deployment, with probes and volumes that are not here
    ("apps.nvidia.com", "NIMService"): Kind(
        (Place("spec", "spec.replicas", inline=True),), complete=False
    ),
    ("ray.io", "RayService"): Kind(_ray("spec.rayClusterConfig"), "cluster"),
    ("ray.io", "RayCluster"): Kind(_ray("spec")),
}
"""By API group (empty is the core group) and kind."""

ANY = Kind(())
"""What is known of a custom resource that is not listed: its pod templates are looked for."""

_WITHOUT_PODS = frozenset(
    {
        "", "apps", "batch", "v1", "admissionregistration.k8s.io", "apiextensions.k8s.io",
        "apiregistration.k8s.io", "autoscaling", "certificates.k8s.io", "coordination.k8s.io",
        "discovery.k8s.io", "events.k8s.io", "flowcontrol.apiserver.k8s.io",
        "gateway.networking.k8s.io", "inference.networking.k8s.io", "metrics.k8s.io",
        "inference.networking.x-k8s.io", "networking.k8s.io", "node.k8s.io", "policy",
        "rbac.authorization.k8s.io", "resource.k8s.io", "scheduling.k8s.io", "storage.k8s.io",
        "autoscaling.k8s.io", "cert-manager.io", "eventing.keda.sh", "keda.sh", "kyverno.io",
        "policies.kyverno.io", "monitoring.coreos.com", "networking.istio.io",
        "security.istio.io", "telemetry.istio.io", "config.kubernetes.io",
        "kustomize.config.k8s.io", "helm.toolkit.fluxcd.io", "kustomize.toolkit.fluxcd.io",
        "constraints.gatekeeper.sh", "templates.gatekeeper.sh", "wgpolicyk8s.io",
        "operators.coreos.com", "external-secrets.io",
    }
)  # fmt: skip
"""API groups whose other kinds hold no pod templates, or none that runs an engine."""
_DEEPEST = 40
"""How deep templates are looked for; Kubernetes itself nests no deeper."""


def kind_of(obj: Raw) -> Kind | None:
    """Return the kind of a raw object, None if it holds no pods.

    A custom resource that is not listed is :data:`ANY` if there is a pod template in it.
    """
    version, name = obj.get("apiVersion"), obj.get("kind")
    if not isinstance(version, str) or not isinstance(name, str):
        return None
    known = _known(version, name)
    if known is ANY:
        return ANY if next(templates_in(obj), None) is not None else None
    return known


@lru_cache(maxsize=1024)
def _known(version: str, name: str) -> Kind | None:
    group, slash, _ = version.rpartition("/")
    group = group if slash else ""
    found = KINDS.get((group, name))
    if found is not None:
        return found
    return None if group in _WITHOUT_PODS else ANY


@lru_cache(maxsize=1024)
def meant(version: str, name: str) -> str:
    """Return the listed kind that differs from a name in upper and lower case only, else ""."""
    group, slash, _ = version.rpartition("/")
    group, small = group if slash else "", name.lower()
    if (group, name) in KINDS:
        return ""
    return next((kind for of, kind in KINDS if of == group and kind.lower() == small), "")


def templates_in(obj: Raw) -> Iterator[tuple[str | int, ...]]:
    """Yield where pods' specs are in an object: mappings with a list of containers with images.

    The pod spec itself is not looked through.
    """
    waiting: list[tuple[tuple[str | int, ...], object]] = [((), obj)]
    while waiting:
        path, at = waiting.pop()
        if isinstance(at, dict):
            if _holds_containers(at):
                yield path
            elif len(path) < _DEEPEST:
                waiting.extend(
                    ((*path, key), value)
                    for key, value in reversed(at.items())
                    if isinstance(value, (dict, list)) and key != "metadata"
                )
        elif isinstance(at, list) and len(path) < _DEEPEST:
            waiting.extend(
                ((*path, index), at[index])
                for index in range(len(at) - 1, -1, -1)
                if isinstance(at[index], (dict, list))
            )


def _holds_containers(at: Raw) -> bool:
    found = at.get("containers")
    return isinstance(found, list) and any(
        isinstance(item, dict) and isinstance(item.get("image"), str) for item in found
    )
