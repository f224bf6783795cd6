"""No key or token stands in a manifest.

What it checks
    Nothing in the workload (arguments, commands, hooks, variables, probes' headers, annotations),
    nor in the ConfigMaps that its containers read, looks like a key or a token: Hugging Face
    (``hf_…``), OpenAI and its like (``sk-…``), AWS (``AKIA…``), NVIDIA (``nvapi-…``), Google,
    GitHub, GitLab, Slack, a bearer token, a private key, a password in a URL, in an image's name,
    in a header (``Basic …``) or for ``curl -u``, a key in a header. What was found is never shown.

Why
    Everyone who may read the repository, its history, or the namespace's pods has that key. With
    it they read gated models, spend on your account, or use your engine past every limit.

Fix
    Revoke the key, put a new one into a Secret, and refer to it by ``secretKeyRef``. Only deleting
    the line leaves the key in the repository's history.

Source
    Kubernetes' good practices for Secrets; the forms are those that the issuers document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model.secrets import may_hold_one, secrets_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.model.finding import Finding, Located
    from drainproof.model.workload import Workload


@check(
    "DP504",
    severity=Severity.ERROR,
    admission="what ConfigMaps that its containers read hold",
)
def no_secret_is_written(workload: Workload, config_maps: Sequence[Located]) -> Iterator[Finding]:
    """Yield where a key or a token stands; never the key itself."""
    for place in (workload, *config_maps):
        if place is workload and not _may_hold_one(workload):
            continue
        for path, form in secrets_in(place.object):
            yield place.finding(
                path,
                f"{form} stands here in plain text: whoever may read the repository or the "
                f"{'ConfigMap' if place.kind == 'ConfigMap' else 'pods'} can use it",
            )


def _may_hold_one(workload: Workload) -> bool:
    """Tell quickly whether anything in a workload looks like one; false is certain."""
    if workload.pod_path != "spec.template.spec" or workload.filled or workload.once(_pods_may):
        return True
    spec = workload.object["spec"]
    template = {**spec["template"], "spec": None}
    return may_hold_one({**workload.object, "spec": {**spec, "template": template}})


def _pods_may(workload: Workload) -> bool:
    return may_hold_one(workload.pod_spec)
