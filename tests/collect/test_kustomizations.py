from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.collect import files
from drainproof.collect.lines import Lines
from tests.collect.trees import DEPLOYMENT, SCALED_OBJECT, chart, said, write

if TYPE_CHECKING:
    from pathlib import Path

with_kustomize = pytest.mark.usefixtures("kustomize")

REPLICAS = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: llama, namespace: inference}
spec: {replicas: 7}
"""
TREE = {
    "base/kustomization.yaml": "resources: [vllm.yaml]\n",
    "base/vllm.yaml": DEPLOYMENT,
    "overlays/prod/kustomization.yaml": (
        "resources: [../../base, scaler.yaml]\nnamePrefix: prod-\n"
        "patches: [{path: replicas.yaml}]\n"
    ),
    "overlays/prod/scaler.yaml": SCALED_OBJECT,
    "overlays/prod/replicas.yaml": REPLICAS,
}


@with_kustomize
def test_an_overlay_is_built_and_its_base_is_not_read_twice(tmp_path: Path) -> None:
    snapshot = files.read([write(tmp_path, TREE)])
    assert [(found.name, found.replicas) for found in snapshot.workloads] == [("prod-llama", 7)]
    assert (snapshot.problems, snapshot.fragments, snapshot.files) == ((), 0, 1)
    assert len(snapshot.scalers_for(snapshot.workloads[0])) == 0


@with_kustomize
def test_a_base_that_is_named_beside_its_overlay_is_not_read_twice(tmp_path: Path) -> None:
    write(tmp_path, TREE)
    paths = [tmp_path / name for name in ("base", "base/vllm.yaml", "overlays/prod")]
    assert len(files.read(paths).workloads) == 1


@with_kustomize
def test_a_base_alone_is_built(tmp_path: Path) -> None:
    write(tmp_path, TREE)
    assert [found.name for found in files.read([tmp_path / "base"]).workloads] == ["llama"]


@with_kustomize
def test_every_overlay_of_a_base_is_built(tmp_path: Path) -> None:
    dev = "resources: [../../base]\nnamespace: dev\n"
    write(tmp_path, {**TREE, "overlays/dev/kustomization.yml": dev})
    assert [found.ref for found in files.read([tmp_path]).workloads] == [
        "Deployment/dev/llama",
        "Deployment/inference/prod-llama",
    ]


@with_kustomize
def test_a_built_object_names_the_file_it_was_first_written_in_and_no_line(tmp_path: Path) -> None:
    (workload,) = files.read([write(tmp_path, TREE)]).workloads
    assert workload.file == str(tmp_path / "base/vllm.yaml")
    assert workload.origin is not None
    assert Lines().find([(workload.origin, "spec.replicas")]) == [0]


@with_kustomize
def test_where_two_files_could_have_made_an_object_the_folder_is_named(tmp_path: Path) -> None:
    other = DEPLOYMENT.replace("namespace: inference", "namespace: other")
    write(
        tmp_path,
        {
            "kustomization.yaml": "resources: [a.yaml, b.yaml]\n",
            "a.yaml": DEPLOYMENT,
            "b.yaml": other,
        },
    )
    assert {found.file for found in files.read([tmp_path]).workloads} == {str(tmp_path)}


@with_kustomize
def test_what_a_kustomization_does_not_name_is_read_by_itself(tmp_path: Path) -> None:
    write(tmp_path, {**TREE, "overlays/prod/own.yaml": DEPLOYMENT})
    assert [found.name for found in files.read([tmp_path]).workloads] == ["prod-llama", "llama"]


@with_kustomize
def test_a_component_is_nothing_by_itself(tmp_path: Path) -> None:
    component = (
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches: [{path: p.yaml}]\n"
    )
    write(
        tmp_path,
        {
            **TREE,
            "components/x/kustomization.yaml": component,
            "components/x/p.yaml": REPLICAS,
        },
    )
    snapshot = files.read([tmp_path])
    assert (len(snapshot.workloads), snapshot.fragments, snapshot.problems) == (1, 0, ())


@with_kustomize
def test_a_file_of_that_name_that_is_another_tools_is_a_manifest(tmp_path: Path) -> None:
    flux = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nspec: {path: ./x}\n"
    write(tmp_path, {"kustomization.yaml": flux, "a.yaml": DEPLOYMENT})
    snapshot = files.read([tmp_path])
    assert (len(snapshot.items), snapshot.problems) == (2, ())


@with_kustomize
def test_a_kustomization_may_be_named_by_its_file(tmp_path: Path) -> None:
    write(tmp_path, TREE)
    assert len(files.read([tmp_path / "overlays/prod/kustomization.yaml"]).workloads) == 1


REMOTE = [
    "https://raw.githubusercontent.com/x/y/main/a.yaml",
    "https://me:secret@example.com/x.git//base?ref=v1",
    "github.com/x/y//base?ref=v1",
    "git@example.com:x/y.git",
    "ssh://git@example.com/x/y",
    "example.com/x/y.git",
    "http://127.0.0.1:1/x.yaml",
]


@with_kustomize
@pytest.mark.parametrize("key", ["resources", "components", "patchesStrategicMerge", "crds"])
@pytest.mark.parametrize("entry", REMOTE)
def test_a_remote_base_is_refused_with_its_line_and_not_fetched(
    tmp_path: Path, key: str, entry: str
) -> None:
    write(
        tmp_path,
        {
            "x/kustomization.yaml": f"namePrefix: a-\n{key}:\n- {entry}\n",
            "own.yaml": DEPLOYMENT,
        },
    )
    snapshot = files.read([tmp_path])
    (found,) = said(snapshot, tmp_path)
    assert found.startswith(f"x/kustomization.yaml:3: {key} names ")
    assert found.endswith("which is not in this folder and is not fetched")
    assert "secret" not in found
    assert len(snapshot.workloads) == 1


@with_kustomize
def test_a_remote_base_of_a_base_is_refused(tmp_path: Path) -> None:
    tree = {
        **TREE,
        "base/kustomization.yaml": "resources: [vllm.yaml, 'https://x.example/a.yaml']\n",
    }
    (found,) = said(files.read([write(tmp_path, tree)]), tmp_path)
    assert found.startswith("overlays/prod/../../base/kustomization.yaml:1: resources names ")


@with_kustomize
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("resources: [gone.yaml]\n", "resources names gone.yaml, and there is no such file"),
        ("resources: [\n", "not YAML: "),
        ("resources: [a.yaml]\nresources: [a.yaml]\n", 'not YAML: the key "resources" is there'),
        ("nonsense: true\n", "the kustomization does not build: "),
        ("resources: [a.yaml]\npatches: [{path: gone.yaml}]\n", "the kustomization does not build"),
        (
            "helmCharts: [{name: x, repo: 'http://127.0.0.1:1'}]\n",
            "the kustomization does not build",
        ),
        ("resources: two\n", "the kustomization does not build"),
    ],
)
def test_a_kustomization_that_does_not_build_is_named_and_the_rest_is_read(
    tmp_path: Path, text: str, problem: str
) -> None:
    write(
        tmp_path, {"x/kustomization.yaml": text, "x/a.yaml": DEPLOYMENT, "own.yaml": SCALED_OBJECT}
    )
    snapshot = files.read([tmp_path])
    (found,) = said(snapshot, tmp_path)
    assert found.startswith("x/kustomization.yaml")
    assert problem in found
    assert len(snapshot.items) >= 1


@with_kustomize
@pytest.mark.parametrize(
    "reads",
    [
        "configMapGenerator: [{name: x, files: [../secret.txt]}]\n",
        "configMapGenerator: [{name: x, files: [link.txt]}]\n",
        "resources: [link.txt]\n",
    ],
)
def test_a_kustomization_cannot_read_outside_of_its_folder(tmp_path: Path, reads: str) -> None:
    write(tmp_path, {"secret.txt": "hidden-in-a-file", "x/kustomization.yaml": reads})
    (tmp_path / "x/link.txt").symlink_to(tmp_path / "secret.txt")
    snapshot = files.read([tmp_path / "x"])
    (found,) = said(snapshot, tmp_path)
    assert "is not in or below" in found
    assert "hidden-in-a-file" not in found


@with_kustomize
@pytest.mark.parametrize("runs", ["exec: {path: ./run.sh}", "container: {image: example/x}"])
def test_a_kustomization_cannot_run_programs(tmp_path: Path, runs: str) -> None:
    write(
        tmp_path,
        {
            "kustomization.yaml": "resources: [a.yaml]\ntransformers: [t.yaml]\n",
            "a.yaml": DEPLOYMENT,
            "t.yaml": (
                "apiVersion: example.com/v1\nkind: Run\nmetadata:\n  name: x\n  annotations:\n"
                f"    config.kubernetes.io/function: |\n      {runs}\n"
            ),
            "run.sh": f"#!/bin/sh\ntouch {tmp_path}/it-ran\n",
        },
    )
    (tmp_path / "run.sh").chmod(0o755)
    assert len(files.read([tmp_path]).problems) == 1
    assert not (tmp_path / "it-ran").exists()


@with_kustomize
def test_kustomizations_that_include_each_other_are_refused(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a/kustomization.yaml": "resources: [../b]\n",
            "b/kustomization.yaml": "resources: [../a]\n",
        },
    )
    snapshot = files.read([tmp_path])
    assert snapshot.problems != ()
    assert all("does not build" in problem.message for problem in snapshot.problems)


@pytest.mark.usefixtures("no_tools")
def test_without_kubectl_the_rest_is_read_and_it_is_said_what_to_install(tmp_path: Path) -> None:
    write(tmp_path, {**TREE, "own.yaml": DEPLOYMENT})
    snapshot = files.read([tmp_path])
    (problem,) = snapshot.problems
    assert "neither kubectl nor kustomize is on the PATH" in problem.message
    assert "Install kubectl" in problem.hint
    assert len(snapshot.workloads) == 1


@pytest.mark.usefixtures("both_tools")
def test_a_tree_may_hold_charts_and_kustomizations(tmp_path: Path) -> None:
    write(tmp_path, {**TREE, "own.yaml": DEPLOYMENT})
    chart(tmp_path / "charts/llama")
    assert len(files.read([tmp_path]).workloads) == 3


def test_kubectl_is_asked_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    says = 'echo "{apiVersion: v1, kind: ConfigMap, metadata: {name: $1, folder: $2}}"'
    program = write(tmp_path, {"bin/kubectl": f"#!/bin/sh\n{says}\n"}) / "bin/kubectl"
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    write(tmp_path / "x", {"kustomization.yaml": "resources: []\n"})
    (item,) = files.read([tmp_path / "x"]).items
    assert item.object["metadata"] == {"name": "kustomize", "folder": str(tmp_path / "x")}
