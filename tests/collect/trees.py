"""Writes trees of files for the tests of what reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from tests.manifests import deployment, scaled_object

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.model.snapshot import Snapshot

DEPLOYMENT = yaml.safe_dump(deployment())
SCALED_OBJECT = yaml.safe_dump(scaled_object())
CHART = "apiVersion: v2\nname: llama\nversion: 0.1.0\n"


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write files, by their path in the folder; return the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def chart(folder: Path, **more: str) -> Path:
    """Write a chart with one deployment, whose replicas are a value; return its folder."""
    template = DEPLOYMENT.replace("replicas: 2", "replicas: {{ .Values.replicas }}")
    assert template != DEPLOYMENT
    return write(
        folder,
        {
            "Chart.yaml": CHART,
            "values.yaml": "replicas: 3\n",
            "templates/vllm.yaml": template,
            **more,
        },
    )


def said(snapshot: Snapshot, folder: Path) -> list[str]:
    """Return the problems of a Snapshot as users read them, paths from a folder on."""
    return [str(problem).replace(f"{folder}/", "") for problem in snapshot.problems]
