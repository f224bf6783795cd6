"""What an autoscaler's trigger follows: what users wait for, or how busy some resource is."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from drainproof.patterns import regex

if TYPE_CHECKING:
    from drainproof.model.scaler import Trigger


class Follows(Enum):
    """What the number of replicas moves with."""

    USERS = "what users wait for"
    UTILISATION = "how busy a resource is"
    CLOCK = "the clock"
    UNKNOWN = "not known"


_UTILISATION = regex(
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
_USERS = regex(
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


def followed(trigger: Trigger, prefix: str) -> tuple[Follows, str]:
    """Return what a trigger follows, and which resource's use that is, if it is one's.

    Args:
        trigger: Of an autoscaler.
        prefix: What the names of the engine's own metrics begin with, such as ``vllm:``; may be
            empty.
    """
    if trigger.type in _SAID:
        return Follows.UTILISATION, _SAID[trigger.type]
    if trigger.type in _QUEUES:
        return Follows.USERS, ""
    if trigger.type in _CLOCKS:
        return Follows.CLOCK, ""
    query = trigger.query
    # what a query measures says more than what it counts or divides by
    if query is not None and query.answer.measures:
        follows, what = _of_name(query.answer.measures, prefix)
        if follows is not Follows.UNKNOWN:
            return follows, what
    found = [_of_name(name, prefix) for name in trigger.metrics]
    for wanted in (Follows.UTILISATION, Follows.USERS):
        for follows, what in found:
            if follows is wanted:
                return follows, what
    return Follows.UNKNOWN, ""


@lru_cache(maxsize=4096)
def _of_name(name: str, prefix: str) -> tuple[Follows, str]:
    found = _UTILISATION.search(name)
    if found:
        return Follows.UTILISATION, _SAID[found.lastgroup or "cpu"]
    flat = prefix.replace(":", "_")  # adapters for custom metrics write no colons
    if _USERS.search(name) or (prefix and name.startswith((prefix, flat))):
        return Follows.USERS, ""
    return Follows.UNKNOWN, ""
