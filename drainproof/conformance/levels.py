"""What is core and what is extended, and what features and requirements rest on which checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from drainproof.judge.verdict import Severity

if TYPE_CHECKING:
    from drainproof.conformance.form import Level
    from drainproof.judge.registry import Check

FEATURES: Final[dict[str, tuple[str, ...]]] = {
    "autoscaling-declared": (
        "has-scaler",
        "scaling-signal",
        "metric-exists",
        "scaling-threshold",
        "scaling-bounds",
        "scaling-tempo",
        "one-scaler",
        "scaling-fallback",
    ),
    "autoscaling-works": ("scaler-is-ready", "query-answers", "scaler-active", "scaler-makes-hpa"),
    "scales-out": ("scale-out",),
    "scales-in": ("scale-in",),
    "does-not-flap": ("no-flapping",),
    "scales-from-zero": ("scale-from-zero",),
    "survives-scaler-outage": ("scaler-outage",),
    "starts-in-time": ("cold-start", "cold-start-fits-probes"),
    "engine-metrics": ("monitor-selects-service", "target-is-up", "metric-is-fresh"),
    "latency-objectives": ("latency-objectives",),
    "survives-engine-loss": ("container-kill", "force-delete"),
    "survives-node-loss": ("node-loss",),
}
"""What a deployment may have or be able to do, and the checks that show it."""

_OF_FEATURES: Final = frozenset(slug for slugs in FEATURES.values() for slug in slugs)


def level_of(check: Check) -> Level:
    """Return ``core`` for what every deployment owes its users.

    That is each check of severity error that belongs to no feature: where it fails, users see
    answers that are cut off, or none.
    """
    if check.severity is Severity.ERROR and check.slug not in _OF_FEATURES:
        return "core"
    return "extended"


class Asked(NamedTuple):
    """A requirement of CNCF's Kubernetes AI Conformance that the evidence says something about."""

    id: str
    asks: str
    """In short, in our words."""
    checks: tuple[str, ...]
    of_accelerators: bool
    """Whether it is about pods that use accelerators."""


REQUIREMENTS: Final = (
    Asked(
        "pod_autoscaling",
        "the HorizontalPodAutoscaler works for pods that use accelerators, and by metrics that "
        "matter to AI workloads",
        (
            "has-scaler",
            "scaling-signal",
            "scaler-is-ready",
            "query-answers",
            "scaler-makes-hpa",
            "scale-out",
            "scale-in",
        ),
        of_accelerators=True,
    ),
    Asked(
        "ai_service_metrics",
        "a monitoring system finds AI workloads that expose metrics in a standard format, and "
        "collects them",
        FEATURES["engine-metrics"],
        of_accelerators=False,
    ),
)
"""Source: the checklist of github.com/cncf/k8s-ai-conformance for Kubernetes 1.33."""
NOT_A_CERTIFICATION: Final = (
    "what was seen of one deployment: evidence that a submission may name, and no certification"
)
