"""No key or token stands in a manifest.

What it checks
    Nothing in the workload (arguments, commands, variables, probes' headers, annotations), nor in
    the ConfigMaps that its containers read, looks like a key or a token: Hugging Face (``hf_…``),
    OpenAI and its like (``sk-…``), AWS (``AKIA…``), NVIDIA (``nvapi-…``), Google, GitHub, GitLab,
    Slack, a bearer token, a private key, a password in a URL. What was found is never shown.

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
from drainproof.model.secrets import secrets_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.model.finding import Finding, Located
    from drainproof.model.workload import Workload


@check("DP504", severity=Severity.ERROR)
def no_secret_is_written(workload: Workload, config_maps: Sequence[Located]) -> Iterator[Finding]:
    """Yield where a key or a token stands; never the key itself."""
    for place in (workload, *config_maps):
        for path, form in secrets_in(place.object):
            yield place.finding(
                path,
                f"{form} stands here in plain text: whoever may read the repository or the "
                f"{'ConfigMap' if place.kind == 'ConfigMap' else 'pods'} can use it",
            )
