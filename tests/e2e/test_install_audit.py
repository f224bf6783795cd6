"""An audit on a schedule in a real cluster: applied, run, compared, read by its metrics, gone."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.install.objects import METRICS, NAME, PORT, documents
from drainproof.install.settings import Settings
from tests.manifests import deployment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drainproof.clusters import Cluster

    Eventually = Callable[[Callable[[], bool], float], None]

pytestmark = pytest.mark.e2e

HOME = "install-audit"
WATCHED = "install-audit-watched"
ACCOUNT = f"system:serviceaccount:{HOME}:{NAME}"
NOWHERE = "registry.invalid/drainproof:none"
NEVER = "0 0 1 1 *"
"""Nearly: a run of its own would come between those of the tests."""
PATIENCE_S = 240
"""A first run waits for the pod of the metrics, and that one for its volume."""


@dataclass(frozen=True)
class Run:
    """What came of one Job."""

    complete: bool
    log: str


@dataclass(frozen=True)
class Scheduled:
    """An audit on a schedule in a namespace of its own, and Jobs of it that are run at once."""

    cluster: Cluster
    eventually: Eventually
    home: str = HOME

    def apply(self, image: str) -> list[str]:
        """Run ``drainproof install audit --apply``; return what it says."""
        words = ("install", "audit", "--apply", "--context", self.cluster.context)
        own = ("--namespace", self.home, "--image", image, "--schedule", NEVER)
        return self.cluster.run(
            [sys.executable, "-m", "drainproof", *words, *own]
        ).stdout.splitlines()

    def kubectl(self, *words: str) -> str:
        return self.cluster.kubectl("-n", self.home, *words)

    def get(self, what: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", what, "-o", "json"))
        return found

    def begin(self, name: str) -> None:
        self.kubectl("create", "job", name, "--from", f"cronjob/{NAME}")

    def run(self, name: str) -> Run:
        """Run a Job now, to its end."""
        self.begin(name)
        self.eventually(lambda: self.ended(name) != "", PATIENCE_S)
        log = self.kubectl("logs", "-l", f"job-name={name}", "--tail=-1")
        return Run(self.ended(name) == "Complete", log)

    def ended(self, name: str) -> str:
        """Return how a Job ended, with its reason if it failed; empty while it runs."""
        for one in self.get(f"job/{name}")["status"].get("conditions", ()):
            if one["status"] == "True" and one["type"] in {"Complete", "Failed"}:
                return "Complete" if one["type"] == "Complete" else f"Failed: {one['reason']}"
        return ""

    def objects(self) -> dict[str, dict[str, Any]]:
        """Return all that is applied, by its name, as it is stored."""
        return {
            "/".join(item.key): json.loads(
                self.kubectl("get", item.object["kind"], item.key[2], "-o", "json")
            )
            for item in documents(Settings(namespace=self.home))
        }

    def remove(self) -> None:
        """Delete all that is applied, as far as it is there, and wait until it is gone."""
        for item in documents(Settings(namespace=self.home)):
            if not item.key[1] and item.key[0] != "Namespace":
                self.cluster.kubectl("delete", "--ignore-not-found", item.key[0], item.key[2])
        self.cluster.kubectl("delete", "--ignore-not-found", "namespace", self.home)


def watched(name: str) -> dict[str, Any]:
    """Return a workload with a finding, which needs no pods."""
    made = deployment(lifecycle=None)
    labels = {"app": name}
    made["metadata"] = {"name": name, "namespace": WATCHED}
    made["spec"] |= {"replicas": 0, "paused": True, "selector": {"matchLabels": labels}}
    made["spec"]["template"]["metadata"]["labels"] = labels
    return made


def add(cluster: Cluster, *objects: dict[str, Any]) -> None:
    items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    cluster.kubectl("apply", "-f", "-", text_input=json.dumps(items))


@pytest.fixture(scope="module")
def scheduled(
    embedded: Cluster, scheduled_image: str, eventually: Eventually
) -> Iterator[Scheduled]:
    """Apply it, where there is one workload that it has something to say about."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": WATCHED}}
    made = Scheduled(embedded, eventually)
    try:
        add(embedded, namespace, watched("first"))
        said = made.apply(scheduled_image)
        assert {line.split()[0] for line in said} == {"created"}
        yield made
    finally:
        made.remove()
        embedded.kubectl("delete", "--wait=false", "--ignore-not-found", "namespace", WATCHED)


@pytest.fixture(scope="module")
def first(scheduled: Scheduled) -> Run:
    """Run it once."""
    return scheduled.run("first")


@pytest.fixture(scope="module")
def second(scheduled: Scheduled, first: Run) -> Run:
    """Run it again, when there is one workload more."""
    assert first.complete, first.log
    add(scheduled.cluster, watched("second"))
    return scheduled.run("second")


def test_its_pods_are_admitted_under_restricted_pod_security(
    scheduled: Scheduled, first: Run
) -> None:
    labels = scheduled.get(f"namespace/{HOME}")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert first.complete
    pods = [one["metadata"]["labels"] for one in scheduled.get("pods")["items"]]
    assert {NAME, METRICS} <= {one["app.kubernetes.io/name"] for one in pods}


def test_the_log_of_a_run_is_the_report(first: Run) -> None:
    assert first.complete, first.log
    assert "prestop-delay DP104" in findings(first.log, "first")
    assert "API calls" in first.log.strip().splitlines()[-1]


def test_a_second_run_reports_only_what_is_new(second: Run) -> None:
    assert second.complete, second.log
    assert "prestop-delay DP104" in findings(second.log, "second")
    assert findings(second.log, "first") == []
    assert " as on 20" in second.log


def findings(log: str, workload: str) -> list[str]:
    """Return the checks with errors and warnings on a workload, in its part of a report."""
    part = log.partition(f"Deployment/{WATCHED}/{workload} ")[2].partition("\n\n")[0]
    return re.findall(r"^  (?:error|warning)  ([\w-]+ DP\d+)", part, re.MULTILINE)


def test_the_metrics_answer_from_the_service_with_what_was_found(
    scheduled: Scheduled, second: Run
) -> None:
    assert second.complete, second.log
    path = f"/api/v1/namespaces/{HOME}/services/{METRICS}:{PORT}/proxy/metrics.txt"
    text = scheduled.cluster.kubectl("get", "--raw", path)
    found = [line for line in text.splitlines() if f'namespace="{WATCHED}"' in line]
    for name in ("first", "second"):
        mine = [line for line in found if f'workload="Deployment/{WATCHED}/{name}"' in line]
        assert any('check="prestop-delay"' in line and line.endswith(" 1") for line in mine), text


def allowed(cluster: Cluster, verb: str, resource: str) -> bool:
    words = ("auth", "can-i", verb, resource, "--as", ACCOUNT, "-A")
    kubectl = (cluster.kubectl_bin, "--context", cluster.context)
    said = cluster.run([*kubectl, *words], check=False).stdout.strip()
    assert said in {"yes", "no"}
    return said == "yes"


def test_the_account_reads_what_it_audits(scheduled: Scheduled) -> None:
    assert allowed(scheduled.cluster, "list", "deployments.apps")


@pytest.mark.parametrize("verb", ["get", "list", "watch"])
def test_the_account_may_see_no_secret(scheduled: Scheduled, verb: str) -> None:
    assert not allowed(scheduled.cluster, verb, "secrets")


@pytest.mark.parametrize("verb", ["create", "update", "patch", "delete"])
def test_the_account_may_change_nothing(scheduled: Scheduled, verb: str) -> None:
    resources = ("deployments.apps", "pods", "configmaps", "jobs.batch", "cronjobs.batch")
    assert [one for one in resources if allowed(scheduled.cluster, verb, one)] == []


def test_what_is_applied_again_stays_as_it_was_and_that_is_said(
    scheduled: Scheduled, scheduled_image: str, first: Run
) -> None:
    assert first.complete, first.log
    before = scheduled.objects()
    said = scheduled.apply(scheduled_image)
    assert {line.split()[0] for line in said} == {"unchanged"}
    assert len(said) == len(before)
    after = scheduled.objects()
    assert {name: one["spec"] for name, one in after.items() if "spec" in one} == {
        name: one["spec"] for name, one in before.items() if "spec" in one
    }
    assert {name: one["metadata"]["uid"] for name, one in after.items()} == {
        name: one["metadata"]["uid"] for name, one in before.items()
    }


def test_without_its_rights_a_run_fails_and_says_which_it_lacks(
    scheduled: Scheduled, scheduled_image: str, second: Run
) -> None:
    assert second.complete, second.log
    scheduled.cluster.kubectl("delete", "clusterrolebinding", NAME)
    try:
        done = scheduled.run("without-rights")
    finally:
        said = scheduled.apply(scheduled_image)
    assert not done.complete
    words = " ".join(done.log.split())
    assert "no permission to list deployments.apps in all namespaces" in words
    assert f"created ClusterRoleBinding/{NAME}" in said


@pytest.fixture
def imageless(
    embedded: Cluster, eventually: Eventually, scheduled_image: str
) -> Iterator[Scheduled]:
    """Apply it with an image that nobody has, in another namespace."""
    made = Scheduled(embedded, eventually, f"{HOME}-imageless")
    try:
        made.apply(NOWHERE)
        yield made
    finally:
        made.cluster.kubectl("delete", "namespace", made.home)
        # the rights in all namespaces are those of one account
        if embedded.kubectl("get", "namespace", HOME, "--ignore-not-found"):
            Scheduled(embedded, eventually).apply(scheduled_image)


def test_a_run_whose_image_can_not_be_had_fails_and_names_it(imageless: Scheduled) -> None:
    imageless.begin("imageless")
    imageless.eventually(lambda: NOWHERE in waiting(imageless), PATIENCE_S)
    # rather than after the quarter of an hour that it has
    imageless.kubectl("patch", "job/imageless", "-p", '{"spec": {"activeDeadlineSeconds": 1}}')
    imageless.eventually(
        lambda: imageless.ended("imageless") == "Failed: DeadlineExceeded", PATIENCE_S
    )
    events = imageless.get("events")["items"]
    assert any(
        one["type"] == "Warning" and "Failed to pull image" in one["message"] for one in events
    )


def waiting(scheduled: Scheduled) -> str:
    """Return why containers of Jobs don't start."""
    pods = json.loads(scheduled.kubectl("get", "pods", "-l", "job-name", "-o", "json"))["items"]
    states = [
        state["state"].get("waiting", {})
        for pod in pods
        for state in pod["status"].get("containerStatuses", ())
    ]
    return " ".join(state.get("message", "") for state in states)


def test_what_is_applied_can_be_deleted_and_is_made_anew(
    scheduled: Scheduled, scheduled_image: str
) -> None:
    manifests = scheduled.cluster.run(
        [sys.executable, "-m", "drainproof", "install", "audit", "--namespace", HOME]
    ).stdout
    scheduled.cluster.kubectl("delete", "--ignore-not-found", "-f", "-", text_input=manifests)
    assert not scheduled.cluster.kubectl("get", "namespace", HOME, "--ignore-not-found")
    left = scheduled.cluster.kubectl(
        *("get", "clusterroles,clusterrolebindings", "-o", "name"),
        *("-l", "app.kubernetes.io/part-of=drainproof"),
    )
    assert not left
    assert {line.split()[0] for line in scheduled.apply(scheduled_image)} == {"created"}
