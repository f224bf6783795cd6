"""The audit follows the queue to the number of replicas, and names the link that broke."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from drainproof import clusters
from drainproof.model import chain
from drainproof.progress import NoProgress
from tests.e2e import accounts
from tests.e2e.targets import Target
from tests.e2e.test_stacks import (
    PATIENCE_S,
    STREAMS,
    WAITING,
    apply,
    deploy,
    load,
    monitor,
    scaler,
    value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drainproof.clusters import Cluster

pytestmark = pytest.mark.e2e

GOOD = Target(namespace="chain-good", flags=("--max-num-seqs=1",))
RENAMED = replace(GOOD, namespace="chain-renamed")
UNLABELLED = replace(GOOD, namespace="chain-unlabelled")
OTHERS = replace(GOOD, namespace="chain-others")
SECOND = replace(GOOD, namespace="chain-second")
PORT = replace(GOOD, namespace="chain-port")
SCRAPED = (GOOD, RENAMED, OTHERS, SECOND)
TARGETS = (*SCRAPED, UNLABELLED, PORT)
SETTLED_S = 45
"""For how long a pod must be ready, and its queue stand, before it is judged."""
SETTINGS = f'[profiles.production]\nmetric_age_max_s = "{SETTLED_S}s"\n'
# Six users who ask again and again, for a few tokens each.
CHURN = """if True:
    import json, random, sys, threading, time, urllib.request
    def ask():
        while True:
            tokens = random.randint(2, 12)
            asked = {"model": "sim", "prompt": "?", "stream": True, "max_tokens": tokens}
            kind = {"Content-Type": "application/json"}
            request = urllib.request.Request(sys.argv[1], json.dumps(asked).encode(), kind)
            with urllib.request.urlopen(request, timeout=300) as answer:
                for _ in answer:
                    pass
            time.sleep(4 * random.random())
    for _ in range(6):
        threading.Thread(target=ask).start()
"""
AUDITS = 5
LINKS = (
    "metric-is-fresh",
    "target-is-up",
    "query-answers",
    "scaler-is-ready",
    "scaler-active",
    "scaler-makes-hpa",
)


def query(target: Target) -> str:
    if target is OTHERS:
        return f"sum({WAITING})"
    metric = "vllm:requests_waiting" if target is RENAMED else WAITING
    return f'sum({metric}{{namespace="{target.namespace}"}})'


def scaled(target: Target) -> dict[str, Any]:
    """Return a ScaledObject that is active while the load is there, and adds no replica."""
    found = scaler(query(target))
    found["spec"]["triggers"][0]["metadata"]["threshold"] = str(4 * STREAMS)
    return found


def metrics_service() -> dict[str, Any]:
    """Return a Service whose port leads to where the engine does not listen."""
    port = {"name": "http", "port": 80, "targetPort": 9000}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "metrics", "labels": {"app": "sim-metrics"}},
        "spec": {"selector": {"app": "sim"}, "ports": [port]},
    }


def second_hpa() -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": 80}
    resource = {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    workload = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "sim"}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "by-cpu"},
        "spec": {"scaleTargetRef": workload, "maxReplicas": 3, "metrics": [resource]},
    }


@pytest.fixture(scope="module")
def stacks(embedded: Cluster) -> Cluster:
    """Return the cluster with KEDA and Prometheus in it."""
    return clusters.up(embedded.name, progress=NoProgress(), stacks=("keda", "prometheus"))


@pytest.fixture(scope="module")
def chains(
    stacks: Cluster, eventually: Callable[[Callable[[], bool], float], None]
) -> Iterator[Cluster]:
    """Return the cluster with six chains in it, one whole and under load, five broken."""
    selects = {UNLABELLED: "simulated", PORT: "sim-metrics"}
    for target in TARGETS:
        deploy(stacks, target, monitor("sim", selects.get(target, "sim")), scaled(target))
    apply(stacks, PORT.namespace, metrics_service())
    for target in TARGETS:
        target.ready(stacks)
    # only now, since KEDA's webhook takes no ScaledObject of what has an HPA already
    apply(stacks, SECOND.namespace, second_hpa())
    apply(stacks, GOOD.namespace, load())
    waiting = query(GOOD)
    eventually(lambda: value(stacks, f"count({WAITING})") == len(SCRAPED), PATIENCE_S)
    eventually(lambda: value(stacks, waiting) == STREAMS - 1, PATIENCE_S)
    down = f'count(up{{namespace="{PORT.namespace}"}} == 0)'
    eventually(
        lambda: value(stacks, down) == 1, PATIENCE_S
    )  # Prometheus reads monitors in its time
    threading.Event().wait(SETTLED_S + 5)  # the span over which the checks look back
    yield stacks
    for target in TARGETS:
        target.remove(stacks)


@pytest.fixture(scope="module")
def reader(chains: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of an account that may read only, and Prometheus and pods too."""
    folder = tmp_path_factory.mktemp("chain")
    accounts.create(chains, folder, prometheus=True)
    (folder / "drainproof.toml").write_text(SETTINGS)
    yield folder
    accounts.remove(chains)


def audit(folder: Path, *where: str) -> list[Any]:
    """Audit as that account; return the findings."""
    began = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "drainproof", "audit", "--context", "reader", *where),
            *("--prometheus", "auto", "--format", "json"),
        ],
        env={**os.environ, "KUBECONFIG": str(folder / "kubeconfig")},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {1, 3}, done.stderr
    assert time.monotonic() - began < PATIENCE_S
    report = json.loads(done.stdout)
    assert report["problems"] == []
    findings: list[Any] = report["findings"]
    return findings


@pytest.fixture(scope="module")
def found(reader: Path) -> list[Any]:
    """Audit all of them at once."""
    return audit(reader, "-A")


def said(found: list[Any], target: Target, check: str = "") -> list[str]:
    """Return what the checks of the chain, or one of them, say of a target."""
    return [
        item["message"]
        for item in found
        if item["subject"]["namespace"] == target.namespace
        and item["check"] in ({check} if check else LINKS)
    ]


def test_a_whole_chain_passes_every_link(found: list[Any]) -> None:
    assert said(found, GOOD) == []


def test_a_metric_that_was_renamed_breaks_between_prometheus_and_the_query(
    found: list[Any],
) -> None:
    (message,) = said(found, RENAMED, "query-answers")
    assert message.startswith(f"{chain.TO_QUERY}: the query has no answer")


def test_a_wrong_label_breaks_between_service_and_monitor(found: list[Any]) -> None:
    (message,) = said(found, UNLABELLED, "target-is-up")
    assert message.startswith(f"{chain.TO_MONITOR}: Prometheus has no target")


def test_a_wrong_port_breaks_between_service_and_monitor_and_shows_the_scrapes_error(
    found: list[Any],
) -> None:
    (message,) = said(found, PORT, "target-is-up")
    assert message.startswith(f"{chain.TO_MONITOR}: the target in 1 of 1 ready pods is down")
    assert "connection refused" in message


def test_a_query_over_another_models_pods_shows_both_numbers_and_whose_they_are(
    found: list[Any],
) -> None:
    (message,) = said(found, OTHERS, "query-answers")
    assert message.startswith(f"{chain.TO_QUERY}: the query also counts {GOOD.namespace}/sim-")
    assert f"the query says {STREAMS - 1}, the pods themselves 0" in message


def test_a_second_hpa_breaks_between_hpa_and_deployment(found: list[Any]) -> None:
    (message,) = said(found, SECOND, "scaler-makes-hpa")
    assert message.startswith(f"{chain.TO_DEPLOYMENT}: it scales Deployment sim too")


def test_a_queue_that_moves_while_it_is_read_is_no_finding(
    chains: Cluster, reader: Path, found: list[Any]
) -> None:
    assert found
    chains.kubectl("-n", GOOD.namespace, "delete", "pod/load", "--grace-period=0")
    churn = load()
    churn["metadata"]["name"] = "churn"
    churn["spec"]["containers"][0]["command"][2] = CHURN
    apply(chains, GOOD.namespace, churn)
    chains.kubectl("-n", GOOD.namespace, "wait", "pod/churn", "--for=condition=Ready")
    for _ in range(AUDITS):
        messages = said(audit(reader, "-n", GOOD.namespace), GOOD, "query-answers")
        assert [message for message in messages if message.startswith(chain.TO_QUERY)] == []
