"""A scale-up fails no request.

What it checks
    While one replica is added under a steady load of streams, each stream comes to its end, whole,
    and each new request is served, those that reach the new pod included.

Why
    A pod that says that it is ready before its model is loaded gets its share of requests at once,
    and fails them: just when load is so high that another replica was asked for.

Fix
    Do what ``readiness-probe`` and ``startup-budget`` say: let the probe ask for what only a loaded
    model answers.

Source
    Module 1.5, "Probes"; new pods join a Service as soon as their readiness probe passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.model.finding import Finding


@check("DP903", severity=Severity.ERROR)
def scale_up_fails_no_request(run: ChaosVerdict) -> Iterator[Finding]:
    """Yield what a scale-up cost, or why it can't be said."""
    yield from run.findings("scale-up")
