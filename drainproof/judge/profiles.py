"""The numbers that checks use, in one place, by profile."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from drainproof.errors import UserError
from drainproof.model.quantity import GIB

Bytes = int
"""A size: in a config file it is a string with a unit, such as ``"8Gi"``."""


class Profile(Struct, frozen=True, kw_only=True):
    """What a deployment is held to. Times end in ``_s`` and are in seconds, sizes are Bytes.

    A config file may change any field: see :mod:`drainproof.judge.config`.
    """

    name: str
    grace_period_min_s: int = 120
    """Module 1.5: 120 to 180 s for LLM serving pods."""
    grace_period_long_s: int = 600
    """Over this a node drain waits longer than cluster upgrades usually allow."""
    drain_min_s: int = 30
    """Module 1.5: a response of 2,000 tokens takes 30 to 60 s."""
    drain_good_s: int = 120
    """What a repair sets where nothing else bounds it: vLLM 0.32 was seen to finish within it."""
    teardown_s: int = 20
    """After a drain vLLM 0.32 takes 6 to 14 s to exit, as measured."""
    prestop_min_s: float = 5
    """Module 1.5: ``sleep 5``, the least that may pass."""
    prestop_good_s: float = 15
    """KServe's and llm-d's value; endpoints take that long to leave slow load balancers."""
    startup_min_s: int = 120
    """Module 1.5: ``initialDelaySeconds`` of at least 120 while the model loads."""
    startup_good_s: int = 300
    """Module 1.5: a cold start takes 1 to 5 minutes. References ship 600 s and more."""
    startup_repair_s: int = 600
    """KServe and the vLLM production stack allow 60 probes, 10 s apart."""
    rollout_slack_s: int = 300
    """For scheduling and for pulling an image of 10 GB or more, before any probe begins."""
    probe_timeout_min_s: int = 2
    """Kubernetes' default of 1 s is missed by busy engines (llm-d-benchmark pull request 1734)."""
    probe_timeout_good_s: int = 5
    """What a repair sets: what scaleapi/llm-engine pull request 255 found to do for vLLM."""
    probe_patience_s: int = 60
    """A probe that fails for this long before it acts may have a short timeout, as KServe's."""
    liveness_patience_min_s: int = 30
    """Kubernetes' own default of 3 probes, 10 s apart: a busy engine may miss one or two."""
    shared_memory_min: Bytes = 4 * GIB
    """Module 1.5: its smallest example."""
    shared_memory_max: Bytes = 16 * GIB
    """Module 1.5: its largest example, which is for tensor parallelism."""
    needs_scaler: bool = True
    """Whether a workload must have an autoscaler."""
    replicas_min: int = 2
    """One can go, with its node or for a while, and another still answers."""
    needs_disruption_budget: bool = True
    """Whether a workload must have a PodDisruptionBudget."""
    gpu_memory_min: float = 0.85
    """Module 1.5, "Key vLLM Parameters": 0.85 to 0.95. vLLM's own default is 0.9, 0.92 by now."""
    gpu_memory_max: float = 0.95
    """Module 1.5, same place: above it CUDA graphs and activations run out of memory."""
    gpu_memory_min_sglang: float = 0.7
    """SGLang's fraction leaves activations and CUDA graphs out, and its documentation goes down to
    0.7 against running out of memory."""
    max_model_len_long: int = 32_768
    """Module 1.5, question 3: the length at which "the model's theoretical maximum" hurts."""
    max_num_seqs_min: int = 8
    """Below it requests queue while the GPU idles; the module starts with 64, and 32 for 70B."""
    wants_max_num_seqs: bool = True
    """Whether the size of a batch must be set; module 1.5: "start with 64"."""
    allows_eager: bool = False
    """Whether CUDA graphs may be off; module 1.5: "use for debugging; disable in production"."""
    wants_prefixes_and_chunks: bool = True
    """Whether versions of vLLM that have them off must switch them on; module 1.5 leaves it open:
    "enable for mixed-length traffic"."""
    needs_spread: bool = True
    """Whether replicas must ask for different nodes."""
    engine_memory_min: Bytes = 3 * GIB
    """What an engine's own processes take of the host's memory: 2.9 to 3.8 GB measured on
    vLLM 0.32 with next to no weights."""

    allows_zero: bool = False
    """Whether an autoscaler may take all replicas away; module 1.5: "always keep 1 replica", and
    zero "for development or low-traffic models"."""
    zero_cooldown_s: int = 900
    """Module 1.5, "Scale-to-Zero": wait 15 min before the last replica goes."""
    scale_down_window_s: int = 300
    """Module 1.5, "Scaling vLLM on Queue Depth", and Kubernetes' own default."""
    scale_down_pods: int = 1
    """Module 1.5, same place: one replica at a time on the way down."""
    scale_up_window_max_s: int = 300
    """Module 1.5: a cold start takes 1 to 5 minutes; waiting as long before it doubles that."""
    polling_max_s: int = 30
    """KEDA's own default; module 1.5 has 15 s."""
    needs_fallback: bool = True
    """Whether a ScaledObject must say what happens while its metrics are away."""
    stream_s: int = 120
    """How long an answer may take: as long as the grace period, at least, waits for it."""
    stream_good_s: int = 600
    """What a repair sets: Knative's most, and twice what llm-d's HTTPRoutes have."""
    needs_monitor: bool = True
    """Whether something must scrape a workload that no autoscaler's query needs."""
    metric_age_max_s: int = 120
    """Two scrapes, at Prometheus' own default of one a minute."""
    ttft_p95_max_s: float = 0.5
    """Module 1.5, "The Two Inference Phases": a prefill takes 100 to 500 ms."""
    tpot_p95_max_s: float = 0.05
    """Module 1.5, same place: 20 to 50 ms per token."""
    latency_requests_min: int = 100
    """With fewer, the 99th percentile is one unlucky request."""
    startup_used_max: float = 0.8
    """Share of a probe's budget that a load may take: the next one may be slower."""
    restart_recent_s: int = 86_400
    """A day: what happened before is as likely mended."""


_PRODUCTION = Profile(name="production")

PROFILES: dict[str, Profile] = {
    "production": _PRODUCTION,
    # Cut-off answers annoy developers too, but nobody waits for a long one or for a spare replica.
    "dev": replace(
        _PRODUCTION,
        name="dev",
        stream_s=60,
        needs_monitor=False,
        grace_period_min_s=60,
        prestop_good_s=5,
        startup_good_s=120,
        needs_scaler=False,
        replicas_min=1,
        needs_disruption_budget=False,
        wants_max_num_seqs=False,
        allows_eager=True,
        wants_prefixes_and_chunks=False,
        needs_spread=False,
        allows_zero=True,
        zero_cooldown_s=300,  # KEDA's own default
        scale_down_window_s=60,
        needs_fallback=False,
    ),
    # The module's own numbers, where they are less strict than what was learned since.
    "module": replace(
        _PRODUCTION,
        name="module",
        stream_s=60,
        prestop_good_s=5,
        startup_good_s=120,
        probe_timeout_min_s=1,
        replicas_min=1,
        needs_disruption_budget=False,
        wants_prefixes_and_chunks=False,
        needs_spread=False,
        scale_down_window_s=120,
        needs_fallback=False,
    ),
}


def profile(name: str) -> Profile:
    """Return a profile by name.

    Raises:
        UserError: There is none of that name.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise UserError(f"expected a profile ({', '.join(PROFILES)}), found {name!r}") from None
