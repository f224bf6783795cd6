"""The autoscaler follows queue depth or latency.

What it checks
    What the workload's autoscaler follows, whatever its kind, the trigger's type or the query: the
    engine's own metrics of its queue, its requests, its cache or its latency, the requests that
    come in, or the length of a message queue. CPU, memory and GPU utilisation fail, as an error if
    nothing better is beside them and as a warning if it is: names from DCGM and cAdvisor, recording
    rules, Datadog's and CloudWatch's names alike. A metric that says nothing by its name is
    inconclusive.

Why
    A GPU at 90 % may serve everybody well, or have a queue of 30 s; CPU and memory hardly move at
    all. An autoscaler that follows them adds replicas too late, and takes busy ones away. The fault
    ``scale-out`` shows it: with 41 requests waiting on a simulated engine, its CPU was at 2.7 % of
    one core, and nothing was scaled.

Fix
    Use a Prometheus trigger on ``vllm:num_requests_waiting`` or on a latency quantile. TGI's queue
    is ``tgi_queue_size``, SGLang's ``sglang:num_queue_reqs``, trtllm-serve's
    ``trtllm_num_requests_waiting``.

Source
    Module 1.5, "Why HPA Is Not Enough", question 2 and "Scaling on Custom Latency Targets".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model.following import Follows, followed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.scaler import Scaler
    from drainproof.model.workload import Workload


@check(
    "DP402",
    severity=Severity.ERROR,
    admission="it joins an autoscaler with the engine that it scales",
)
def scaling_follows_users(
    workload: Workload, engine: Engine, scalers: Sequence[Scaler]
) -> Iterator[Finding]:
    """Yield the signals that say nothing of what users wait for."""
    for scaler in scalers:
        judged = [(trigger, *followed(trigger, engine.facts.prefix)) for trigger in scaler.triggers]
        good = any(follows is Follows.USERS for _, follows, _ in judged)
        for trigger, follows, what in judged:
            if follows is Follows.UTILISATION:
                yield scaler.finding(
                    trigger.path,
                    f"{workload.name} scales on {what} ({trigger.written[:80]}), which does not "
                    "move with what users wait for: replicas come too late and go while they are "
                    "busy; expected queue depth, such as "
                    f"{engine.waiting_metric or 'waiting requests'}",
                    Severity.WARNING if good else None,
                    fix=_fix(engine),
                )
            elif follows is Follows.UNKNOWN and not good:
                yield scaler.inconclusive(
                    trigger.path,
                    f"whether {trigger.written[:80] or trigger.type!r} follows queue depth or "
                    "latency can't be told",
                )
        if all(follows is Follows.CLOCK for _, follows, _ in judged):
            yield scaler.finding(
                "spec.triggers",
                f"{workload.name} scales on {'the clock' if judged else 'nothing'} alone, whatever "
                "users wait for",
                fix=_fix(engine),
            )


def _fix(engine: Engine) -> str:
    metric = engine.waiting_metric
    return f"Use a Prometheus trigger on {metric} or on a latency quantile." if metric else ""
