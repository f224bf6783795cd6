"""Stacks are named, pinned, installed once, and known by what they were installed from."""

from __future__ import annotations

import json
import string
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from drainproof import clusters
from drainproof.clusters import artefacts, command, lifecycle, packages, preflight, stacks
from drainproof.clusters.golang import required_version
from drainproof.errors import UserError
from drainproof.progress import NoProgress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODULES = [module for stack in stacks.STACKS.values() for module in stack.modules]
CLUSTER = clusters.Cluster(
    name="mine",
    kubeconfig=Path("/kubeconfig"),
    netns=None,
    kind_bin=Path("/bin/kind"),
    kubectl_bin=Path("/bin/kubectl"),
    docker_host="",
    node_image="",
)
HEALTHY = clusters.ClusterStatus(
    "mine", running=True, nodes={"one": True, "two": True}, problem="", cluster=CLUSTER
)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_an_unknown_stack_is_refused_before_any_work_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"no stack 'prometeus'; there are: keda, prometheus"):
        clusters.up("mine", progress=NoProgress(), stacks=["keda", "prometeus"])


@pytest.fixture
def installs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a healthy cluster be there, and return what is installed in it from now on."""
    done: list[str] = []

    def install(_: clusters.Cluster, wanted: Sequence[stacks.Stack]) -> None:
        done.extend(stack.name for stack in wanted)

    monkeypatch.setattr(lifecycle, "status", lambda _: HEALTHY)
    monkeypatch.setattr(packages, "client_image", lambda _: None)
    monkeypatch.setattr(preflight, "check", lambda **_: None)
    monkeypatch.setattr(artefacts, "ensure", lambda *_: None)
    monkeypatch.setattr(stacks, "install", install)
    return done


@pytest.mark.parametrize(
    ("there", "lacking"),
    [
        ({}, ["keda", "prometheus"]),
        ({"keda": ""}, ["prometheus"]),
        ({"keda": "not ready: keda-operator", "prometheus": ""}, ["keda"]),
        ({"keda": "", "prometheus": ""}, []),
    ],
)
def test_a_healthy_cluster_is_given_what_it_lacks(
    there: Mapping[str, str],
    lacking: list[str],
    installs: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stacks, "installed", lambda _: there)
    clusters.up("mine", progress=NoProgress(), stacks=["keda", "prometheus", "keda"])
    assert installs == lacking


def test_a_cluster_that_is_asked_for_no_stack_is_not_even_looked_at(
    installs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "installed", lambda _: pytest.fail("it was looked at"))
    clusters.up("mine", progress=NoProgress())
    assert installs == []


def test_the_command_takes_stacks_with_commas_between_them(
    installs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "installed", lambda _: {})
    words = ["up", "--name", "mine", "--with", "prometheus, keda"]
    assert CliRunner().invoke(command.cluster, words).exit_code == 0
    assert installs == ["prometheus", "keda"]


def test_status_says_which_stacks_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"keda": "", "prometheus": "not ready: prometheus-prometheus"}
    found = clusters.ClusterStatus(
        "mine", running=True, nodes={}, problem="", cluster=CLUSTER, stacks=there
    )
    monkeypatch.setattr(clusters, "status", lambda _: found)
    said = CliRunner().invoke(command.cluster, ["status", "--name", "mine"]).output
    assert "with keda: Ready\n" in said
    assert "with prometheus: not ready: prometheus-prometheus\n" in said


def workload(name: str, ready: int) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"drainproof.dev/stack": "keda"}},
        "spec": {"replicas": 1},
        "status": {"readyReplicas": ready} if ready else {},
    }


def namespace(recipe: str | None) -> dict[str, Any]:
    mark = {"drainproof.dev/recipe": recipe} if recipe else {}
    labels = {"drainproof.dev/stack": "keda", **mark}
    return {"kind": "Namespace", "metadata": {"name": "keda", "labels": labels}}


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], {}),
        ([namespace("today's"), workload("operator", 1)], {"keda": ""}),
        ([namespace("today's"), workload("operator", 0)], {"keda": "not ready: operator"}),
        ([namespace("old")], {"keda": "it was installed from another recipe"}),
        ([namespace(None)], {"keda": "it was never installed to the end"}),
        ([workload("operator", 1)], {"keda": "it was never installed to the end"}),
    ],
)
def test_a_stack_is_there_if_it_was_installed_to_the_end_from_todays_recipe_and_is_ready(
    items: list[dict[str, Any]], said: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = subprocess.CompletedProcess([], 0, json.dumps({"items": items}), "")
    made = artefacts.Artefact("stack", {}, lambda _: None, estimate_s=1, _key=["today's"])
    monkeypatch.setattr(clusters.Cluster, "run", lambda *_, **__: answer)
    monkeypatch.setattr(stacks, "artefact", lambda _: made)
    assert stacks.installed(CLUSTER) == said


def test_an_api_that_does_not_answer_has_no_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = subprocess.CompletedProcess([], 1, "", "connection refused")
    monkeypatch.setattr(clusters.Cluster, "run", lambda *_, **__: refused)
    assert stacks.installed(CLUSTER) == {}


def test_kinds_are_parted_from_what_is_of_these_kinds() -> None:
    kind = "kind: CustomResourceDefinition\nmetadata:\n  name: scaledobjects.keda.sh\n"
    other = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: keda\n"
    text = f"apiVersion: apiextensions.k8s.io/v1\n{kind}---\n{other}---\n{kind}"
    kinds, others = (list(yaml.safe_load_all(part)) for part in stacks.split(text))
    assert [one["kind"] for one in kinds] == ["CustomResourceDefinition"] * 2
    assert [one["kind"] for one in others] == ["Namespace"]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_a_modules_lock_is_beside_it(module: stacks.Module) -> None:
    version = required_version(module.home, module.path)
    assert f"{module.path} {version} h1:" in (module.home / "go.sum").read_text()


def test_prometheus_says_its_own_version_not_its_modules() -> None:
    (server,) = (module for module in MODULES if module.name == "prometheus")
    assert server.version.startswith("3.")


@pytest.mark.parametrize("stack", stacks.STACKS.values(), ids=lambda stack: stack.name)
def test_a_kustomization_is_yaml_once_its_placeholders_are_filled_in(stack: stacks.Stack) -> None:
    known = {"IMAGE": "drainproof/it", "TAG": "1", "PROMETHEUS_VERSION": "v3.0.0"}
    files = sorted(stack.folder.glob("*.yaml"))
    documents = [
        yaml.safe_load(string.Template(one.read_text()).substitute(known)) for one in files
    ]
    assert "Kustomization" in [one["kind"] for one in documents]
