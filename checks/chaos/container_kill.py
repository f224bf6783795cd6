"""A killed engine costs its own streams only, and users can see it.

What it checks
    When the engine's process in one pod dies at once, only streams on that pod are lost, each with
    an error that its client can see, and new requests are served again within the stated time.

Why
    Engines crash and run out of memory. What is on them is lost; an answer that looks whole and is
    not, or other pods' streams, or minutes of failed new requests, need not be.

Fix
    Have more than one replica (``enough-replicas``), a readiness probe that sees a dead engine
    (``readiness-probe``), and clients that check ``finish_reason``.

Source
    The kubelet sees a container's death within 3 s, and its endpoint goes with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.model.finding import Finding


@check("DP909", severity=Severity.ERROR)
def container_kill_costs_only_its_own_streams(run: ChaosVerdict) -> Iterator[Finding]:
    """Yield what a killed engine cost, or why it can't be said."""
    yield from run.findings("container-kill")
