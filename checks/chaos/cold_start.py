"""A new replica loads within its probe's budget, and the autoscaler asks for it early enough.

What it checks
    One replica is added while the autoscalers are held, and its way is split: scheduling, image,
    load, readiness, first token. Its load takes at most 80 % of what the probe allows that would
    kill it. And the autoscaler's threshold is early enough: with the queue's growth, the reaction
    time that is declared and this cold start, the last request that waits when the replica serves
    waits for no more than 30 s (``wait``). No stream is dropped meanwhile, and no request fails.

Why
    A queue goes on growing while a replica loads. A team's new replicas took 7 minutes, and its
    users waited for 45 s and saw timeouts; a lower threshold gained seconds, a load of 90 s made
    the difference. And a probe whose budget is shorter than the load kills the engine again and
    again, so that the replica never serves at all.

Fix
    Look at the longest part first. Image: pull it before it is needed, and keep the model on a
    volume. Load: a faster disk, and compiled graphs that are kept. Readiness: a startup probe, and
    no ``initialDelaySeconds``. Then set the threshold that the finding names, or keep a replica to
    spare. The probe's budget should be twice the load.

Source
    Module 1.5, "War Story"; Little's law; ``docs/chaos.md`` has the formula.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.model.finding import Finding


@check("DP916", severity=Severity.ERROR)
def cold_start_is_early_enough(run: ChaosVerdict) -> Iterator[Finding]:
    """Yield what kills a replica that loads or asks for it too late, or why it can't be said."""
    yield from run.findings("cold-start")
