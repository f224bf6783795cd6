"""The recipe is of one piece: versions agree, and manifests name images that are there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from drainproof.clusters import ENGINES_MOUNT, kind, recipe
from drainproof.clusters.versions import versions


def test_every_part_of_kubernetes_has_the_version_of_the_whole() -> None:
    module = (recipe.folder() / "go.mod").read_text()
    parts = re.findall(r"^\s*k8s\.io/\S+ => k8s\.io/\S+ (v\S+)$", module, re.MULTILINE)
    assert len(parts) > 20
    assert {part.replace("v0.", "v1.") for part in parts} == {versions().kubernetes}


def test_the_lock_of_the_go_module_is_beside_it() -> None:
    lock = (recipe.folder() / "go.sum").read_text()
    assert f"k8s.io/kubernetes {versions().kubernetes} h1:" in lock


@pytest.mark.parametrize(
    "name", ["default-cni.yaml", "default-storage.yaml", "metrics-server.yaml"]
)
def test_a_manifest_has_no_placeholder_left(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "image_name", lambda program: f"registry.test/{program}:v1")
    text = recipe.manifest(name)
    assert "${" not in text
    images = re.findall(r"image: (\S+)", text)
    known = {
        "registry.test/kube-proxy:v1",
        versions().python_image,
        versions().local_path_image,
        versions().metrics_server_image,
    }
    assert images
    assert set(images) <= known


def test_the_cluster_has_a_worker_and_a_control_plane_that_takes_pods(tmp_path: Path) -> None:
    config = yaml.safe_load(kind.configuration(tmp_path))
    assert [node["role"] for node in config["nodes"]] == ["control-plane", "worker"]
    patches = [yaml.safe_load(patch) for patch in config["kubeadmConfigPatches"]]
    assert [
        patch["nodeRegistration"]["taints"] for patch in patches if "nodeRegistration" in patch
    ] == [[]]


def test_both_nodes_see_the_engines_and_can_not_change_them(tmp_path: Path) -> None:
    config = yaml.safe_load(kind.configuration(tmp_path))
    mount = {"hostPath": str(tmp_path), "containerPath": ENGINES_MOUNT, "readOnly": True}
    assert [node["extraMounts"] for node in config["nodes"]] == [[mount], [mount]]


SCRIPTS = sorted(recipe.folder().glob("*.sh"))


def test_the_recipes_scripts_are_found() -> None:
    assert {"on-root.sh", "engine.sh", "preload.sh", "store.sh"} <= {one.name for one in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_valid_shell(script: Path) -> None:
    done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_recipe_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (Path(recipe.folder()) / "versions.toml").is_file()
