"""The versions that the embedded cluster is built from, read from the files that state them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache, partial

from drainproof.clusters.golang import required_version
from drainproof.content import content


@dataclass(frozen=True, slots=True)
class Versions:
    """What the cluster is made of; see ``fixtures/clusters/versions.toml`` and ``go.mod``."""

    suite: str
    component: str
    system_packages: tuple[str, ...]
    pod_packages: tuple[str, ...]
    python_image: str
    local_path_image: str
    metrics_server_image: str
    kubernetes: str
    """Such as ``v1.34.4``."""
    kind: str
    go: str
    """The least Go version that can build it, such as ``1.24.0``."""


@cache
def versions() -> Versions:
    """Read the versions; they do not change while the program runs."""
    recipe = content("fixtures/clusters")
    stated = tomllib.loads((recipe / "versions.toml").read_text())
    module = (recipe / "go.mod").read_text()
    required = partial(required_version, recipe)
    go = re.search(r"^go (\S+)", module, re.MULTILINE)
    debian, images = stated["debian"], stated["images"]
    return Versions(
        suite=debian["suite"],
        component=debian["mirror_component"],
        system_packages=tuple(debian["system"]),
        pod_packages=tuple(debian["pods"]),
        python_image=images["python"],
        local_path_image=(
            f"{images['local_path_provisioner']}:"
            f"{required('github.com/rancher/local-path-provisioner')}"
        ),
        metrics_server_image=(
            f"{images['metrics_server']}:{required('sigs.k8s.io/metrics-server')}"
        ),
        kubernetes=required("k8s.io/kubernetes"),
        kind=required("sigs.k8s.io/kind"),
        go=go[1] if go else "1.24",
    )
