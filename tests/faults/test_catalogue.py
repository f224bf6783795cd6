"""Every fault: what it changes and writes down, what it undoes however it ends, what it refuses."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.errors import UserError
from drainproof.faults.api import Api
from drainproof.faults.catalogue import FAULTS
from drainproof.faults.journal import JOURNALS
from drainproof.faults.restore import restore_with
from tests.faults.doing import SHELL, Doing, StoppedError, embed, keda, scaler, state
from tests.faults.fake import NAMESPACE, FakeCluster, node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Arrange = Callable[[FakeCluster, pytest.MonkeyPatch], None]
    Begin = Callable[..., Doing]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault, and what must come of it."""

    fault: str
    writes: tuple[str, ...]
    """What it asks of the API server; `POD` is a pod's name, `RUN` an object of the run."""
    touches: tuple[str, ...]
    phases: tuple[str, ...] = ("begin", "end")
    hits: int = 0
    """Pods that are said to be hit."""
    scaler: str = ""

    @property
    def name(self) -> str:
        return self.fault.partition(":")[0]


DEPLOYMENT = "PATCH /apps/v1/deployments/vllm"
DELETE = "DELETE /pods/POD"
KEDA = "PATCH /apps/v1/namespaces/keda/deployments/keda-operator"
CASES = (
    Case(
        fault="rollout",
        writes=(DEPLOYMENT,),
        touches=(
            "deployment/vllm: spec.template.metadata.annotations.drainproof.dev/restarted-at",
        ),
    ),
    Case(
        fault="rollout:image=vllm/vllm-openai:v0.33.0",
        writes=(DEPLOYMENT,),
        touches=("containers.vllm.image=vllm/vllm-openai:v0.33.0", "once more"),
    ),
    Case(
        fault="rollout:args=--max-num-seqs=8 --x,image=other:1",
        writes=(DEPLOYMENT,),
        touches=("args.3=--max-num-seqs=8", "args.4=--x", "image=other:1"),
    ),
    Case(fault="scale-down", writes=(DEPLOYMENT,), touches=("spec.replicas=1",)),
    Case(
        fault="scale-down",
        scaler="HorizontalPodAutoscaler",
        writes=(DEPLOYMENT, "PATCH /autoscaling/v2/horizontalpodautoscalers/vllm"),
        touches=("spec.replicas=1", "horizontalpodautoscaler/vllm: spec.minReplicas=1"),
    ),
    Case(
        fault="scale-down",
        scaler="ScaledObject",
        writes=(DEPLOYMENT, "PATCH /keda.sh/v1alpha1/scaledobjects/vllm"),
        touches=("scaledobject/vllm: metadata.annotations.autoscaling.keda.sh/paused=true",),
    ),
    Case(
        fault="scale-up",
        writes=(DEPLOYMENT,),
        touches=("spec.replicas=3",),
    ),
    Case(
        fault="scale-up:by=2",
        scaler="HorizontalPodAutoscaler",
        writes=(DEPLOYMENT, "PATCH /autoscaling/v2/horizontalpodautoscalers/vllm"),
        touches=("spec.replicas=4", "spec.minReplicas=4"),
    ),
    Case(fault="pod-delete", writes=(DELETE,), touches=("the pod with most streams",)),
    Case(
        fault="endpoint-lag",
        writes=(DELETE,) * 2,
        touches=("is deleted", "then the next, 2 in all", "20 more requests"),
    ),
    Case(fault="endpoint-lag:times=1,pod=vllm-1-b", writes=(DELETE,), touches=("vllm-1-b of",)),
    Case(
        fault="force-delete",
        writes=(DELETE,),
        touches=("is deleted at once",),
        phases=("begin", "hit", "end"),
        hits=1,
    ),
    Case(fault="evict:pod=vllm-1-b", writes=("POST /pods/POD/eviction",), touches=("vllm-1-b",)),
    Case(
        fault="evict:budget=refuse",
        writes=("POST /policy/v1/poddisruptionbudgets", "POST /pods/POD/eviction"),
        touches=("a PodDisruptionBudget", "must be refused"),
    ),
    Case(
        fault="readiness-flap:times=2",
        writes=("PATCH /pods/POD/status",) * 2,
        touches=("condition Ready",),
        phases=("begin", "hit", "hit", "end"),
        hits=2,
    ),
    Case(
        fault="node-drain",
        writes=("PATCH /nodes/n-a", "POST /pods/POD/eviction"),
        touches=("node/n-a: spec.unschedulable=True", "of deployment/vllm: vllm-1-a"),
    ),
    Case(
        fault="node-loss",
        writes=(),
        touches=("node/n-a: its container", "of deployment/vllm: vllm-1-a"),
        phases=("begin", "hit", "end"),
        hits=1,
    ),
    Case(
        fault="scale-out",
        scaler="ScaledObject",
        writes=(),
        touches=("users who ask again and again", "scales deployment/vllm from 2 to 100 replicas"),
        phases=("begin", "crowd", "calm", "end"),
    ),
    Case(
        fault="scale-in",
        scaler="ScaledObject",
        writes=(),
        touches=("by itself, and is not held",),
        phases=("begin", "crowd", "calm", "end"),
    ),
    Case(
        fault="no-flapping:swings=2",
        scaler="ScaledObject",
        writes=(),
        touches=("they come 2 times, every 0.2 s",),
        phases=("begin", "crowd", "calm", "crowd", "calm", "end"),
    ),
    *(
        Case(
            fault=f"scaler-outage:away={away}",
            scaler="ScaledObject",
            writes=(f"PATCH {path}",) * 2,
            touches=(
                f"{what}: spec.replicas=0, for 0 s",
                f"every autoscaler of the cluster that needs {name} is affected, not only",
            ),
            phases=("begin", "away", "back", "end"),
        )
        for away, path, what, name in (
            (
                "keda",
                "/apps/v1/namespaces/keda/deployments/keda-operator",
                "deployment/keda-operator in namespace keda",
                "KEDA's operator",
            ),
            (
                "metrics-api",
                "/apps/v1/namespaces/keda/deployments/keda-metrics-apiserver",
                "deployment/keda-metrics-apiserver in namespace keda",
                "KEDA's metrics API server",
            ),
            (
                "prometheus",
                "/monitoring.coreos.com/v1/namespaces/monitoring/prometheuses/k8s",
                "prometheus/k8s in namespace monitoring",
                "Prometheus",
            ),
            (
                "keda/keda-operator",
                "/apps/v1/namespaces/keda/deployments/keda-operator",
                "deployment/keda-operator in namespace keda",
                "KEDA's operator",
            ),
        )
    ),
    Case(
        fault="scaler-outage:during=rollout",
        scaler="ScaledObject",
        writes=(KEDA, DEPLOYMENT, KEDA),
        touches=("keda-operator in namespace keda", "drainproof.dev/restarted-at", "is replaced"),
        phases=("begin", "away", "back", "end"),
    ),
    Case(
        fault="cold-start:growth=0.5",
        scaler="ScaledObject",
        writes=(DEPLOYMENT, "PATCH /keda.sh/v1alpha1/scaledobjects/vllm"),
        touches=("spec.replicas=3", "autoscaling.keda.sh/paused=true"),
    ),
    Case(
        fault="scale-from-zero:profile=dev",
        scaler="ScaledObject",
        writes=(),
        touches=("has scaled deployment/vllm to 0 by itself", "users find no replica meanwhile"),
        phases=("begin", "hit", "end"),
        hits=2,
    ),
    Case(
        fault="container-kill",
        writes=(),
        touches=("SIGKILL to container vllm, from its node",),
        phases=("begin", "hit", "end"),
        hits=1,
    ),
)


def ids(case: Case) -> str:
    return f"{case.fault} {case.scaler}".strip().replace("/", "-")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    monkeypatch.setattr("drainproof.faults.catalogue.scaler_outage.SETTLE_S", 0.1)
    with FakeCluster(replicas=2) as running:
        embed(running, monkeypatch)
        yield running


@pytest.fixture
def begin(cluster: FakeCluster, tmp_path: Path) -> Iterator[Begin]:
    begun: list[Doing] = []

    def of(fault: str, scaled_by: str = "") -> Doing:
        if scaled_by == "ScaledObject":
            keda(cluster, fewest=0 if fault.startswith("scale-from-zero") else 2)
        elif scaled_by:
            cluster.put(scaled_by, NAMESPACE, scaler(scaled_by))
        begun.append(Doing(cluster, fault, tmp_path / f"e{len(begun)}"))
        return begun[-1]

    yield of
    for one in begun:
        one.close()


def written(doing: Doing) -> list[str]:
    """Return what was written, without names that differ from run to run."""
    found = []
    for write in doing.writes:
        verb, path = write.split(" ")
        parts = path.split("/")
        if len(parts) > 2 and parts[1] == "pods":
            parts[2] = "POD"
        found.append(f"{verb} {'/'.join(parts)}")
    return found


def test_every_fault_is_tried() -> None:
    assert {case.name for case in CASES} == set(FAULTS)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_it_makes_its_changes_and_no_others_and_undoes_them(
    cluster: FakeCluster, begin: Begin, case: Case
) -> None:
    doing = begin(case.fault, case.scaler)
    before = state(cluster)
    assert doing.invoke(), doing.steps
    assert written(doing) == list(case.writes)
    doing.undo()
    assert state(cluster) == before


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_it_says_beforehand_what_it_touches_and_touches_nothing(
    cluster: FakeCluster, begin: Begin, case: Case
) -> None:
    doing = begin(case.fault, case.scaler)
    said = "\n".join(doing.fault.touches())
    for words in case.touches:
        assert words in said
    assert doing.writes == []
    assert cluster.pods() == ["vllm-1-a", "vllm-1-b"]


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_its_steps_are_in_the_history_with_what_it_may_cost(begin: Begin, case: Case) -> None:
    doing = begin(case.fault, case.scaler)
    doing.invoke()
    steps = doing.steps
    assert tuple(step.phase for step in steps) == case.phases
    assert {step.fault for step in steps} == {case.name}
    assert steps[0].cost == FAULTS[case.name].cost
    assert (steps[0].recover_s > 0) == (steps[0].cost == "abrupt")
    assert sum(len(step.pods) for step in steps) == case.hits


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_every_change_is_in_both_journals_before_it_is_made(
    cluster: FakeCluster, begin: Begin, case: Case
) -> None:
    doing = begin(case.fault, case.scaler)
    missing: list[str] = []

    def look(_number: int) -> None:
        write = cluster.writes[-1]
        if "configmaps" in write:
            return
        name = write.split("/")[-1 if not write.endswith(("eviction", "status")) else -2]
        name = "drainproof-r" if name == "poddisruptionbudgets" else name
        (journal,) = [
            item["data"]["journal.json"]
            for (kind, _, _), item in cluster.objects.items()
            if kind == "ConfigMap"
        ]
        disk = (doing.folder / "journal.json").read_text()
        if f'"name": "{name}"' not in journal or f'"name": "{name}"' not in disk:
            missing.append(write)

    cluster.before_write = look
    doing.invoke()
    assert missing == []
    assert doing.journal.entry.changes


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_a_run_that_is_stopped_in_its_middle_undoes_it(
    cluster: FakeCluster, begin: Begin, case: Case
) -> None:
    doing = begin(case.fault, case.scaler)
    before = state(cluster)

    def stop() -> None:
        if doing.journal.entry.changes:
            raise StoppedError("stop")

    if case.fault == "evict:budget=refuse":  # it waits for nothing
        doing.invoke()
    else:
        with pytest.raises(StoppedError):
            doing.invoke(stop)
    doing.undo()
    assert state(cluster) == before


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_a_run_that_is_killed_in_its_middle_is_undone_by_restore(
    cluster: FakeCluster, begin: Begin, case: Case
) -> None:
    doing = begin(case.fault, case.scaler)
    before = state(cluster)
    doing.invoke()
    said: list[str] = []
    assert restore_with(cluster.api, "fake", NAMESPACE, None, said.append), said
    assert state(cluster) == before
    assert cluster.api.list("ConfigMap", NAMESPACE, labels=JOURNALS)["items"] == []


@pytest.mark.parametrize("case", [case for case in CASES if case.writes], ids=ids)
def test_one_that_the_api_server_refuses_is_an_error_and_leaves_nothing(
    cluster: FakeCluster, begin: Begin, case: Case
) -> None:
    """Nothing was done to any pod, so the run must not go on as if it had been."""
    doing = begin(case.fault, case.scaler)
    before = state(cluster)

    def refuse(number: int) -> None:
        write = cluster.writes[number - 1]
        if "configmaps" not in write:
            raise OSError(write)  # the connection is lost

    cluster.before_write = refuse
    with pytest.raises(UserError):
        doing.invoke()
    cluster.before_write = lambda _number: None
    doing.undo()
    assert state(cluster) == before
    assert cluster.pods() == ["vllm-1-a", "vllm-1-b"]


@pytest.mark.parametrize(
    "fault", [name for name in FAULTS if name not in {"readiness-flap", "no-flapping"}]
)
def test_one_that_does_not_get_to_its_end_says_so(
    cluster: FakeCluster, begin: Begin, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.back_after_s = 60.0
    cluster.deleted_after_s = 60.0
    monkeypatch.setattr(FakeCluster, "lose_node", lambda *_: None)
    doing = begin(fault, "ScaledObject" if FAULTS[fault].scaling else "")
    doing.fault.timeout_s = 0.3
    assert not doing.invoke()
    assert doing.steps[-1].phase == "timeout"
    assert "0 s" in doing.steps[-1].detail


# ── refusals ──


def one_replica(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    cluster.drop("Pod", NAMESPACE, "vllm-1-b")
    item = cluster.objects["Deployment", NAMESPACE, "vllm"]
    cluster.put("Deployment", NAMESPACE, item | {"spec": item["spec"] | {"replicas": 1}})


def one_of_three(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    """The target is at one below its floor already."""
    item = cluster.objects["Deployment", NAMESPACE, "vllm"]
    cluster.put("Deployment", NAMESPACE, item | {"spec": item["spec"] | {"replicas": 3}})


def held(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    cluster.put("HorizontalPodAutoscaler", NAMESPACE, scaler("HorizontalPodAutoscaler"))
    cluster.denied = {("patch", "horizontalpodautoscalers")}


def high_floor(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    one_of_three(cluster, _patch)
    wanted = scaler("HorizontalPodAutoscaler")
    wanted["spec"]["minReplicas"] = 3
    cluster.put("HorizontalPodAutoscaler", NAMESPACE, wanted)


def paused(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    item = cluster.objects["Deployment", NAMESPACE, "vllm"]
    cluster.put("Deployment", NAMESPACE, item | {"spec": item["spec"] | {"paused": True}})


def shell(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    container = cluster.template["spec"]["containers"][0]
    container["command"], container["args"] = ["/bin/sh", "-c"], ["vllm serve m --port 8000"]


def guarded(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    spec = {"selector": {"matchLabels": {"app": "vllm"}}, "minAvailable": 1}
    cluster.put("PodDisruptionBudget", NAMESPACE, {"metadata": {"name": "own"}, "spec": spec})


def one_node(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    for name in ("n0", "n-b"):
        item = cluster.objects["Node", "", name]
        cluster.put("Node", "", item | {"spec": {"unschedulable": True}})


def on_one_node(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    cluster.put("Node", "", node("n-all"))
    for name in cluster.pods():
        cluster._pod(name, ready=True, node="n-all")  # noqa: SLF001 - as scheduled


def elsewhere(_cluster: FakeCluster, patch: pytest.MonkeyPatch) -> None:
    for module in ("container_kill", "node_loss"):
        patch.setattr(f"drainproof.faults.catalogue.{module}.nodes_of", lambda _context: None)


def engine_first(cluster: FakeCluster, patch: pytest.MonkeyPatch) -> None:
    elsewhere(cluster, patch)
    patch.setattr(Api, "exec", lambda *_, **__: "1 0 vllm\n9 1 python\n")


def published(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    item = cluster.objects["Service", NAMESPACE, "vllm"]
    spec = item["spec"] | {"publishNotReadyAddresses": True}
    cluster.put("Service", NAMESPACE, item | {"spec": spec})


def others_without_consent(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    cluster.put("Namespace", "", {"metadata": {"name": "shop", "labels": {}}})
    meta = {"name": "web-1", "labels": {}, "ownerReferences": [{"kind": "ReplicaSet", "uid": "x"}]}
    body = {"metadata": meta, "spec": {"nodeName": "n-a"}, "status": {"phase": "Running"}}
    cluster.put("Pod", "shop", body)


def bare_others(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    others_without_consent(cluster, _patch)
    labels = {"drainproof.dev/chaos": "allowed"}
    cluster.put("Namespace", "", {"metadata": {"name": "shop", "labels": labels}})
    del cluster.objects["Pod", "shop", "web-1"]["metadata"]["ownerReferences"]


def scaled_to_zero(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    wanted = scaler("ScaledObject")
    wanted["spec"]["minReplicaCount"] = 0
    cluster.groups = {"/apis/keda.sh/v1alpha1"}
    cluster.put("ScaledObject", NAMESPACE, wanted)


def paused_scaler(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    wanted = scaler("ScaledObject")
    wanted["metadata"]["annotations"] = {"autoscaling.keda.sh/paused": "true"}
    cluster.groups = {"/apis/keda.sh/v1alpha1"}
    cluster.put("ScaledObject", NAMESPACE, wanted)


def unheld(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    cluster.groups = {"/apis/keda.sh/v1alpha1"}
    cluster.put("ScaledObject", NAMESPACE, scaler("ScaledObject"))
    cluster.denied = {("patch", "scaledobjects")}


def by_cpu(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    cluster.put("HorizontalPodAutoscaler", NAMESPACE, scaler("HorizontalPodAutoscaler"))


def keda_elsewhere(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    keda(cluster)
    cluster.put("Namespace", "", {"metadata": {"name": "keda", "labels": {}}})


def keda_away(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    keda(cluster)
    item = cluster.objects["Deployment", "keda", "keda-operator"]
    cluster.put("Deployment", "keda", item | {"spec": item["spec"] | {"replicas": 0}})


def no_keda(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    keda(cluster)
    cluster.drop("Deployment", "keda", "keda-operator")


def unseen(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    keda(cluster)
    cluster.denied = {("list", "deployments")}


def untouchable(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    keda(cluster)
    cluster.denied = {("patch", "prometheuses")}


def two_prometheuses(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    keda(cluster)
    cluster.install("Prometheus", "monitoring", "other")


def no_operator(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    keda(cluster)
    cluster.groups = {"/apis/keda.sh/v1alpha1"}


def outside(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    keda(cluster)
    item = cluster.objects["ScaledObject", NAMESPACE, "vllm"]
    item["spec"]["triggers"][0]["metadata"]["serverAddress"] = "https://metrics.example.com"


def owned(cluster: FakeCluster, _patch: pytest.MonkeyPatch) -> None:
    keda(cluster)
    cluster.install("StatefulSet", "monitoring", "prometheus-k8s")
    owner = {"kind": "Prometheus", "name": "k8s", "uid": "x"}
    meta = cluster.objects["StatefulSet", "monitoring", "prometheus-k8s"]["metadata"]
    meta["ownerReferences"] = [owner]


def rolling(cluster: FakeCluster, patch: pytest.MonkeyPatch) -> None:
    keda(cluster)
    paused(cluster, patch)


def by_hpa(cluster: FakeCluster, patch: pytest.MonkeyPatch) -> None:
    keda(cluster)
    cluster.drop("ScaledObject", NAMESPACE, "vllm")
    by_cpu(cluster, patch)


REFUSALS: tuple[tuple[str, Arrange, str], ...] = (
    ("rollout", paused, "is paused, so nothing would roll"),
    ("rollout:image=vllm/vllm-openai:v0.32.0", lambda *_: None, "has this image already"),
    ("rollout:args=--x", shell, "runs a shell script"),
    ("rollout:args=--api-key=sk-0123456789abcdef", lambda *_: None, "looks like a secret"),
    ("scale-down", one_replica, "none would be left to serve"),
    ("scale-down:by=2", lambda *_: None, "none would be left to serve"),
    ("scale-down", held, "no permission to hold it: patch horizontalpodautoscalers"),
    ("scale-down", one_of_three, "its own floor is 3: 1 would be left"),
    ("scale-up", held, "no permission to hold it"),
    ("pod-delete", high_floor, "its own floor is 3"),
    ("pod-delete:pod=other", lambda *_: None, "pod/other is no ready pod of deployment/vllm"),
    ("endpoint-lag", one_of_three, "its own floor is 3"),
    ("force-delete", one_of_three, "its own floor is 3"),
    ("evict", one_of_three, "its own floor is 3"),
    ("evict:budget=refuse", guarded, "poddisruptionbudget/own guards deployment/vllm already"),
    ("readiness-flap", one_replica, "has one ready pod"),
    ("readiness-flap", published, "publishNotReadyAddresses"),
    ("node-drain", one_node, "is the only one that takes pods"),
    ("node-drain", one_of_three, "its own floor is 3"),
    ("node-drain:node=n0", lambda *_: None, "node/n0 may not be taken, or has no ready pod"),
    ("node-drain:others=evict", others_without_consent, "do not allow chaos: shop"),
    ("node-drain:others=evict", bare_others, "shop/web-1, which nothing would make anew"),
    ("node-loss", elsewhere, "works on the embedded cluster only"),
    ("node-loss", on_one_node, "at most one less than the floor"),
    ("node-loss:node=n0", lambda *_: None, "node/n0 may not be taken"),
    ("scale-out", lambda *_: None, "nothing scales deployment/vllm"),
    ("scale-out", by_cpu, "no threshold that is a number, more than 0"),
    ("scale-in", scaled_to_zero, "takes all replicas away at times"),
    ("cold-start", lambda *_: None, "nothing scales deployment/vllm"),
    ("cold-start", by_cpu, "no threshold that is a number, more than 0"),
    ("cold-start", unheld, "no permission to hold it: patch scaledobjects"),
    ("scale-from-zero", by_cpu, "keeps 2 replicas at least, so there is no zero to come from"),
    ("no-flapping", paused_scaler, "is paused by its annotation autoscaling.keda.sh/paused"),
    ("scaler-outage", lambda *_: None, "nothing scales deployment/vllm"),
    ("scaler-outage", by_hpa, "which needs no KEDA"),
    ("scaler-outage", paused_scaler, "is paused by its annotation"),
    ("scaler-outage", keda_elsewhere, "namespace keda does not allow chaos: expected the label"),
    ("scaler-outage", keda_away, "deployment/keda-operator in namespace keda has no replica"),
    ("scaler-outage", no_keda, "KEDA's operator was not found: expected one Deployment with"),
    ("scaler-outage", unseen, "no permission in all namespaces to: list deployments.apps"),
    ("scaler-outage:away=prometheus", untouchable, "in namespace monitoring to: patch prometheus"),
    ("scaler-outage:away=prometheus", two_prometheuses, "found monitoring/k8s, monitoring/other"),
    ("scaler-outage:away=prometheus", no_operator, "expected one Prometheus in namespace"),
    ("scaler-outage:away=prometheus", outside, "found https://metrics.example.com"),
    ("scaler-outage:away=keda/other", no_keda, "there is no Prometheus or Deployment or StatefulS"),
    ("scaler-outage:away=monitoring/prometheus-k8s", owned, "Prometheus k8s's, which would put it"),
    ("scaler-outage:away=inference/vllm", no_keda, "in namespace inference is the target itself"),
    ("scaler-outage:during=rollout", rolling, "is paused, so nothing would roll"),
    ("container-kill", engine_first, "the kernel keeps such a one from being killed"),
    ("container-kill:process=engine-core", engine_first, "is called VLLM::EngineCore"),
    ("container-kill", one_of_three, "its own floor is 3"),
)


@pytest.mark.parametrize(
    ("fault", "arrange", "said"), REFUSALS, ids=[f"{f} {a.__name__}" for f, a, _ in REFUSALS]
)
def test_where_it_cannot_work_it_is_refused_with_the_reason(  # noqa: PLR0913, PLR0917 - fixtures
    cluster: FakeCluster,
    begin: Begin,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    arrange: Arrange,
    said: str,
) -> None:
    arrange(cluster, monkeypatch)
    with pytest.raises(UserError) as caught:
        begin(fault)
    assert said in caught.value.message
    assert [write for write in cluster.writes if "selfsubject" not in write] == []


def test_every_fault_is_refused_somewhere() -> None:
    assert {fault.partition(":")[0] for fault, _, _ in REFUSALS} == set(FAULTS)


# ── what only some faults do ──


def test_a_budget_that_refuses_is_asked_again_until_it_allows(
    cluster: FakeCluster, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drainproof.faults.evicting._AGAIN_S", 0.05)
    guarded(cluster, monkeypatch)
    doing = begin("evict")

    def relent(_number: int) -> None:
        if len([write for write in cluster.writes if "eviction" in write]) == 3:
            cluster.drop("PodDisruptionBudget", NAMESPACE, "own")

    cluster.after_write = relent
    assert doing.invoke()
    assert written(doing) == ["POST /pods/POD/eviction"] * 4


def test_a_budget_that_goes_on_refusing_is_respected_and_named(
    cluster: FakeCluster, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drainproof.faults.evicting._AGAIN_S", 0.05)
    guarded(cluster, monkeypatch)
    doing = begin("node-drain:timeout=0.3")
    assert not doing.invoke()
    assert "refused to evict pod/vllm-1-a" in doing.steps[-1].detail
    assert "disruption budget own" in doing.steps[-1].detail
    assert cluster.pods() == ["vllm-1-a", "vllm-1-b"]


def test_an_eviction_that_a_refusing_budget_lets_through_is_no_end(
    cluster: FakeCluster, begin: Begin
) -> None:
    doing = begin("evict:budget=refuse")

    def fail(_number: int) -> None:
        if "eviction" in cluster.writes[-1]:
            cluster.drop("PodDisruptionBudget", NAMESPACE, "drainproof-r")

    cluster.before_write = fail
    assert not doing.invoke()
    assert "was evicted against its budget" in doing.steps[-1].detail


def test_another_pod_is_deleted_only_when_the_place_of_the_one_before_is_taken(
    cluster: FakeCluster, begin: Begin
) -> None:
    doing = begin("endpoint-lag:times=3")
    serving: list[int] = []

    def look(_number: int) -> None:
        if cluster.writes[-1].startswith("DELETE "):
            serving.append(len(cluster.pods()))

    cluster.before_write = look
    assert doing.invoke(), doing.steps
    gone = [write for write in doing.writes if write.startswith("DELETE ")]
    assert len(set(gone)) == 3
    assert serving == [2, 2, 2]


def test_no_other_pod_is_deleted_where_that_place_is_not_taken(
    cluster: FakeCluster, begin: Begin
) -> None:
    cluster.back_after_s = 60.0
    doing = begin("endpoint-lag:timeout=0.3")
    assert not doing.invoke()
    assert doing.steps[-1].detail == "the place of one was not taken within 0 s"
    assert written(doing) == [DELETE]


def test_others_on_a_node_stay_and_are_named_or_go_if_their_namespace_allows_it(
    cluster: FakeCluster, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    others_without_consent(cluster, monkeypatch)
    assert "left on it, of others: shop/web-1" in "\n".join(begin("node-drain").fault.touches())
    labels = {"drainproof.dev/chaos": "allowed"}
    cluster.put("Namespace", "", {"metadata": {"name": "shop", "labels": labels}})
    stopped: list[str] = []
    monkeypatch.setattr(Api, "evict", lambda _self, where, name: stopped.append(f"{where}/{name}"))
    doing = begin("node-drain:others=evict,timeout=0.2")
    assert "evicted from it, of others: shop/web-1" in "\n".join(doing.fault.touches())
    doing.invoke()
    assert stopped == ["shop/web-1", f"{NAMESPACE}/vllm-1-a"]


def test_elsewhere_the_engine_is_killed_from_inside_if_it_is_not_the_first_process(
    cluster: FakeCluster, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(cluster, monkeypatch)
    ran: list[str] = []

    def run(
        _self: Api, _namespace: str, pod: str, _container: str, command: list[str], *, ends: bool
    ) -> str:
        ran.append(command[-1])
        assert ends == command[-1].startswith("kill")
        if ends:
            cluster.kill_container(pod)
        return SHELL

    monkeypatch.setattr(Api, "exec", run)
    assert begin("container-kill").invoke()
    assert begin("container-kill:process=engine-core").invoke()
    assert [command for command in ran if command.startswith("kill")] == ["kill -9 7", "kill -9 9"]


def test_a_node_that_was_lost_is_started_again_also_by_restore(
    cluster: FakeCluster, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = embed(cluster, monkeypatch)
    doing = begin("node-loss")
    assert doing.fault.avoids == ("n-a",)
    doing.invoke()
    assert cluster.pods() == ["vllm-1-b"]
    said: list[str] = []
    assert restore_with(cluster.api, "fake", NAMESPACE, None, said.append)
    assert "  node/n-a: started again" in said
    assert nodes.done == ["stop n-a", "start n-a"]


def test_a_dry_restore_starts_no_node(
    cluster: FakeCluster, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = embed(cluster, monkeypatch)
    begin("node-loss").invoke()
    said: list[str] = []
    assert restore_with(cluster.api, "fake", NAMESPACE, None, said.append, dry_run=True)
    assert "  node/n-a: its container is to run again" in said
    assert nodes.done == ["stop n-a"]


def test_what_a_user_states_of_a_queue_is_in_the_history(begin: Begin) -> None:
    doing = begin("cold-start:growth=0.5,wait=20", "ScaledObject")
    doing.invoke()
    assert doing.steps[0].stated == {"growth": 0.5, "wait": 20.0}


def test_a_replica_that_is_not_taken_away_is_left_and_no_request_is_charged(
    cluster: FakeCluster, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "asleep", nullcontext)
    doing = begin("scale-from-zero:timeout=0.5", "ScaledObject")
    assert not doing.invoke()
    assert [step.phase for step in doing.steps] == ["begin", "timeout"]
    assert "replicas did not go to zero by themselves" in doing.steps[-1].detail
    assert cluster.pods() == ["vllm-1-a", "vllm-1-b"]


def test_a_replica_that_does_not_come_back_is_waited_for_as_long_as_is_stated(
    cluster: FakeCluster, begin: Begin
) -> None:
    cluster.back_after_s = 60.0
    cluster.deleted_after_s = 60.0
    doing = begin("scale-from-zero:within=1", "ScaledObject")
    for pod in cluster.pods():
        cluster.drop("Pod", NAMESPACE, pod)
    assert not doing.invoke()
    assert doing.steps[0].recover_s == 1.0
    assert doing.steps[-1].detail == "no replica served within 1 s"


def test_a_new_replica_that_generates_no_token_is_waited_for(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = b"vllm:num_requests_running 9.0\nvllm:generation_tokens_total 0.0\n"
    monkeypatch.setattr(Api, "scrape", lambda *_, **__: counted.decode())
    doing = begin("cold-start:timeout=1.5", "ScaledObject")
    assert not doing.invoke()
    assert doing.steps[-1].detail == "the new replica generated no token within 2 s"


def test_the_pod_with_most_streams_is_the_victim(begin: Begin) -> None:
    doing = begin("pod-delete")
    doing.view.running |= {"vllm-1-a": 1.0, "vllm-1-b": 7.0}
    doing.fault.view = doing.view
    victim: Any = doing.fault
    assert victim.victim().name == "vllm-1-b"


def test_what_a_rollout_of_arguments_adds_comes_last(cluster: FakeCluster, begin: Begin) -> None:
    begin("rollout:args=--port=9").invoke()
    args = cluster.template["spec"]["containers"][0]["args"]
    assert args == ["--model=m", "--port=8000", "--shutdown-timeout=30", "--port=9"]
    assert json.dumps(args)


def replicas_of_keda(cluster: FakeCluster) -> int:
    found: int = cluster.objects["Deployment", "keda", "keda-operator"]["spec"]["replicas"]
    return found


def test_what_is_away_is_given_back_before_the_fault_is_over_and_a_rollout_after_it(
    cluster: FakeCluster, begin: Begin
) -> None:
    doing = begin("scaler-outage:during=rollout", "ScaledObject")
    assert doing.invoke()
    assert replicas_of_keda(cluster) == 1
    assert [change.undone for change in doing.journal.entry.changes] == [True, False]
    assert doing.steps[0].stops
    assert doing.steps[0].away == "keda"
    doing.undo()
    assert [change.undone for change in doing.journal.entry.changes] == [True, True]


def test_one_that_was_killed_while_it_was_away_is_put_back_by_restore(
    cluster: FakeCluster, begin: Begin
) -> None:
    doing = begin("scaler-outage", "ScaledObject")
    before = state(cluster)

    def die() -> None:
        if cluster.api.list("Pod", "keda", labels="app=keda-operator")["items"] == []:
            raise StoppedError("killed")

    with pytest.raises(StoppedError):
        doing.invoke(die)
    assert replicas_of_keda(cluster) == 0
    said: list[str] = []
    assert restore_with(cluster.api, "fake", NAMESPACE, None, said.append), said
    assert "  deployment/keda-operator in namespace keda: spec.replicas put back" in said
    assert state(cluster) == before


def test_one_that_cannot_be_given_back_says_so_and_is_tried_again(
    cluster: FakeCluster, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drainproof.faults.journal._PATIENCE_S", 0.0)
    doing = begin("scaler-outage", "ScaledObject")
    before = state(cluster)

    def refuse(number: int) -> None:
        asked = [write for write in cluster.writes[:number] if "keda-operator" in write]
        if len(asked) > 1 and "keda-operator" in cluster.writes[number - 1]:
            raise OSError(number)

    cluster.before_write = refuse
    assert not doing.invoke()
    assert "could not undo deployment/keda-operator in namespace keda" in doing.steps[-1].detail
    assert [step.phase for step in doing.steps] == ["begin", "away", "timeout"]
    cluster.before_write = lambda _number: None
    doing.undo()
    assert state(cluster) == before


def test_an_autoscaler_that_does_not_recover_is_no_end(
    cluster: FakeCluster, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    returns = "drainproof.faults.catalogue.scaler_outage.ScalerOutage.returns_s"
    doing = begin("scaler-outage", "ScaledObject")
    monkeypatch.setattr(returns, lambda *_: 0.3)
    failing = {"type": "ScalingActive", "status": "False", "reason": "FailedGetExternalMetric"}
    key = "HorizontalPodAutoscaler", NAMESPACE, "keda-hpa-vllm"

    def fail(_number: int) -> None:
        if "keda-operator" in cluster.writes[-1]:
            hpa = cluster.objects.pop(key)  # nobody tells it that KEDA is back
            cluster.put(*key[:2], hpa | {"status": {"conditions": [failing]}})
            cluster.objects[key[0], key[1], "hidden"] = cluster.objects.pop(key)

    cluster.after_write = fail
    assert not doing.invoke()
    assert doing.steps[-1].phase == "timeout"
    assert "says ScalingActive False: FailedGetExternalMetric 0 s after" in doing.steps[-1].detail
    assert replicas_of_keda(cluster) == 1


@pytest.mark.parametrize(
    ("away", "rollout", "seconds"), [("keda", False, 105), ("prometheus", True, 111)]
)
def test_it_is_away_long_enough_to_be_noticed_and_to_fall_back(
    cluster: FakeCluster, begin: Begin, away: str, *, rollout: bool, seconds: int
) -> None:
    keda(cluster)
    spec = cluster.objects["ScaledObject", NAMESPACE, "vllm"]["spec"]
    spec["fallback"] = {"failureThreshold": 1, "replicas": 3}
    fault = begin(f"scaler-outage:away={away}" + ",during=rollout" * rollout).fault
    fault.chosen["for"] = None
    said = "\n".join(fault.touches())
    assert f"spec.replicas=0, for {seconds} s" in said
    assert ("its fallback of 3 replicas meanwhile" in said) == (away == "prometheus")
