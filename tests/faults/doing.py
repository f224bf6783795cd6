"""One fault on the fake cluster, without streams and without a judge."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any

from drainproof.errors import UserError
from drainproof.faults.catalogue import FAULTS
from drainproof.faults.consent import consent
from drainproof.faults.journal import VERSION, Entry, Journal
from drainproof.faults.observe import Observer, View
from drainproof.faults.plan import parse
from drainproof.faults.undo import digest
from drainproof.streams import history
from drainproof.streams.history import Header
from tests.faults.fake import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from drainproof.faults.fault import Fault
    from tests.faults.fake import FakeCluster

WATCHED_S = 10
TIMEOUT_S = 10.0
SHELL = "1 0 tini\n7 1 vllm\n9 7 VLLM::EngineCor\n12 0 sh\n"
"""Processes of a container whose engine is not the first."""


class Nodes:
    """The nodes of the fake cluster, from outside."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster
        self.done: list[str] = []

    def stop(self, node: str) -> None:
        self.done.append(f"stop {node}")
        self._cluster.lose_node(node)

    def start(self, node: str) -> None:
        self.done.append(f"start {node}")
        self._cluster.find_node(node)

    def kill_container(self, node: str, container_id: str) -> None:
        self.done.append(f"kill {container_id} on {node}")
        self._cluster.kill_container(container_id.rpartition("/")[2])  # it has the name of its pod


def embed(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Let the fake cluster be the embedded one, whose nodes can be reached."""
    nodes = Nodes(cluster)
    for module in ("catalogue.container_kill", "catalogue.node_loss", "nodes"):
        monkeypatch.setattr(f"drainproof.faults.{module}.nodes_of", lambda _context: nodes)
    return nodes


class Doing:
    """A fault that is set up, and the journal and the History that it writes."""

    def __init__(self, cluster: FakeCluster, fault: str, folder: Path) -> None:
        folder.mkdir()
        wanted = parse(fault)
        self.cluster = cluster
        self.folder = folder
        api = cluster.api
        target = consent(
            api, context="fake", namespace=NAMESPACE, target="deployment/vllm", needs=()
        )
        self.fault: Fault = FAULTS[wanted.name](api, target, wanted)
        self.fault.timeout_s = wanted.timeout_s or TIMEOUT_S
        self.fault.setup()
        self.fault.beside = lambda _crowd: cluster.crowd()
        self.fault.quiet = cluster.asleep
        for option in {"period", "for"} & self.fault.chosen.keys():
            self.fault.chosen[option] = 0.2
        entry = Entry(
            version=VERSION,
            run="r" if folder.name == "e0" else folder.name,
            context="fake",
            namespace=NAMESPACE,
            target=str(target),
            lease="none",
            created=time.time(),
        )
        self.journal = Journal(api, folder, entry)
        self.view = View(folder / "history.jsonl")
        self.view.add(
            Header(
                version=history.VERSION, tool="test", at=0.0, fault=wanted.name, target={}, load={}
            )
        )
        self._observer = Observer(api, target, self.view, scaling=self.fault.scaling)
        self._observer.start()
        seen = self.view.wait(
            lambda: len(self.view.ready) == len(target.pods) and self.view.endpoints is not None,
            WATCHED_S,
            lambda: None,
        )
        assert seen
        self.journal.open()

    def invoke(self, check: Callable[[], None] = lambda: None) -> bool:
        return self.fault.invoke(self.journal, self.view, check)

    def undo(self) -> list[str]:
        said: list[str] = []
        assert self.fault.teardown(self.journal, said.append), said
        return said

    @property
    def steps(self) -> list[history.Fault]:
        """The fault's steps in the History so far."""
        records = history.read(self.folder / "history.jsonl")
        return [record for record in records if isinstance(record, history.Fault)]

    @property
    def writes(self) -> list[str]:
        """What was asked of the API server, the journal's own writes left out."""
        return [
            write.replace(f"/namespaces/{NAMESPACE}", "")
            .replace("/api/v1", "")
            .replace("/apis", "")
            for write in self.cluster.writes
            if "configmaps" not in write and "selfsubject" not in write
        ]

    def close(self) -> None:
        self._observer.stop()
        self.view.close()


def state(cluster: FakeCluster) -> dict[str, Any]:
    """Return all that has to be as it was; pods come and go."""
    with cluster.lock:
        found = {
            f"{kind}/{name}": {
                "spec": copy.deepcopy(item["spec"]),
                "annotations": dict(item["metadata"].get("annotations") or {}),
                "labels": dict(item["metadata"].get("labels") or {}),
            }
            for (kind, _, name), item in cluster.objects.items()
            if kind in {"Deployment", "HorizontalPodAutoscaler", "ScaledObject", "Node"}
            or kind in {"PodDisruptionBudget", "Prometheus"}
        }
    spec = found["Deployment/vllm"]["spec"]
    spec["template"] = digest(spec["template"])
    return found


def keda(cluster: FakeCluster, fewest: int = 2) -> None:
    """Let a ScaledObject scale the target, with all that it needs."""
    cluster.groups = {"/apis/keda.sh/v1alpha1", "/apis/monitoring.coreos.com/v1"}
    scaled = scaler("ScaledObject", fewest) | {"status": conditions("Ready")}
    stored = cluster.put("ScaledObject", NAMESPACE, scaled)
    owner = {"kind": "ScaledObject", "name": "vllm", "uid": stored["metadata"]["uid"]}
    hpa = {"metadata": {"name": "keda-hpa-vllm", "ownerReferences": [owner]}}
    target = {"scaleTargetRef": {"kind": "Deployment", "name": "vllm"}}
    made = hpa | {"spec": target, "status": conditions("ScalingActive")}
    cluster.put("HorizontalPodAutoscaler", NAMESPACE, made)
    for name in ("keda-operator", "keda-metrics-apiserver"):
        of = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "keda-operator"}
        cluster.install("Deployment", "keda", name, **of)
    cluster.install("Prometheus", "monitoring", "k8s")


def conditions(kind: str) -> dict[str, Any]:
    """Return a status in which a condition is True."""
    return {"conditions": [{"type": kind, "status": "True"}]}


def scaler(kind: str, fewest: int = 2) -> dict[str, Any]:
    """Return an autoscaler of the target."""
    target = {"kind": "Deployment", "name": "vllm"}
    least = {"HorizontalPodAutoscaler": "minReplicas", "ScaledObject": "minReplicaCount"}[kind]
    spec: dict[str, Any] = {"scaleTargetRef": target, least: fewest, "maxReplicas": 4}
    if kind == "ScaledObject":
        asked = {"query": "sum(vllm:num_requests_waiting)", "threshold": "5"}
        asked["serverAddress"] = "http://prometheus-operated.monitoring.svc:9090"
        spec["triggers"] = [{"type": "prometheus", "metadata": asked}]
        behavior = {"scaleDown": {"stabilizationWindowSeconds": 0}}
        spec["advanced"] = {"horizontalPodAutoscalerConfig": {"behavior": behavior}}
    return {"metadata": {"name": "vllm"}, "spec": spec}


class StoppedError(UserError):
    """The run can't go on."""
