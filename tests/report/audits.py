"""Audits of a deployment by a few checks, for reports to write."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import yaml

from drainproof.collect import files
from drainproof.judge import registry
from drainproof.judge.config import Audit, Config
from drainproof.report import write
from drainproof.report.rows import rows
from tests.manifests import Raw, deployment, scaled_object

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.audit import AuditResult

CHECKS = {check.slug: check for check in registry.load(kind="manifest").checks}
FEW = (
    "engine-drains",
    "prestop-delay",
    "startup-budget",
    "has-scaler",
    "scaling-signal",
)
TODAY = date(2026, 11, 24)
HOSTILE = (
    "x\x1b]0;owned\x07::error::y\n::set-output name=a::b ##[add-mask]z%0A::warning::w "
    "<script>alert(1)</script><img src=x onerror=alert(1)> | `code` **bold** [a](http://evil.test) "
    "@everyone #1 ]]> \u202e & \" '"
)
"""What would act on a terminal, a CI log, HTML, Markdown or XML that shows it as it is."""


def audited(path: Path, *objects: Raw, config: Config | None = None) -> AuditResult:
    """Return the audit of a file with these objects in it, by a few checks."""
    text = yaml.safe_dump_all(objects or (deployment(), scaled_object()))
    path.write_text(text, encoding="utf-8")
    audit = Audit(files.read([path]), config or Config(), today=TODAY)
    return audit.run([CHECKS[slug] for slug in FEW])


def report(form: str, result: AuditResult) -> str:
    """Return an audit in a format."""
    return write(result, rows(result), form)


def waived(**annotation: str) -> Raw:
    """Return a deployment that waives its missing preStop hook in an annotation."""
    values = {"reason": "short answers", "owner": "team-batch", "expires": "2027-01-31"}
    obj = deployment(lifecycle=None)
    obj["metadata"]["annotations"] = {
        "waive.drainproof.dev/prestop-delay": yaml.safe_dump({**values, **annotation})
    }
    return obj


def hostile() -> Raw:
    """Return a deployment whose every name that reports show would act if shown as it is."""
    obj = deployment(lifecycle={"preStop": {"exec": {"command": [HOSTILE]}}})
    obj["metadata"]["name"] = HOSTILE
    obj["metadata"]["namespace"] = HOSTILE
    obj["spec"]["template"]["spec"]["containers"][0]["image"] = f"vllm/vllm-openai:v0.32.0{HOSTILE}"
    return obj
