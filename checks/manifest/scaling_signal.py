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
    all. An autoscaler that follows them adds replicas too late, and takes busy ones away.

Fix
    Use a Prometheus trigger on ``vllm:num_requests_waiting`` or on a latency quantile. TGI's queue
    is ``tgi_queue_size``, SGLang's ``sglang:num_queue_reqs``, trtllm-serve's
    ``trtllm_num_requests_waiting``.

Source
    Module 1.5, "Why HPA Is Not Enough", question 2 and "Scaling on Custom Latency Targets".
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.scaler import Scaler, Trigger
    from drainproof.model.workload import Workload

_UTILISATION = re.compile(
    r"""
      (?P<gpu> (?<![a-z])(?:dcgm|nvml|nvidia)[._:/]
             | gpu[^a-z]{0,2}(?:util|duty|mem|usage|busy|load|percent|power|active|sm)
             | (?<![a-z])(?:amd|rocm)[a-z_]*gpu | ^gpu$ | accelerator[^a-z]{0,2}(?:duty|util|mem) )
    | (?P<memory> (?<![a-z])memory[\W_]*(?:usage|util|working|used|percent|rss|bytes) | ^memory$
             | (?:container|node|process|system|docker|kubernetes|pod)[._/]mem )
    | (?P<cpu> (?<![a-z])cpu[\W_]*(?:usage|util|percent|seconds|user|system|total|core|load|time)
             | percentage\ cpu | ^cpu$
             | (?:container|node|process|system|docker|kubernetes|pod)[._/]cpu )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_USERS = re.compile(
    r"wait|queue|pending|backlog|in_?flight|running|concurren|request|latency|duration|(?<![a-z])rps"
    r"|time_to_first|ttft|tpot|inter_token|per_token|throughput|kv_?cache|cache_usage|token_usage"
    r"|desired_replicas",
    re.IGNORECASE,
)
_QUEUES = frozenset(
    {
        "kafka", "apache-kafka", "rabbitmq", "aws-sqs-queue", "azure-servicebus", "azure-queue",
        "gcp-pubsub", "gcp-cloudtasks", "redis", "redis-streams", "redis-cluster",
        "redis-cluster-streams", "redis-sentinel", "redis-sentinel-streams", "nats-jetstream",
        "activemq", "artemis-queue", "pulsar", "ibmmq", "solace-event-queue", "beanstalkd", "nsq",
        "stan", "temporal",
    }
)  # fmt: skip
"""KEDA triggers that follow the length of a message queue."""
_CLOCKS = frozenset({"cron"})
_SAID = {"cpu": "CPU", "memory": "memory", "gpu": "GPU utilisation"}


@check("DP402", severity=Severity.ERROR)
def scaling_follows_users(
    workload: Workload, engine: Engine, scalers: Sequence[Scaler]
) -> Iterator[Finding]:
    """Yield the signals that say nothing of what users wait for."""
    for scaler in scalers:
        judged = [(trigger, *_judge(trigger, engine)) for trigger in scaler.triggers]
        good = any(verdict == "good" for _, verdict, _ in judged)
        for trigger, verdict, what in judged:
            if verdict == "bad":
                yield scaler.finding(
                    trigger.path,
                    f"{workload.name} scales on {what} ({trigger.written[:80]}), which does not "
                    "move with what users wait for: replicas come too late and go while they are "
                    "busy; expected queue depth, such as "
                    f"{engine.waiting_metric or 'waiting requests'}",
                    Severity.WARNING if good else None,
                )
            elif verdict == "unknown" and not good:
                yield scaler.inconclusive(
                    trigger.path,
                    f"whether {trigger.written[:80] or trigger.type!r} follows queue depth or "
                    "latency can't be told",
                )
        if not any(verdict != "clock" for _, verdict, _ in judged):
            yield scaler.finding(
                "spec.triggers",
                f"{workload.name} scales on {'the clock' if judged else 'nothing'} alone, whatever "
                "users wait for",
            )


def _judge(trigger: Trigger, engine: Engine) -> tuple[str, str]:
    """Return ``good``, ``bad``, ``clock`` or ``unknown``, and what a bad one follows."""
    if trigger.type in _SAID:
        return "bad", _SAID[trigger.type]
    if trigger.type in _QUEUES:
        return "good", ""
    if trigger.type in _CLOCKS:
        return "clock", ""
    query = trigger.query
    # what a query measures says more than what it counts or divides by
    if query is not None and query.answer.measures:
        verdict, what = _of_name(query.answer.measures, engine.facts.prefix)
        if verdict != "unknown":
            return verdict, what
    verdicts = [_of_name(name, engine.facts.prefix) for name in trigger.metrics]
    for wanted in ("bad", "good"):
        for verdict, what in verdicts:
            if verdict == wanted:
                return verdict, what
    return "unknown", ""


@lru_cache(maxsize=4096)
def _of_name(name: str, prefix: str) -> tuple[str, str]:
    found = _UTILISATION.search(name)
    if found:
        return "bad", _SAID[found.lastgroup or "cpu"]
    flat = prefix.replace(":", "_")  # adapters for custom metrics write no colons
    if _USERS.search(name) or (prefix and name.startswith((prefix, flat))):
        return "good", ""
    return "unknown", ""
