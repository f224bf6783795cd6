"""The exercise of module 1.5 on a real vLLM, KEDA and Prometheus, each of its criteria a line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from drainproof import clusters
from drainproof.progress import NoProgress, PlainProgress
from fixtures import demo
from tests.e2e.targets import while_the_client_kept_up
from tests.e2e.test_stacks import PATIENCE_S, WAITING, apply, monitor, scaler, show, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drainproof.clusters import Cluster

    Eventually = Callable[[Callable[[], bool], float], None]

pytestmark = [pytest.mark.e2e, pytest.mark.real_engine, pytest.mark.thorough]

NAMESPACE = demo.FIXED.namespace
USERS = 30
"""As many as the module lets ask at once."""
SLOTS = 4
THRESHOLD = "5"
WINDOW_S = 30
CHAIN = ("metric-is-fresh", "target-is-up", "scaler-is-ready", "scaler-makes-hpa")
"""The module's first criteria, as live checks. What the query says proves little until requests
wait: the crowd shows it."""
LOAD = ("--arrivals", "constant", "--rate", "0.07", "--tokens", "850", "--after", "5")
"""About four streams of 54 s in flight, so that some outlast the preStop delay on whichever pod
goes; no queue by itself. With the longest prompt they just fit into the context."""
FAULTS = ("--fault", f"scale-out:users={USERS},timeout=900", "--fault", "scale-in:timeout=900")


@dataclass(frozen=True)
class Exercise:
    """What came of it."""

    audited: dict[str, Any]
    """How many live checks of the chain passed before the load, and how many did not."""
    code: int
    faults: dict[str, dict[str, Any]]
    report: str


def scaled_object() -> dict[str, Any]:
    """Return what scales the real engine between one and three replicas."""
    found = scaler(f'sum({WAITING}{{namespace="{NAMESPACE}"}})')
    spec = found["spec"]
    spec["scaleTargetRef"] = {"name": "vllm-serve"}
    spec["triggers"][0]["metadata"]["threshold"] = THRESHOLD
    behavior = {"scaleDown": {"stabilizationWindowSeconds": WINDOW_S}}
    spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] = behavior
    return found


def drainproof(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "drainproof", *words]
    return subprocess.run(argv, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def scaled(embedded: Cluster, eventually: Eventually) -> Iterator[Cluster]:
    """Return the cluster with one replica of the real engine, which is scraped and scaled."""
    demo.remove(embedded, demo.WAYS, wait=True)
    stacks = clusters.up(embedded.name, progress=NoProgress(), stacks=("keda", "prometheus"))
    stacks.kubectl("apply", "-k", str(demo.FIXED.deployed))
    slots = [
        {
            "op": "add",
            "path": "/spec/template/spec/containers/0/args/-",
            "value": f"--max-num-seqs={SLOTS}",
        }
    ]
    where = ("-n", NAMESPACE)
    stacks.kubectl(*where, "patch", demo.TARGET, "--type=json", "-p", json.dumps(slots))
    apply(stacks, NAMESPACE, monitor("vllm-serve", "vllm-serve"))
    demo.deploy(stacks, [], PlainProgress())
    stacks.kubectl(*where, "rollout", "status", demo.TARGET, "--timeout=600s")
    show(stacks)
    watched = f'count({WAITING}{{namespace="{NAMESPACE}"}})'
    eventually(lambda: (value(stacks, watched) or 0) >= 1, PATIENCE_S)
    apply(stacks, NAMESPACE, scaled_object())
    stacks.kubectl(*where, "wait", "--for=condition=Ready", "scaledobject/sim", "--timeout=120s")
    yield stacks
    demo.remove(stacks, [demo.FIXED])


@pytest.fixture(scope="module")
def exercise(
    scaled: Cluster, tmp_path_factory: pytest.TempPathFactory, eventually: Eventually
) -> Exercise:
    where = ("--context", scaled.context, "-n", NAMESPACE, "--prometheus", "auto")
    chosen = [word for slug in CHAIN for word in ("--select", slug)]
    audited: dict[str, Any] = {}

    def sound() -> bool:
        found = drainproof("audit", *where, *chosen, "--format", "json")
        audited.update(json.loads(found.stdout)["summary"] if found.stdout else {})
        return audited.get("pass") == len(CHAIN)

    eventually(sound, PATIENCE_S)

    def run(evidence: Path) -> Exercise:
        words = (*LOAD, *FAULTS, "--evidence", str(evidence), "--format", "json")
        done = drainproof("chaos", demo.TARGET, *where, *words)
        faults = json.loads(done.stdout)["faults"] if done.stdout else []
        report = drainproof("judge", str(evidence)).stdout
        by_name = {fault["fault"]: fault for fault in faults}
        return Exercise(audited, done.returncode, by_name, report or done.stderr)

    return while_the_client_kept_up(run, tmp_path_factory.mktemp("evidence"))


def test_the_chain_from_the_queue_to_the_hpa_is_whole_before_the_load(exercise: Exercise) -> None:
    kept = ("pass", "fail", "inconclusive", "not_run")
    assert [exercise.audited[one] for one in kept] == [len(CHAIN), 0, 0, []]


def test_thirty_users_make_one_replica_two_or_three_that_serve(exercise: Exercise) -> None:
    found = exercise.faults["scale-out"]
    assert found["verdict"] == "pass", exercise.report
    scaling = found["scaling"]
    assert [one["holds"] for one in scaling["criteria"]] == [True] * 7
    assert scaling["replicas"][0][1] == 1
    assert max(count for _, count in scaling["replicas"]) in {2, 3}


def test_after_the_load_there_is_one_replica_again_and_no_stream_is_lost(
    exercise: Exercise,
) -> None:
    found = exercise.faults["scale-in"]
    assert found["verdict"] == "pass", exercise.report
    assert found["scaling"]["replicas"][-1][1] == 1
    assert (found["dropped"], found["not_served"]) == (0, 0)
    assert exercise.code == 0


def test_each_criterion_is_a_line_of_the_report(exercise: Exercise) -> None:
    for fault in exercise.faults.values():
        for one in fault["scaling"]["criteria"]:
            assert one["says"] in exercise.report
