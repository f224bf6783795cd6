"""A pod whose readiness flaps drops no stream and fails no request.

What it checks
    While one pod leaves the Service and comes back, its engine running on, under a steady load of
    streams, each stream on it comes to its end, whole, and each new request is served by others.

Why
    A slow answer to a probe under load takes a pod out of the Service for some seconds. Streams
    that it has must not end for it, which a proxy or a mesh that closes connections may do.

Fix
    Look at what stands between users and pods: connection draining of the proxy or the mesh; and at
    ``probe-timeouts`` and ``enough-replicas``.

Source
    Kubernetes removes an endpoint that isn't ready, and leaves its connections alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.model.finding import Finding


@check("DP908", severity=Severity.ERROR)
def readiness_flap_drops_no_stream(run: ChaosVerdict) -> Iterator[Finding]:
    """Yield what a flap of readiness cost, or why it can't be said."""
    yield from run.findings("readiness-flap")
