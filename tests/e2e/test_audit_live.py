"""The audit of a live cluster: by an account that may only read, and without a trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from bench import usage
from drainproof.collect.connect import connect
from drainproof.collect.live import RBAC
from drainproof.model.running import pods_of
from drainproof.model.snapshot import Snapshot
from tests.e2e import accounts
from tests.e2e.targets import Target
from tests.manifests import deployment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drainproof.clusters import Cluster

pytestmark = pytest.mark.e2e

ACCOUNT = "system:serviceaccount:drainproof:drainproof-audit"
SIM = Target(namespace="audit-live", flags=("--shutdown-timeout=30",), prestop_s=3, grace_s=40)
MANY = 5000
NAMESPACES = tuple(f"audit-many-{number}" for number in range(10))
PATIENCE_S = 300
MEMORY_MB = 300
"""What the audit of 5,000 workloads may take at most, at its peak."""


@dataclass(frozen=True)
class Audit:
    """What came of one run of ``drainproof audit``."""

    code: int
    out: str
    errors: str
    peak_mb: float

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    def of(self, check: str, namespace: str = SIM.namespace) -> list[str]:
        """Return the messages of a check on one namespace's workloads."""
        return [
            item["message"]
            for item in self.report["findings"]
            if item["check"] == check and item["subject"]["namespace"] == namespace
        ]


def audit(kubeconfig: Path, folder: Path, *options: str) -> Audit:
    """Run an audit as the account, in a process of its own."""
    words = [sys.executable, "-m", "drainproof", "audit", "--context", "reader", *options]
    done = usage.run(words, str(folder), {**os.environ, "KUBECONFIG": str(kubeconfig)})
    return Audit(done.code, done.out.decode(), done.errors.decode(), done.peak_bytes / 1e6)


@pytest.fixture(scope="module")
def reader(embedded: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a kubeconfig of the account that ``read-only-rbac.yaml`` makes."""
    yield accounts.create(embedded, tmp_path_factory.mktemp("reader"))
    accounts.remove(embedded)


@pytest.fixture(scope="module")
def running(embedded: Cluster) -> Iterator[Cluster]:
    """Return the cluster with a simulated engine in it that serves."""
    SIM.deploy(embedded)
    SIM.ready(embedded)
    yield embedded
    SIM.remove(embedded)


@pytest.fixture(scope="module")
def audited(
    running: Cluster, reader: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Audit, dict[str, str], dict[str, str]]:
    """Audit everything once; return the versions of all objects before and after it, too."""
    before = versions(running)
    done = audit(reader, tmp_path_factory.mktemp("audit"), "-A", "--format", "json")
    return done, before, versions(running)


def versions(cluster: Cluster) -> dict[str, str]:
    """Return the resourceVersion of each object of the engine's namespace."""
    kinds = cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    kinds = [kind for kind in kinds if "metrics.k8s.io" not in kind]  # made anew at each request
    found = cluster.kubectl("-n", SIM.namespace, "get", ",".join(kinds), "-o", "json")
    return {
        f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
        for item in json.loads(found)["items"]
        if item["kind"] not in {"Lease", "Event"}
    }


def test_the_account_can_audit_all_that_there_is(audited: tuple[Audit, Any, Any]) -> None:
    done, _, _ = audited
    assert done.code in {0, 1, 3}, done.errors
    assert done.report["problems"] == []
    assert done.report["summary"]["workloads"] >= 1


def test_the_audit_changes_nothing(audited: tuple[Audit, Any, Any]) -> None:
    _, before, after = audited
    assert len(before) > 5
    assert before == after


@pytest.mark.parametrize("verb", ["create", "update", "patch", "delete", "deletecollection"])
def test_the_account_may_change_nothing(reader: Path, embedded: Cluster, verb: str) -> None:
    assert reader.is_file()
    for resource in ("deployments.apps", "pods", "pods/eviction", "services", "configmaps"):
        assert not allowed(embedded, verb, resource), f"{verb} {resource}"


def test_the_account_may_see_no_secret(reader: Path, embedded: Cluster) -> None:
    assert reader.is_file()
    assert not any(allowed(embedded, verb, "secrets") for verb in ("get", "list", "watch"))


def allowed(cluster: Cluster, verb: str, resource: str) -> bool:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": ACCOUNT,
            "resourceAttributes": {
                "verb": verb,
                "group": resource.partition(".")[2],
                "resource": resource.partition(".")[0].partition("/")[0],
                "subresource": resource.partition("/")[2],
                "namespace": SIM.namespace,
            },
        },
    }
    text = cluster.kubectl("create", "-f", "-", "-o", "json", text_input=json.dumps(review))
    return bool(json.loads(text)["status"]["allowed"])


def test_each_call_is_named(audited: tuple[Audit, Any, Any]) -> None:
    calls = audited[0].report["summary"]["api_calls"]
    assert calls["list deployments.apps"] == 1
    assert {name.partition(" ")[0] for name in calls} <= {"get", "list"}


def test_what_the_cluster_lacks_is_not_asked_for(audited: tuple[Audit, Any, Any]) -> None:
    calls = audited[0].report["summary"]["api_calls"]
    assert not any("kserve" in name or "argoproj" in name for name in calls)


def test_a_pod_of_a_controller_is_no_workload_of_its_own(audited: tuple[Audit, Any, Any]) -> None:
    subjects = {
        (item["subject"]["kind"], item["subject"]["name"])
        for item in audited[0].report["findings"]
        if item["subject"]["namespace"] == SIM.namespace
    }
    assert subjects == {("Deployment", "sim")}


@pytest.mark.parametrize("check", ["endpoints-ready", "restarts", "surge-has-a-gpu"])
def test_a_running_engine_passes_what_is_looked_at_in_its_pods(
    audited: tuple[Audit, Any, Any], check: str
) -> None:
    assert audited[0].of(check) == []


def test_a_deployments_pods_are_found_with_when_they_started_and_when_they_were_ready(
    running: Cluster, reader: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "snapshot.json"
    audit(reader, tmp_path, "-n", SIM.namespace, "--save", str(saved))
    snapshot = Snapshot.from_json(saved.read_bytes())
    (pod,) = pods_of(snapshot, snapshot.workloads[0])
    there = running.kubectl("-n", SIM.namespace, "get", "pods", "-o", "name").split()
    assert there == [f"pod/{pod.name}"]
    started = pod.containers["vllm"].running_since
    assert started is not None
    assert pod.ready_since is not None
    assert 0 < pod.ready_since - started < PATIENCE_S


def test_a_saved_snapshot_is_judged_again_without_a_cluster(
    running: Cluster, reader: Path, tmp_path: Path
) -> None:
    assert running.context
    saved = tmp_path / "snapshot.json"
    options = ("-n", SIM.namespace, "--format", "json")
    live = audit(reader, tmp_path, *options, "--save", str(saved))
    again = subprocess.run(
        [sys.executable, "-m", "drainproof", "audit", str(saved), "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert again.returncode == live.code
    assert judgements(json.loads(again.stdout)) == judgements(live.report)


def judgements(report: dict[str, Any]) -> set[tuple[str, str]]:
    return {(item["check"], item["message"]) for item in report["findings"]}


def test_a_resource_that_may_not_be_listed_is_named_and_the_rest_is_audited(
    running: Cluster, reader: Path, tmp_path: Path
) -> None:
    role = json.loads(running.kubectl("get", "clusterrole", "drainproof-audit", "-o", "json"))
    whole = json.dumps(role)
    for rule in role["rules"]:
        if rule.get("apiGroups") == ["policy"]:
            rule["apiGroups"] = ["none.example"]
    running.kubectl("replace", "-f", "-", text_input=json.dumps(role))
    try:
        done = audit(reader, tmp_path, "-A", "--format", "json")
    finally:
        role = json.loads(whole)
        del role["metadata"]["resourceVersion"]
        running.kubectl("replace", "-f", "-", text_input=json.dumps(role))
    (problem,) = done.report["problems"]
    assert problem["message"] == (
        "forbidden: no permission to list poddisruptionbudgets.policy in all namespaces"
    )
    assert done.code == 2
    assert done.of("endpoints-ready") == []


def test_a_prometheus_behind_the_api_server_needs_a_permission_of_its_own(
    running: Cluster, reader: Path, tmp_path: Path
) -> None:
    assert running.context
    where = f"{SIM.namespace}/sim:80"
    options = ("-n", SIM.namespace, "--format", "json", "--prometheus", where)
    (problem,) = audit(reader, tmp_path, *options).report["problems"]
    assert problem["message"] == (
        f"forbidden: no permission to get services/proxy for Service {where}"
    )


def test_the_role_for_prometheus_lets_the_account_through_to_that_service(
    running: Cluster, reader: Path, tmp_path: Path
) -> None:
    documents = [item for item in yaml.safe_load_all(RBAC.read_text()) if item]
    wanted = [item for item in documents if item["metadata"].get("namespace") == "monitoring"]
    for item in wanted:
        item["metadata"]["namespace"] = SIM.namespace
        for rule in item.get("rules", ()):
            rule["resourceNames"] = ["sim:80"]
    running.kubectl("apply", "-f", "-", text_input=yaml.safe_dump_all(wanted))
    options = ("-n", SIM.namespace, "--format", "json", "--prometheus", f"{SIM.namespace}/sim:80")
    (problem,) = audit(reader, tmp_path, *options).report["problems"]
    assert problem["message"].endswith("answers HTTP 404")  # by the engine, which is no Prometheus


# Five thousand


@pytest.fixture(scope="module")
def many(
    embedded: Cluster, eventually: Callable[[Callable[[], bool], float], None]
) -> Iterator[Cluster]:
    """Fill the cluster with Deployments that its controllers leave alone: paused, no replicas."""
    client = connect(embedded.context)
    pool: Any = client.rest_client.pool_manager
    host = str(client.configuration.host)

    def send(method: str, path: str, body: Any = None) -> int:  # noqa: ANN401 - JSON
        raw = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"}
        return int(pool.request(method, f"{host}{path}", body=raw, headers=headers).status)

    for name in NAMESPACES:
        meta = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        assert send("POST", "/api/v1/namespaces", meta) == 201
    failed: list[int] = []

    def create(numbers: range) -> None:
        embedded.enter()  # each thread of its own
        for number in numbers:
            namespace = NAMESPACES[number % len(NAMESPACES)]
            name = f"llama-{number}"
            labels = {"app": name}
            workload = deployment()
            workload["metadata"] = {"name": name, "namespace": namespace}
            workload["spec"] |= {"replicas": 0, "paused": True, "selector": {"matchLabels": labels}}
            workload["spec"]["template"]["metadata"]["labels"] = labels
            path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
            status = send("POST", path, workload)
            if status != 201:
                failed.append(status)

    at_once = 4
    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(create, [range(first, MANY, at_once) for first in range(at_once)]))
    assert failed == []
    yield embedded
    for name in NAMESPACES:
        send("DELETE", f"/api/v1/namespaces/{name}")
    eventually(
        lambda: not any(name in embedded.kubectl("get", "namespaces") for name in NAMESPACES),
        PATIENCE_S,
    )


def test_five_thousand_workloads_are_audited_within_300_mb(
    many: Cluster, reader: Path, tmp_path: Path
) -> None:
    assert many.context
    done = audit(reader, tmp_path, "-A")
    assert done.code in {1, 3}, done.errors
    last = done.out.strip().splitlines()[-1]
    workloads = int(last.partition(" LLM workloads")[0].rpartition(" ")[2])
    assert workloads >= MANY
    assert " API calls" in last
    assert done.peak_mb < MEMORY_MB
