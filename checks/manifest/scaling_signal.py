"""The autoscaler follows queue depth or latency.

What it checks
    What the workload's ScaledObject or HorizontalPodAutoscaler follows, whatever the trigger's type
    or query: the engine's own metrics of its queue, its requests or its latency, or the length of a
    message queue. CPU, memory and GPU utilisation fail, as an error if nothing better is beside
    them and as a warning if it is. A metric that says nothing by its name is inconclusive.

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
      (?P<gpu> ^DCGM_ | nvidia_(?:gpu|smi)_ | gpu_?(?:util|duty|mem) | ^amd_(?:smi_)?gpu | ^gpu$
             | accelerator_(?:duty|util|memory) )
    | (?P<memory> container_memory | node_memory | memory_(?:usage|util|working) | ^memory$ )
    | (?P<cpu> container_cpu | node_cpu | process_cpu | cpu_(?:usage|util|seconds) | ^cpu$ )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_USERS = re.compile(
    r"wait|queue|pending|backlog|in_?flight|running|concurren|request|latency|duration|_seconds"
    r"|time_to_first|ttft|tpot|inter_token|per_token|throughput",
    re.IGNORECASE,
)
_QUEUES = frozenset(
    {
        "kafka", "apache-kafka", "rabbitmq", "aws-sqs-queue", "azure-servicebus", "azure-queue",
        "gcp-pubsub", "redis", "redis-streams", "redis-cluster", "redis-cluster-streams",
        "redis-sentinel", "redis-sentinel-streams", "nats-jetstream", "activemq", "artemis-queue",
        "pulsar", "ibmmq", "solace-event-queue", "beanstalkd", "stan",
    }
)  # fmt: skip
"""KEDA triggers that follow the length of a message queue."""
_CLOCKS = frozenset({"cron"})


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
                    f"move "
                    "with what users wait for: replicas come too late and go while they are busy; "
                    f"expected queue depth, such as {engine.waiting_metric or 'waiting requests'}",
                    Severity.WARNING if good else None,
                )
            elif verdict == "unknown" and not good:
                yield scaler.inconclusive(
                    trigger.path,
                    f"whether {trigger.written[:80] or trigger.type!r} follows queue depth or "
                    f"latency "
                    "can't be told",
                )
        if not any(verdict != "clock" for _, verdict, _ in judged):
            yield scaler.finding(
                "spec.triggers",
                f"{workload.name} scales on {'the clock' if judged else 'nothing'} alone, whatever "
                "users wait for",
            )


def _judge(trigger: Trigger, engine: Engine) -> tuple[str, str]:
    """Return ``good``, ``bad``, ``clock`` or ``unknown``, and what a bad one follows."""
    if trigger.type in {"cpu", "memory"}:
        return "bad", _said(trigger.type)
    if trigger.type in _QUEUES:
        return "good", ""
    if trigger.type in _CLOCKS:
        return "clock", ""
    found = [match for name in trigger.metrics if (match := _UTILISATION.search(name))]
    if found:
        return "bad", _said(found[0].lastgroup or "")
    prefix = engine.facts.prefix
    flat = prefix.replace(":", "_")  # adapters for custom metrics write no colons
    for name in trigger.metrics:
        if _USERS.search(name) or (prefix and name.startswith((prefix, flat))):
            return "good", ""
    return "unknown", ""


def _said(resource: str) -> str:
    return {"cpu": "CPU", "memory": "memory", "gpu": "GPU utilisation"}.get(resource, resource)
