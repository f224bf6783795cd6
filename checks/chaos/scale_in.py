"""Replicas return to the fewest when the load is gone, as slowly as declared, and drop no stream.

What it checks
    After a crowd that made replicas rise has gone, their number returns to the autoscaler's
    minimum: no earlier than its scale-down window says, no faster than its policies allow, and in
    the time that both take. Streams in flight on the pods that go come to their end, whole.

Why
    A replica that goes at the first quiet moment is missed at the next loud one, and its model
    takes minutes to load again. One that never goes costs a GPU. And each that goes has streams in
    flight, which no autoscaler knows of.

Fix
    The finding begins with the link that broke. For streams that were cut, do what
    ``engine-drains``, ``grace-period`` and ``prestop-delay`` say; for the tempo, ``scaling-tempo``.

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


@check("DP913", severity=Severity.ERROR)
def scale_in_keeps_its_tempo_and_drops_no_stream(run: ChaosVerdict) -> Iterator[Finding]:
    """Yield what a scale-in did too early, too fast or not at all, and what it cost."""
    yield from run.findings("scale-in")
