"""Nothing on the way to the engine ends a stream before it is whole.

What it checks
    What routes requests to the workload's Service lets an answer last: Ingress (ingress-nginx,
    NGINX, ALB, Google's and Azure's load balancers, HAProxy, Contour), HTTPRoute and the policies
    of Envoy Gateway and GKE, AIGatewayRoute, VirtualService and DestinationRule, OpenShift's Route,
    HTTPProxy, Knative's and KServe's own timeouts. A timeout of the whole answer is at least 120 s
    (60 s in the profiles module and dev), and so, as a warning, is one of the silence between two
    parts. So is the time that an ALB or Google's load balancer lets a pod drain, where it is
    written (``deregistration_delay.timeout_seconds``, ``connectionDraining``). None of them buffers
    answers. Where a route says nothing, its proxy's default counts. A duration that the API server
    does not take (Gateway API's: ``600``, ``1.5m``) fails.

Why
    A proxy knows nothing of tokens. Envoy Gateway's default ends every answer after 15 s, Google's
    load balancer after 30 s: HTTP 200, half an answer, and a closed connection. nginx gives up
    after 60 s without a byte, which a request that waits in the engine's queue reaches. A proxy
    that buffers delivers the whole answer at its end, and the first token never comes early.

Fix
    Set the timeout to 600 s, or to none where the gateway has another for idle streams, and turn
    response buffering off.

Source
    Module 1.5: an answer of 2,000 tokens takes 30 to 60 s. The defaults are those that the proxies
    document; that Envoy Gateway's cuts streams in the middle is in its issue 1169.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import routes
from drainproof.model.limits import Buffered, Draining, Refused, Unseen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.finding import Finding
    from drainproof.model.limits import Limit
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload


@check("DP603", severity=Severity.ERROR, admission="it joins Services, routes and gateways")
def timeouts_outlast_a_stream(
    workload: Workload, snapshot: Snapshot, profile: Profile
) -> Iterator[Finding]:
    """Yield what ends an answer too early, or holds it back."""
    if not workload.serves:
        return
    for found in routes.found_for(snapshot, workload):
        if isinstance(found, Buffered):
            yield found.where.finding(
                found.path,
                f"{found.by} collects answers of {workload.ref} before it passes them on"
                f"{'' if found.written else ' (its default)'}: users wait for the last token to "
                "see the first",
                repair=found.repair,
            )
        elif isinstance(found, Draining):
            if found.seconds < profile.stream_s:
                yield found.where.finding(
                    found.path,
                    f"{found.by} closes the connections to a pod of {workload.ref} "
                    f"{found.seconds:g} s after it is taken away, whatever time its own shutdown "
                    f"gives its streams; expected at least {profile.stream_s} s",
                    repair=found.repair,
                )
        elif isinstance(found, Unseen):
            yield found.where.assumption(
                found.path,
                f"{found.what} is not in the input: this holds if its own timeouts outlast "
                f"{profile.stream_s} s",
            )
        elif isinstance(found, Refused):
            yield found.where.finding(
                found.path,
                f"the API server refuses {found.why}; so requests for {workload.ref} go as they "
                "did before, or nowhere",
                repair={found.path: f"{profile.stream_good_s}s"} if found.mended else None,
            )
        elif found.seconds < profile.stream_s:
            yield _too_short(found, workload, profile)


def _too_short(limit: Limit, workload: Workload, profile: Profile) -> Finding:
    after = f"{limit.seconds:g} s{'' if limit.written else ' (its default)'}"
    if limit.whole:
        message = (
            f"{limit.by} ends every answer of {workload.ref} after {after}, so longer streams are "
            f"cut off in the middle; expected at least {profile.stream_s} s"
        )
    else:
        message = (
            f"{limit.by} gives up on {workload.ref} after {after} without a byte, so requests that "
            "wait in the queue, and answers that are not streamed, fail; expected at least "
            f"{profile.stream_s} s"
        )
    harmless = not limit.whole and limit.seconds >= profile.drain_min_s
    return limit.where.finding(
        limit.path,
        message,
        Severity.WARNING if harmless else None,
        repair=limit.repaired(profile.stream_good_s),
    )
