"""Users get the first token, and each after it, in time.

What it checks
    Over the last hour, by the engine's own histograms in Prometheus, 95 % of requests got their
    first token (TTFT) within 500 ms, and 95 % of times per output token (TPOT) were within 50
    ms. Needs ``--prometheus``.

Why
    TTFT is what users feel as responsiveness, TPOT as speed. When either is over its objective,
    replicas are too few, batches too large or prompts too long, and nothing fails visibly.

Fix
    Scale on queue depth or on P95 of TPOT with a lower threshold, or lower ``--max-num-seqs``.
    If these objectives are not yours, set ``ttft_p95_max_s`` and ``tpot_p95_max_s`` in the
    config file.

Source
    Module 1.5, "The Two Inference Phases": prefill takes 100 to 500 ms, a token 20 to 50 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.metrics import Metrics
    from drainproof.model.running import Pod
    from drainproof.model.workload import Workload

SHARE = 0.95


@check("DP706", severity=Severity.WARNING)
def tokens_come_in_time(
    workload: Workload,
    engine: Engine,
    pods: Sequence[Pod],
    metrics: Metrics,
    profile: Profile,
) -> Iterator[Finding]:
    """Yield the times that users wait longer for than the objectives allow."""
    if not workload.serves:
        return
    for meaning, title, what, objective in (
        ("ttft", "TTFT", "the first token", profile.ttft_p95_max_s),
        ("latency", "TPOT", "each further token", profile.tpot_p95_max_s),
    ):
        names = engine.metric_names(meaning)
        observed = metrics.histogram(names, pods)
        least = profile.latency_requests_min
        unknown = metrics.too_few(names, observed, least, title, engine.label)
        if unknown:
            yield workload.inconclusive("", unknown)
            continue
        took, at_least = observed.quantile(SHARE)
        if took > objective:
            yield workload.finding(
                "",
                f"P95 of {title} is {'over ' if at_least else ''}{took * 1000:.0f} ms, of "
                f"{objective * 1000:g} ms: 1 in 20 waits longer for {what}",
            )
        elif at_least:
            yield workload.inconclusive(
                "", f"P95 of {title} is over the histogram's last bound, {took * 1000:.0f} ms"
            )
