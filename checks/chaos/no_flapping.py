"""A load that swings around the threshold changes replicas no more often than is declared.

What it checks
    While a crowd comes and goes, so that the queue swings around the autoscaler's threshold, the
    number of replicas changes no more often than the declared policy does with such a queue: its
    windows, its policies, its bounds. No stream is dropped meanwhile, and no request fails.

Why
    Each change stops an engine or starts one that loads for minutes. Two autoscalers of one
    Deployment, or a person beside one, undo what the other does, again and again.

Fix
    Do what ``one-scaler`` and ``scaling-tempo`` say: one autoscaler, and a scale-down window that
    outlasts a cold start.

Source
    Module 1.5, "Queue-Based Autoscaling"; ``behavior`` of autoscaling/v2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.model.finding import Finding


@check("DP914", severity=Severity.ERROR)
def swings_change_replicas_no_more_than_declared(run: ChaosVerdict) -> Iterator[Finding]:
    """Yield what changed more often than is declared, or why it can't be said."""
    yield from run.findings("no-flapping")
