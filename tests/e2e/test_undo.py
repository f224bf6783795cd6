"""Chaos may be stopped at any moment: on the embedded cluster, everything is what it was before."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.collect.connect import connect
from drainproof.faults.api import Api
from drainproof.faults.journal import JOURNALS
from tests.e2e.targets import TOKENS_PER_S, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drainproof.clusters import Cluster

    Moment = Callable[[Api, str], bool]

pytestmark = pytest.mark.e2e

PATIENCE_S = 120
BACK_S = 60
"""How long an HPA that was held may take to look at its target again: 15 s, and what it does."""
AT_ONCE = 3
LOAD = ("--rate", "2", "--tokens", str(TOKENS_PER_S * 2), "--after", "20")
SLOW = {"flags": ("--shutdown-timeout=5",), "grace_s": 10, "load_time_s": 6.0}
RESTARTED = "drainproof.dev/restarted-at"
SCALED_OBJECTS = "scaledobjects.keda.sh"
METRICS = Target(namespace="undo-metrics")
"""Stands for what answers an autoscaler's queries, in another namespace."""


def deployment(api: Api, namespace: str) -> dict[str, Any]:
    return api.get("Deployment", namespace, "sim")


def journal_written(api: Api, namespace: str) -> bool:
    return bool(api.list("ConfigMap", namespace, labels=JOURNALS)["items"])


def load_begun(api: Api, namespace: str) -> bool:
    return bool(api.list("Job", namespace)["items"])


def first_change_made(api: Api, namespace: str) -> bool:
    meta = deployment(api, namespace)["spec"]["template"]["metadata"]
    return RESTARTED in (meta.get("annotations") or {})


def amid_the_rollout(api: Api, namespace: str) -> bool:
    return bool(deployment(api, namespace)["status"].get("replicas") == 2)


def rollout_over(api: Api, namespace: str) -> bool:
    pods = api.list("Pod", namespace, labels="app=sim")["items"]
    return len(pods) == 1 and RESTARTED in (pods[0]["metadata"].get("annotations") or {})


def scaled_down(api: Api, namespace: str) -> bool:
    hpa = api.find("HorizontalPodAutoscaler", namespace, "sim")
    held = hpa is None or hpa["spec"]["maxReplicas"] == 1
    return bool(held and deployment(api, namespace)["spec"]["replicas"] == 1)


def cordoned(api: Api, _namespace: str) -> bool:
    return any(node["spec"].get("unschedulable") for node in api.list("Node")["items"])


def lost(api: Api, _namespace: str) -> bool:
    """Tell whether Kubernetes has given a node up."""
    taints = [
        taint for node in api.list("Node")["items"] for taint in node["spec"].get("taints") or []
    ]
    return any(taint["key"] == "node.kubernetes.io/unreachable" for taint in taints)


def metrics_away(api: Api, _namespace: str) -> bool:
    return bool(deployment(api, METRICS.namespace)["spec"]["replicas"] == 0)


def refusing(api: Api, namespace: str) -> bool:
    return bool(api.list("PodDisruptionBudget", namespace)["items"])


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run, and the moment at which it is stopped."""

    name: str
    moment: Moment
    fault: str = "rollout"
    signal: signal.Signals = signal.SIGKILL
    replicas: int = 1
    scaler: str = ""
    elsewhere: Target | None = None
    """What the fault changes in another namespace."""
    from_disk: bool = False
    """The journal in the cluster is gone: that on disk has to do."""
    second: bool = False
    """A second run is begun on the same target before the first is stopped."""
    alone: bool = False
    """It touches what other cases run on."""

    @property
    def target(self) -> Target:
        name = "undo-" + self.name.replace(" ", "-")
        return Target(namespace=name, replicas=self.replicas, **SLOW)  # type: ignore[arg-type]


KILL, INT, TERM = signal.SIGKILL, signal.SIGINT, signal.SIGTERM
CASES = (
    Case(name="killed before any change", moment=journal_written),
    Case(name="killed while the load begins", moment=load_begun),
    Case(name="killed after the first change", moment=first_change_made, from_disk=True),
    Case(name="killed amid a rollout", moment=amid_the_rollout),
    Case(name="killed after a rollout", moment=rollout_over),
    Case(name="ctrl-c amid a rollout", moment=amid_the_rollout, signal=INT),
    Case(name="sigterm with a second run", moment=amid_the_rollout, signal=TERM, second=True),
    Case(
        name="killed while scaled down",
        moment=scaled_down,
        fault="scale-down",
        replicas=2,
        scaler="hpa",
    ),
    Case(
        name="ctrl-c while scaled down",
        moment=scaled_down,
        fault="scale-down",
        replicas=2,
        scaler="keda",
        signal=INT,
    ),
    Case(
        name="killed while its metrics are away",
        moment=metrics_away,
        fault="scaler-outage:away=undo-metrics/sim,for=60",
        replicas=2,
        scaler="keda",
        elsewhere=METRICS,
    ),
    Case(
        name="killed while a node is cordoned",
        moment=cordoned,
        fault="node-drain",
        replicas=2,
        alone=True,
    ),
    Case(
        name="sigterm while a node is cordoned",
        moment=cordoned,
        fault="node-drain",
        replicas=2,
        alone=True,
        signal=TERM,
    ),
    Case(
        name="killed while a node is lost",
        moment=lost,
        fault="node-loss",
        replicas=2,
        alone=True,
    ),
    Case(
        name="killed while a budget refuses",
        moment=refusing,
        fault="evict:budget=refuse",
        replicas=2,
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What came of a case."""

    code: int
    said: str
    before: dict[str, Any]
    during: dict[str, Any]
    after: dict[str, Any]
    residue: list[str]
    restored: str
    again: str
    refused: tuple[int, str]


@pytest.fixture(scope="module")
def api(embedded: Cluster) -> Iterator[Api]:
    """Return the cluster's API, with ScaledObjects as a bare type if there is no KEDA."""
    api = Api(connect(embedded.context))
    if embedded.kubectl("get", "crd", SCALED_OBJECTS, "--ignore-not-found"):
        yield api
        return
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True}
    names = {"plural": "scaledobjects", "singular": "scaledobject", "kind": "ScaledObject"}
    apply(
        embedded,
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": SCALED_OBJECTS},
            "spec": {
                "group": "keda.sh",
                "scope": "Namespaced",
                "names": {**names, "listKind": "ScaledObjectList"},
                "versions": [{**version, "schema": {"openAPIV3Schema": schema}}],
            },
        },
    )
    embedded.kubectl("wait", f"crd/{SCALED_OBJECTS}", "--for=condition=Established")
    yield api
    embedded.kubectl("delete", "crd", SCALED_OBJECTS, "--wait=false")


@pytest.fixture(scope="module")
def outcomes(
    embedded: Cluster,
    api: Api,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Outcome]]:
    """All cases: each has its own namespace, and most of a run is waiting."""
    folder = tmp_path_factory.mktemp("evidence")

    def outcome(case: Case) -> Outcome:
        return stopped(embedded, api, case, folder / case.target.namespace)

    together = [case for case in CASES if not case.alone]
    METRICS.deploy(embedded)
    for case in CASES:
        case.target.deploy(embedded)
        if case.scaler:
            apply(embedded, scaler(case.scaler, case.target.namespace))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(
            zip([case.name for case in together], pool.map(outcome, together), strict=True)
        )
    for case in CASES:
        if case.alone:
            found[case.name] = outcome(case)
    yield found
    METRICS.remove(embedded)
    for case in CASES:
        case.target.remove(embedded)


def stopped(cluster: Cluster, api: Api, case: Case, evidence: Path) -> Outcome:
    """Begin a run, stop it at its moment, restore if it was killed, and look at what is left."""
    target = case.target
    target.ready(cluster)
    before = state(api, case)
    process = target.chaos(cluster, evidence, "--fault", case.fault, *LOAD)
    eventually(lambda: journal_written(api, target.namespace), process)
    refused = (0, "")
    if case.second:
        other = target.chaos(cluster, evidence / "second", *LOAD)
        refused = (other.wait(PATIENCE_S), other.communicate()[1])
    eventually(lambda: case.moment(api, target.namespace), process)
    during = state(api, case)
    process.send_signal(case.signal)
    _, said = process.communicate(timeout=PATIENCE_S)
    restored = again = ""
    if case.signal is KILL:
        where = ("-n", target.namespace)
        if case.from_disk:
            cluster.kubectl(*where, "delete", "configmap", "-l", JOURNALS)
            where = ("--journal", str(evidence / "journal.json"))
        restored = restore(cluster, *where)
        again = restore(cluster, "-n", target.namespace)
    deadline, between = time.monotonic() + BACK_S, threading.Event()
    while (after := state(api, case)) != before and time.monotonic() < deadline:
        between.wait(1)  # a held HPA may have looked between two steps, and looks again
    residue = target.residue(cluster)
    return Outcome(
        process.returncode, said, before, during, after, residue, restored, again, refused
    )


def state(api: Api, case: Case) -> dict[str, Any]:
    """Return all that a run must leave as it was."""
    namespace = case.target.namespace
    found = {"deployment/sim": deployment(api, namespace)}
    budgets = api.list("PodDisruptionBudget", namespace)["items"]
    found |= {f"budget {item['metadata']['name']}": item for item in budgets}
    if case.scaler:
        kind = {"hpa": "HorizontalPodAutoscaler", "keda": "ScaledObject"}[case.scaler]
        found[case.scaler] = api.get(kind, namespace, "sim")
    if case.elsewhere:
        found["elsewhere"] = deployment(api, case.elsewhere.namespace)
    if case.alone:
        found |= {node["metadata"]["name"]: node for node in api.list("Node")["items"]}
    return {name: kept(item) for name, item in found.items()}


def kept(item: dict[str, Any]) -> dict[str, Any]:
    meta = item["metadata"]
    annotations = dict(meta.get("annotations") or {})
    annotations.pop("deployment.kubernetes.io/revision", None)
    return {"labels": meta.get("labels"), "annotations": annotations, "spec": item["spec"]}


def scaler(kind: str, namespace: str) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "sim"}
    meta: dict[str, Any] = {"name": "sim", "namespace": namespace}
    if kind == "keda":
        meta["annotations"] = {"team": "search"}
        return {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": meta,
            "spec": {
                "scaleTargetRef": target,
                "minReplicaCount": 2,
                "maxReplicaCount": 4,
                "triggers": [
                    {"type": "cpu", "metricType": "AverageValue", "metadata": {"value": "8"}}
                ],
            },
        }
    cpu = {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "8"}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta,
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": 2,
            "maxReplicas": 4,
            "metrics": [{"type": "Resource", "resource": cpu}],
        },
    }


def apply(cluster: Cluster, item: dict[str, Any]) -> None:
    cluster.kubectl("apply", "-f", "-", text_input=json.dumps(item))


def restore(cluster: Cluster, *options: str) -> str:
    ran = subprocess.run(
        [*(sys.executable, "-m", "drainproof", "restore", "--context", cluster.context), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def eventually(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something is so while a process runs."""
    deadline, between = time.monotonic() + PATIENCE_S, threading.Event()
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
        between.wait(0.1)


def named(**wanted: object) -> pytest.MarkDecorator:
    fitting = [
        case.name
        for case in CASES
        if all(getattr(case, key) == value for key, value in wanted.items())
    ]
    return pytest.mark.parametrize("name", fitting)


@named()
def test_afterwards_everything_is_what_it_was(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert outcome.after == outcome.before, outcome.said + outcome.restored
    assert outcome.residue == []


@pytest.mark.parametrize(
    "name", [c.name for c in CASES if c.moment not in {journal_written, load_begun}]
)
def test_at_that_moment_it_was_not(outcomes: dict[str, Outcome], name: str) -> None:
    assert outcomes[name].during != outcomes[name].before


@named(signal=KILL)
def test_a_killed_run_is_undone_by_restore_which_then_finds_nothing(
    outcomes: dict[str, Outcome], name: str
) -> None:
    outcome = outcomes[name]
    assert outcome.code == -KILL
    assert "run 20" in outcome.restored
    assert "nothing to restore" in outcome.again


@pytest.mark.parametrize("name", [c.name for c in CASES if c.signal is not KILL])
def test_a_run_that_is_told_to_stop_undoes_everything_itself(
    outcomes: dict[str, Outcome], name: str
) -> None:
    outcome = outcomes[name]
    assert outcome.code == 2
    assert "the target is as it was" in outcome.said


@named(second=True)
def test_a_second_run_at_once_is_refused_with_who_holds_the_target_since_when(
    outcomes: dict[str, Outcome], name: str
) -> None:
    code, said = outcomes[name].refused
    assert code == 2
    assert "another run" in said
    assert " since 20" in said


def test_what_was_away_in_another_namespace_is_named_when_it_is_put_back(
    outcomes: dict[str, Outcome],
) -> None:
    outcome = outcomes["killed while its metrics are away"]
    assert "deployment/sim in namespace undo-metrics: spec.replicas put back" in outcome.restored


def test_pods_of_a_rollout_that_was_over_stay(outcomes: dict[str, Outcome]) -> None:
    assert "its new pods stay" in outcomes["killed after a rollout"].restored


def test_every_kind_of_change_is_taken_back_from_a_real_cluster(
    embedded: Cluster, api: Api, tmp_path: Path
) -> None:
    target = replace(CASES[0].target, namespace="undo-every-change", replicas=2)
    node = api.list("Node")["items"][-1]["metadata"]["name"]

    def everything() -> dict[str, Any]:
        kinds = ("Deployment", "HorizontalPodAutoscaler", "ScaledObject")
        found = {kind: kept(api.get(kind, target.namespace, "sim")) for kind in kinds}
        return {**found, "Node": kept(api.get("Node", "", node))}

    target.deploy(embedded)
    try:
        apply(embedded, scaler("hpa", target.namespace))
        apply(embedded, scaler("keda", target.namespace))
        target.ready(embedded)
        before = everything()
        arguments = (embedded.context, target.namespace, node, str(tmp_path))
        ran = subprocess.run(
            [sys.executable, "-m", "tests.e2e.changes", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        during = everything()
        shown = restore(embedded, "-n", target.namespace)
        after = everything()
    finally:
        target.remove(embedded)
    assert ran.returncode == -KILL, ran.stderr
    assert all(during[kind] != before[kind] for kind in before)
    assert after == before, shown
    assert "poddisruptionbudget/drainproof-every-change: deleted" in shown
    assert "metadata.labels.app put back" in shown
