from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.collect import files
from tests.collect.trees import DEPLOYMENT, SCALED_OBJECT, chart, write

if TYPE_CHECKING:
    from pathlib import Path

OVERLAY = {
    "base/kustomization.yaml": "resources: [vllm.yaml, scaler.yaml]\n",
    "base/vllm.yaml": DEPLOYMENT,
    "base/scaler.yaml": SCALED_OBJECT,
    "dev/kustomization.yaml": "resources: [../base]\n",
    "prod/kustomization.yaml": "resources: [../base]\n",
}


def scalers(folder: Path) -> list[int]:
    snapshot = files.read([folder])
    return [len(snapshot.scalers_for(workload)) for workload in snapshot.workloads]


@pytest.mark.usefixtures("kustomize")
def test_overlays_of_one_base_are_not_joined(tmp_path: Path) -> None:
    assert scalers(write(tmp_path, OVERLAY)) == [1, 1]


@pytest.mark.usefixtures("kustomize")
def test_what_is_in_no_overlay_goes_with_each(tmp_path: Path) -> None:
    more = {"shared/scaler.yaml": SCALED_OBJECT.replace("name: llama\n", "name: other\n", 1)}
    assert scalers(write(tmp_path, {**OVERLAY, **more})) == [2, 2]


def test_folders_with_the_same_workload_are_not_joined(tmp_path: Path) -> None:
    both = {"vllm.yaml": DEPLOYMENT, "scaler.yaml": SCALED_OBJECT}
    for name in ("dev", "prod"):
        write(tmp_path / name, both)
    assert scalers(tmp_path) == [1, 1]


def test_folders_that_share_no_workload_are_joined(tmp_path: Path) -> None:
    write(tmp_path, {"apps/vllm.yaml": DEPLOYMENT, "scaling/scaler.yaml": SCALED_OBJECT})
    assert scalers(tmp_path) == [1]


@pytest.mark.usefixtures("helm")
def test_a_chart_and_its_scaler_beside_it_are_joined(tmp_path: Path) -> None:
    chart(tmp_path / "chart")
    assert scalers(write(tmp_path, {"scaler.yaml": SCALED_OBJECT})) == [1]


def test_a_workload_that_is_twice_in_a_folder_is_joined(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": DEPLOYMENT, "b.yaml": DEPLOYMENT, "s.yaml": SCALED_OBJECT})
    assert scalers(tmp_path) == [1, 1]
