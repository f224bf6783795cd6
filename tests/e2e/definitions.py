"""Definitions of custom resources, from the Go modules of those who define them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from drainproof.clusters import golang
from drainproof.content import content

if TYPE_CHECKING:
    from pathlib import Path

KYVERNO = content("fixtures") / "tools" / "kyverno"
"""The module that pins Kyverno, which installs the definition of PolicyReports."""


@cache
def policy_report_crd() -> Path:
    """Return the file that defines PolicyReports; it is downloaded if need be."""
    kyverno = golang.module_folder(KYVERNO, "github.com/kyverno/kyverno")
    return kyverno / "config" / "crds" / "policyreport" / "wgpolicyk8s.io_policyreports.yaml"


@cache
def kyverno_crds() -> tuple[Path, ...]:
    """Return the files that define Kyverno's policies and exceptions; downloaded if need be."""
    kyverno = golang.module_folder(KYVERNO, "github.com/kyverno/kyverno")
    folder = kyverno / "config" / "crds" / "policies.kyverno.io"
    kinds = (
        "validatingpolicies",
        "mutatingpolicies",
        "imagevalidatingpolicies",
        "policyexceptions",
    )
    return tuple(folder / f"policies.kyverno.io_{kind}.yaml" for kind in kinds)
