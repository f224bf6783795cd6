"""KEDA and Prometheus, as ``drainproof cluster up --with`` installs them, do their work."""

from __future__ import annotations

import base64
import gzip
import json
import threading
import time
import uuid
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from drainproof import clusters
from drainproof.clusters.versions import versions
from drainproof.progress import NoProgress
from tests.e2e.targets import Target, sim_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drainproof.clusters import Cluster

    Eventually = Callable[[Callable[[], bool], float], None]

pytestmark = pytest.mark.e2e

PROMETHEUS = "http://prometheus-operated.monitoring.svc:9090"
PROXY = "/api/v1/namespaces/monitoring/services/prometheus-operated:9090/proxy"
WAITING = "vllm:num_requests_waiting"
POD = "pod/prometheus-prometheus-0"
RUN = uuid.uuid4().hex[:8]
RIGHT = Target(namespace=f"stacks-{RUN}-right", flags=("--max-num-seqs=1",))
RENAMED = replace(RIGHT, namespace=f"stacks-{RUN}-renamed")
PATIENCE_S = 180
STREAMS = 4
# Streams that outlast any patience here, until their pod is deleted.
LOAD = f"""if True:
    import json, sys, threading, urllib.request
    asked = {{"model": "sim", "prompt": "Why?", "stream": True, "max_tokens": 2000}}
    def ask():
        kind = {{"Content-Type": "application/json"}}
        request = urllib.request.Request(sys.argv[1], json.dumps(asked).encode(), kind)
        with urllib.request.urlopen(request, timeout=300) as answer:
            for _ in answer:
                pass
    for _ in range({STREAMS}):
        threading.Thread(target=ask).start()
"""


@pytest.fixture(scope="module")
def stacks(embedded: Cluster) -> Cluster:
    """Return the cluster with KEDA and Prometheus in it."""
    return clusters.up(embedded.name, progress=NoProgress(), stacks=("keda", "prometheus"))


def prometheus(cluster: Cluster, path: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(cluster.kubectl("get", "--raw", f"{PROXY}/api/v1/{path}"))
    data: dict[str, Any] = answer["data"]
    return data


def value(cluster: Cluster, query: str) -> float | None:
    result = prometheus(cluster, f"query?query={quote(query)}")["result"]
    return float(result[0]["value"][1]) if result else None


def monitor(name: str, selects: str) -> dict[str, Any]:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": selects}},
            "endpoints": [{"port": "http", "interval": "2s"}],
        },
    }


def scaler(query: str) -> dict[str, Any]:
    trigger = {"serverAddress": PROMETHEUS, "query": query, "threshold": "1"}
    tempo = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "sim"},
        "spec": {
            "scaleTargetRef": {"name": "sim"},
            "minReplicaCount": 1,
            "maxReplicaCount": 3,
            "pollingInterval": 2,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": tempo}},
            "triggers": [{"type": "prometheus", "metadata": trigger}],
        },
    }


def load() -> dict[str, Any]:
    container = {
        "name": "python",
        "image": versions().python_image,
        "command": ["python3", "-c", LOAD, "http://sim/v1/completions"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "load"},
        "spec": {
            "containers": [container],
            "restartPolicy": "Never",
            "activeDeadlineSeconds": 2 * PATIENCE_S,
        },
    }


def apply(cluster: Cluster, namespace: str, *objects: dict[str, Any]) -> None:
    items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    cluster.kubectl("-n", namespace, "apply", "-f", "-", text_input=json.dumps(items))


def deploy(cluster: Cluster, target: Target, *objects: dict[str, Any]) -> None:
    """Deploy a target whose Service a ServiceMonitor can select, and what goes with it."""
    manifests = target.manifests(sim_image(cluster))
    service = next(item for item in manifests["items"] if item["kind"] == "Service")
    service["metadata"]["labels"] = {"app": "sim"}
    service["spec"]["ports"][0]["name"] = "http"
    target.apply(cluster, manifests)
    apply(cluster, target.namespace, *objects)


def reconciled(cluster: Cluster, target: Target) -> bool:
    """Say whether the operator has put both monitors into Prometheus' configuration."""
    words = ("-n", "monitoring", "get", "secret", "prometheus-prometheus", "-o")
    packed = cluster.kubectl(*words, "jsonpath={.data.prometheus\\.yaml\\.gz}")
    text = gzip.decompress(base64.b64decode(packed)).decode()
    return all(f"serviceMonitor/{target.namespace}/{name}/0" in text for name in ("sim", "wrong"))


def show(cluster: Cluster) -> None:
    """Have the node show Prometheus its new configuration now; by itself it takes minutes.

    Nodes look at what they mounted into a pod when the pod changes, and else seldom.
    """
    mark = f"drainproof.dev/run={RUN}"
    cluster.kubectl("-n", "monitoring", "annotate", "--overwrite", POD, mark)


@pytest.fixture(scope="module")
def monitored(stacks: Cluster, eventually: Eventually) -> Iterator[Cluster]:
    """Return the cluster with two engines: both are watched, one is scaled by a wrong name."""
    monitors = (monitor("sim", "sim"), monitor("wrong", "simulated"))
    for target, metric in ((RIGHT, WAITING), (RENAMED, "vllm:requests_waiting")):
        query = f'sum({metric}{{namespace="{target.namespace}"}})'
        deploy(stacks, target, *monitors, scaler(query))
    for target in (RIGHT, RENAMED):
        target.ready(stacks)
        eventually(partial(reconciled, stacks, target), PATIENCE_S)
    show(stacks)
    yield stacks
    for target in (RIGHT, RENAMED):
        target.remove(stacks)


@dataclass(frozen=True)
class Seen:
    """What there was of a target at one time."""

    replicas: int
    waiting: float | None
    active: str
    """The ScaledObject's own word."""
    metric: dict[str, Any]
    """What its HPA follows."""


def seen(cluster: Cluster, target: Target) -> Seen:
    def get(what: str) -> dict[str, Any]:
        words = ("-n", target.namespace, "get", what, "-o", "json", "--ignore-not-found")
        found: dict[str, Any] = json.loads(cluster.kubectl(*words) or "{}")
        return found

    conditions = get("scaledobject/sim").get("status", {}).get("conditions", [])
    hpa = get("hpa/keda-hpa-sim")
    return Seen(
        replicas=get("deployment/sim")["spec"]["replicas"],
        waiting=value(cluster, f'sum({WAITING}{{namespace="{target.namespace}"}})'),
        active=next((one["status"] for one in conditions if one["type"] == "Active"), "Unknown"),
        metric=hpa["spec"]["metrics"][0] if hpa else {},
    )


def watch(cluster: Cluster, until: Callable[[Seen, Seen], bool]) -> tuple[Seen, Seen]:
    """Look at both targets until a condition holds, or patience ends; return the last look."""
    deadline, between = time.monotonic() + PATIENCE_S, threading.Event()
    while True:
        both = seen(cluster, RIGHT), seen(cluster, RENAMED)
        if until(*both) or time.monotonic() > deadline:
            return both
        between.wait(1)


@dataclass(frozen=True)
class Episode:
    """Both targets, each with more streams than it can run at once, and after these."""

    loaded: tuple[Seen, Seen]
    after: tuple[Seen, Seen]


@pytest.fixture(scope="module")
def episode(monitored: Cluster, eventually: Eventually) -> Episode:
    """Put both targets under load, wait for one to grow; end the load, wait for it to shrink."""
    watched = f'count({WAITING}{{namespace=~"stacks-{RUN}-.*"}})'
    eventually(lambda: value(monitored, watched) == 2, PATIENCE_S)
    for target in (RIGHT, RENAMED):
        apply(monitored, target.namespace, load())
    loaded = watch(
        monitored,
        lambda right, renamed: (
            right.replicas > 1 and right.active == "True" and (renamed.waiting or 0) > 1
        ),
    )
    for target in (RIGHT, RENAMED):
        monitored.kubectl("-n", target.namespace, "delete", "pod/load", "--grace-period=0")
    after = watch(monitored, lambda right, _: right.replicas == 1)
    return Episode(loaded, after)


def test_the_external_metrics_api_answers_through_the_aggregator(stacks: Cluster) -> None:
    path = "/apis/external.metrics.k8s.io/v1beta1"
    answer = json.loads(stacks.kubectl("get", "--raw", path))
    assert (answer["kind"], answer["groupVersion"]) == (
        "APIResourceList",
        "external.metrics.k8s.io/v1beta1",
    )
    assert [one["name"] for one in answer["resources"]] == ["externalmetrics"]


def test_the_target_of_a_service_monitor_is_up(monitored: Cluster, eventually: Eventually) -> None:
    def up() -> bool:
        active = prometheus(monitored, "targets?state=active")["activeTargets"]
        pool = f"serviceMonitor/{RIGHT.namespace}/sim/0"
        return [one["health"] for one in active if one["scrapePool"] == pool] == ["up"]

    eventually(up, PATIENCE_S)


def test_a_service_monitor_that_selects_no_service_has_no_target(
    monitored: Cluster, eventually: Eventually
) -> None:
    pool = f"serviceMonitor/{RIGHT.namespace}/wrong/0"

    def dropped() -> bool:
        found = prometheus(monitored, "targets?state=dropped")["droppedTargets"]
        return any(one["discoveredLabels"]["job"] == pool for one in found)

    # Prometheus has the monitor, and has looked at the engine for it.
    eventually(dropped, PATIENCE_S)
    active = prometheus(monitored, "targets?state=active")["activeTargets"]
    assert pool not in {one["scrapePool"] for one in active}


def test_a_scaled_object_makes_an_hpa_on_an_external_metric(episode: Episode) -> None:
    right, _ = episode.loaded
    assert right.metric["type"] == "External"
    assert right.metric["external"]["target"] == {"type": "AverageValue", "averageValue": "1"}


def test_replicas_rise_while_requests_wait(episode: Episode) -> None:
    right, _ = episode.loaded
    assert right.active == "True"
    assert right.replicas > 1


def test_replicas_fall_when_none_waits_any_more(episode: Episode) -> None:
    right, _ = episode.after
    assert right.replicas == 1


def test_a_scaler_on_a_renamed_metric_does_not_see_the_requests_that_wait(
    episode: Episode,
) -> None:
    _, renamed = episode.loaded
    assert renamed.waiting is not None
    assert renamed.waiting > 1
    assert renamed.active == "False"
    assert renamed.replicas == 1
