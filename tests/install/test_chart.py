"""The real helm and kustomize make of chart and kustomization what ``install audit`` prints."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from msgspec.structs import replace

from drainproof.collect.tools import render
from drainproof.content import content
from drainproof.install import chart
from drainproof.install.objects import documents
from drainproof.install.settings import Service, Settings
from tests.collect.conftest import built

if TYPE_CHECKING:
    from pathlib import Path

CHART = content("deploy") / "chart"
ON: dict[str, dict[str, Any]] = {
    "policyReports=true": {"policy_reports": True},
    "prometheusOperator=true": {"prometheus_operator": True},
    "prometheus.service=prom": {"prometheus": Service("monitoring", "prom", "9090")},
}
Keyed = dict[tuple[str, str, str], dict[str, Any]]


def keyed(text: str) -> Keyed:
    found: Keyed = {}
    for obj in yaml.safe_load_all(text):
        if obj is not None:
            metadata = obj["metadata"]
            key = (obj["kind"], metadata.get("namespace", ""), metadata["name"])
            assert key not in found
            found[key] = obj
    return found


def printed(settings: Settings) -> Keyed:
    return {item.key: yaml.safe_load(item.text) for item in documents(settings)}


@pytest.fixture(scope="session")
def helm() -> str:
    return str(built("helm", "helm.sh/helm/v4/cmd/helm", 120) / "helm")


@pytest.fixture(scope="session")
def kustomize() -> str:
    return str(built("kustomize", "sigs.k8s.io/kustomize/kustomize/v5", 15) / "kustomize")


def rendered(helm: str, folder: Path, *sets: str) -> Keyed:
    options = [word for item in sets for word in ("--set", item)]
    done = render([helm, "template", "audit", str(folder), *options])
    assert done.error == ""
    return keyed(done.text)


def test_the_chart_in_the_repository_is_the_one_that_is_made() -> None:
    found = {
        str(path.relative_to(CHART)): path.read_text()
        for path in CHART.rglob("*")
        if path.is_file()
    }
    assert found == chart.files()


@pytest.mark.parametrize("sets", [(), *((name,) for name in ON), tuple(ON)], ids=",".join)
def test_the_chart_renders_to_what_is_printed(helm: str, sets: tuple[str, ...]) -> None:
    settings = Settings()
    for name in sets:
        settings = replace(settings, **ON[name])
    assert rendered(helm, CHART, *sets) == printed(settings)


def test_the_values_of_the_chart_are_the_options(helm: str) -> None:
    settings = Settings("audits", schedule="@daily", image="r.example/d:1", profile="dev")
    sets = ("namespace=audits", "schedule=@daily", "image=r.example/d:1", "profile=dev")
    found = rendered(helm, CHART, *sets)
    assert found == printed(settings)
    assert found != printed(Settings())


def test_a_chart_that_differs_is_seen(helm: str, tmp_path: Path) -> None:
    chart.write(tmp_path)
    rules = tmp_path / "templates/rbac.yaml"
    rules.write_text(rules.read_text().replace("- list\n", "- watch\n", 1))
    assert rendered(helm, tmp_path) != printed(Settings())


def test_a_file_that_the_chart_no_longer_has_is_removed(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/old.yaml").write_text("a: 1\n")
    chart.write(tmp_path)
    assert not (tmp_path / "templates/old.yaml").exists()


def kustomized(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "drainproof", "install", "audit", "--kustomize", folder, *words],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_the_kustomization_builds_to_what_is_printed(kustomize: str, tmp_path: Path) -> None:
    done = kustomized(tmp_path / "audit", "--prometheus-operator", "-n", "a")
    assert (done.returncode, done.stderr) == (0, "")
    built_ = render([kustomize, "build", str(tmp_path / "audit")])
    assert built_.error == ""
    found = keyed(built_.text)
    assert found == printed(Settings(namespaces=("a",), prometheus_operator=True))
    assert found != printed(Settings(namespaces=("b",), prometheus_operator=True))


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = kustomized(tmp_path / "file" / "below")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path / 'file' / 'below'}: cannot be made")
