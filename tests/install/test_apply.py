"""``--apply`` changes what it says, and the scheduled command runs as it is written."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import orjson
import pytest
import yaml

from drainproof.install.objects import command, documents
from drainproof.install.settings import Settings
from tests.collect import api_server
from tests.install.cluster import Cluster, serving
from tests.manifests import deployment, scaled_object

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.collect.api_server import FakeApi

JOB = "/apis/batch/v1/namespaces/drainproof/cronjobs/drainproof-audit"
REPORTS = "/apis/wgpolicyk8s.io/v1alpha2/namespaces/{}/policyreports/{}"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with serving(Cluster()) as served:
        yield served


def kubeconfig(folder: Path, url: str, user: dict[str, str] | None = None) -> Path:
    file = folder / "kubeconfig"
    config = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "in-cluster", "context": {"cluster": "c", "user": "u"}}],
    }
    file.write_text(yaml.safe_dump(config))
    return file


def ran(folder: Path, url: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "drainproof", *words],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "KUBECONFIG": str(kubeconfig(folder, url))},
    )  # fmt: skip


APPLY = ("install", "audit", "--apply", "--context", "in-cluster")


def test_all_that_is_printed_is_applied_and_told(tmp_path: Path, cluster: Cluster) -> None:
    done = ran(tmp_path, cluster.url, *APPLY)
    assert (done.returncode, done.stderr) == (0, "")
    listed = documents(Settings())
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["created"] * len(listed)
    assert "created CronJob/drainproof/drainproof-audit" in done.stdout
    assert [verb for verb, _ in cluster.changes] == ["PATCH"] * len(listed)
    del cluster.stored[JOB]["metadata"]["resourceVersion"]
    assert cluster.stored[JOB] in [item.object for item in listed]
    assert {"fieldManager": ["drainproof"]}.items() <= cluster.queries[-1].items()


def test_what_stays_and_what_changes_is_told_apart(tmp_path: Path, cluster: Cluster) -> None:
    ran(tmp_path, cluster.url, *APPLY)
    again = ran(tmp_path, cluster.url, *APPLY, "--schedule", "@daily")
    assert "changed CronJob/drainproof/drainproof-audit\n" in again.stdout
    assert again.stdout.count("unchanged ") == len(documents(Settings())) - 1


def test_nothing_is_changed_without_apply(tmp_path: Path, cluster: Cluster) -> None:
    assert ran(tmp_path, cluster.url, "install", "audit").returncode == 0
    assert (cluster.changes, cluster.queries) == ([], [])


def test_nothing_is_changed_where_a_kind_is_missing(tmp_path: Path, cluster: Cluster) -> None:
    done = ran(tmp_path, cluster.url, *APPLY, "--prometheus-operator")
    assert (done.returncode, cluster.changes) == (2, [])
    assert "the cluster has no ServiceMonitor (monitoring.coreos.com/v1)" in done.stderr


@pytest.mark.parametrize(("status", "said"), [(403, "HTTP 403"), (409, "Somebody else set")])
def test_a_refusal_names_the_object(
    tmp_path: Path, cluster: Cluster, status: int, said: str
) -> None:
    cluster.refuse[JOB] = status
    done = ran(tmp_path, cluster.url, *APPLY)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot apply CronJob/drainproof/drainproof-audit: HTTP ")
    assert said in done.stderr
    assert "created Namespace/drainproof" in done.stdout


def test_a_cluster_that_is_away_is_one_error(tmp_path: Path) -> None:
    done = ran(tmp_path, "http://127.0.0.1:9", *APPLY)
    assert done.returncode == 2
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def report(namespace: str, name: str) -> dict[str, object]:
    labels = {"app.kubernetes.io/managed-by": "drainproof"}
    return {
        "apiVersion": "wgpolicyk8s.io/v1alpha2",
        "kind": "PolicyReport",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
    }


def publish(folder: Path, url: str, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "reports.yaml").write_text(text)
    return ran(
        folder, url,
        "install", "policy-reports", "reports.yaml", "--context", "in-cluster", *words,
    )  # fmt: skip


def test_reports_are_applied_and_those_of_workloads_gone_are_deleted(
    tmp_path: Path, cluster: Cluster
) -> None:
    cluster.stored[REPORTS.format("a", "old")] = report("a", "old")
    text = f"---\n{orjson.dumps(report('a', 'new')).decode()}\n"
    done = publish(tmp_path, cluster.url, text)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "created PolicyReport/a/new\ndeleted PolicyReport/a/old\n"
    assert set(cluster.stored) == {REPORTS.format("a", "new")}
    labels = [query["labelSelector"] for query in cluster.queries if "labelSelector" in query]
    assert labels == [["app.kubernetes.io/managed-by=drainproof"]]


def test_a_report_about_a_waiver_of_a_file_is_left_out(tmp_path: Path, cluster: Cluster) -> None:
    stray = {**report("", "stray"), "metadata": {"name": "stray"}}
    text = "".join(f"---\n{orjson.dumps(one).decode()}\n" for one in (stray, report("a", "new")))
    done = publish(tmp_path, cluster.url, text)
    assert (done.returncode, set(cluster.stored)) == (0, {REPORTS.format("a", "new")})
    assert done.stdout.startswith("left out stray: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "a", "name": "x"}}', ()),
        ("a: [", ()),
        ("[1]", ()),
        (orjson.dumps(report("b", "x")).decode(), ("-n", "a")),
    ],
)
def test_what_is_no_report_of_these_namespaces_is_not_applied(
    tmp_path: Path, cluster: Cluster, text: str, words: tuple[str, ...]
) -> None:
    done = publish(tmp_path, cluster.url, text, *words)
    assert (done.returncode, cluster.changes) == (2, [])
    assert done.stderr.startswith("error: reports.yaml: expected ")


@pytest.fixture
def api() -> Iterator[FakeApi]:
    found = api_server.FakeApi()
    found.lists["/apis/apps/v1/deployments"] = [deployment(lifecycle=None)]
    found.lists["/apis/keda.sh/v1alpha1/scaledobjects"] = [scaled_object()]
    with api_server.serving(found):
        yield found


def scheduled(folder: Path, api: FakeApi, settings: Settings) -> subprocess.CompletedProcess[str]:
    """Run what the CronJob runs, its folders being here."""
    for name in ("snapshots", "metrics"):
        (folder / name).mkdir(exist_ok=True)
    token = folder / "token"
    token.write_text("of-the-service-account")
    config = kubeconfig(folder, api.url, {"tokenFile": str(token)})
    words = [word.replace("/var/lib/drainproof", str(folder)) for word in command(settings)]
    return subprocess.run(
        [sys.executable, "-m", "drainproof", *words],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "KUBECONFIG": str(config)},
    )  # fmt: skip


def test_the_scheduled_command_keeps_metrics_and_reports_only_news(
    tmp_path: Path, api: FakeApi
) -> None:
    first = scheduled(tmp_path, api, Settings())
    assert (first.returncode, first.stderr) == (0, "")
    assert "prestop-delay" in first.stdout
    assert api.tokens[-1] == "Bearer of-the-service-account"
    assert {method for method, _ in api.seen} == {"GET"}
    second = scheduled(tmp_path, api, Settings())
    assert "prestop-delay" not in second.stdout
    kept = (tmp_path / "metrics/metrics.txt").read_text()
    assert 'check="prestop-delay"' in kept
    assert [path.name for path in (tmp_path / "metrics").iterdir()] == ["metrics.txt"]
    api.lists["/apis/apps/v1/deployments"] = [deployment(startupProbe=None)]
    third = scheduled(tmp_path, api, Settings())
    assert "gone: prestop-delay at Deployment/inference/llama" in third.stdout
    assert "startup-budget" in third.stdout


def test_a_scheduled_audit_that_could_not_read_all_fails(tmp_path: Path, api: FakeApi) -> None:
    api.statuses["/apis/keda.sh/v1alpha1/scaledobjects"] = 403
    done = scheduled(tmp_path, api, Settings())
    assert done.returncode == 2
    assert list((tmp_path / "snapshots").iterdir()) == []
    assert "drainproof_audit_problems 1\n" in (tmp_path / "metrics/metrics.txt").read_text()
