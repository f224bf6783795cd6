"""A real API server takes the PolicyReport objects that an audit writes."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge.config import Audit, Config
from drainproof.judge.registry import load
from drainproof.model.snapshot import Snapshot
from drainproof.report import write
from drainproof.report.rows import rows
from tests.e2e.definitions import policy_report_crd
from tests.manifests import deployment, scaled_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_kind import KindCluster

    from tests.e2e.conftest import Namespace

pytestmark = pytest.mark.e2e

WAIVER = "{reason: 'a: b # c', owner: team-batch, expires: 2999-01-31}"
SCRIPT = {"preStop": {"exec": {"command": ["/drain.sh"]}}}


@pytest.fixture(scope="module")
def reports_are_known(cluster: KindCluster) -> Iterator[None]:
    """Let the API server know PolicyReports by the definition that Kyverno installs."""
    crd = str(policy_report_crd())
    cluster.kubectl("apply", "--server-side", "-f", crd)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", crd)
    yield
    cluster.kubectl("delete", "--wait=false", "-f", crd)


def audited(namespace: str) -> str:
    """Return the reports on workloads that pass, fail, are waived and can't be judged."""
    objects = []
    for name, lifecycle in (("fails", None), ("waived", None), ("unsure", SCRIPT)):
        obj = deployment(lifecycle=lifecycle)
        obj["metadata"] |= {"name": name, "namespace": namespace}
        objects += [obj, scaled_object(name, namespace=namespace)]
    objects[2]["metadata"]["annotations"] = {"waive.drainproof.dev/prestop-delay": WAIVER}
    checks = [load(kind="manifest").get(slug) for slug in ("prestop-delay", "has-scaler")]
    result = Audit(Snapshot.of(objects), Config()).run(checks)
    return write(result, rows(result), "policyreport")


@pytest.mark.usefixtures("reports_are_known")
def test_the_api_server_stores_the_reports_as_they_are_written(namespace: Namespace) -> None:
    namespace.kubectl("apply", "--validate=strict", "-f", "-", input=audited(namespace.name))
    stored: list[dict[str, Any]] = json.loads(
        namespace.kubectl("get", "policyreports.wgpolicyk8s.io", "-o", "json")
    )["items"]
    results = {
        (item["scope"]["name"], found["rule"]): found["result"]
        for item in stored
        for found in item["results"]
    }
    assert results == {
        ("fails", "prestop-delay"): "fail",
        ("waived", "prestop-delay"): "skip",
        ("unsure", "prestop-delay"): "error",
        **{(name, "has-scaler"): "pass" for name in ("fails", "waived", "unsure")},
    }


@pytest.mark.usefixtures("reports_are_known")
def test_the_api_server_refuses_another_form(namespace: Namespace) -> None:
    text = audited(namespace.name)
    other = text.replace('"result": "fail"', '"result": "failed"')
    assert other != text
    with pytest.raises(subprocess.CalledProcessError):
        namespace.kubectl("apply", "--validate=strict", "-f", "-", input=other)
