"""The linters that drainproof is measured beside, built or installed once into the cache."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.audit import schemas
from drainproof.clusters import artefacts, golang
from drainproof.clusters.artefacts import Artefact
from drainproof.clusters.commands import run
from drainproof.policies.kyverno import built

if TYPE_CHECKING:
    from drainproof.progress import Progress

HERE = Path(__file__).parent / "peers"
_LOCK = HERE / "checkov" / "requirements.lock"


def set_up(progress: Progress) -> dict[str, list[str]]:
    """Make all of them; return the command of each, to which the file's path is appended."""
    kube_score = _go("kube-score", "github.com/zegl/kube-score/cmd/kube-score", 60)
    kubeconform = _go("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform", 30)
    kyverno = built()
    checkov, schema = _checkov(), schemas.schemas()
    artefacts.ensure([kube_score, kubeconform, schema, checkov, kyverno], progress)
    return {
        "kube-score": [str(kube_score.path / "kube-score"), "score", "-o", "ci"],
        "kubeconform": [
            str(kubeconform.path / "kubeconform"),
            "-schema-location",
            f"{schema.path}/{schemas.LOCATION}",
            "-summary",
        ],
        "kyverno": [
            str(kyverno.path / "kubectl-kyverno"),
            "apply",
            str(HERE / "kyverno" / "policies.yaml"),
            "--resource",
        ],
        "checkov": [
            str(checkov.path / "venv" / "bin" / "python"),
            *("-m", "checkov.main", "--framework", "kubernetes", "--compact", "--quiet"),
            *("--skip-download", "--file"),
        ],
    }


def _go(name: str, package: str, estimate_s: float) -> Artefact:
    return golang.go_binary(HERE / name, package, name=name, estimate_s=estimate_s)


def _checkov() -> Artefact:
    def build(into: Path) -> None:
        uv = Path(sys.executable).with_name("uv")
        venv = into / "venv"
        run([uv, "venv", "--quiet", "--python", sys.executable, venv])
        python = venv / "bin" / "python"
        run([uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, _LOCK])

    return Artefact(
        name="checkov",
        inputs={"lock": _LOCK, "python": sys.version},
        build=build,
        estimate_s=60,
    )
