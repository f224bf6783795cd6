"""KEDA takes the autoscaler for active when its query says so.

What it checks
    A ScaledObject's condition ``Active`` against its Prometheus queries: over the time of two
    polls and 30 s, an answer that was always over ``activationThreshold`` (0 unless set) makes it
    ``True``, answers that never were make it ``False``. One that crossed it meanwhile is
    inconclusive, unless other triggers decide. While it is active, KEDA notes the time at each
    poll: if that is old, KEDA has stopped. Needs ``--prometheus``; the Prometheus is to be the one
    that the trigger names.

Why
    KEDA may be stopped, ask another Prometheus, or be refused by it, while its last status still
    looks well. At zero replicas nothing but ``Active`` brings the first one.

Fix
    Look at the operator (``kubectl -n keda get pods``, its log), and at the trigger's
    ``serverAddress`` and authentication.

Source
    KEDA's Prometheus scaler (active is ``value > activationThreshold``) and scale executor
    (``lastActiveTime``), read in 2.21. Module 1.5, "Scaling vLLM on Queue Depth".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import chain, shape
from drainproof.model.conditions import conditions_of, moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.model.conditions import Condition
    from drainproof.model.finding import Finding
    from drainproof.model.metrics import Metrics
    from drainproof.model.scaler import Scaler
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

_STOPPED_POLLS = 5
_STOPPED_S = 120
_FORCED = "autoscaling.keda.sh/force-activation"


@check("DP711", severity=Severity.ERROR)
def keda_is_active_as_its_query_says(
    workload: Workload, scalers: Sequence[Scaler], metrics: Metrics, snapshot: Snapshot
) -> Iterator[Finding]:
    """Yield ScaledObjects whose condition Active is not what their queries make it."""
    for scaler in scalers:
        if not scaler.of_keda or scaler.object is workload.object or scaler.paused_by:
            continue
        conditions = conditions_of(scaler.object)
        ready, active = conditions.get("Ready"), conditions.get("Active")
        if ready is None or ready.status != "True":
            continue  # scaler-is-ready says why
        if active is None or active.status not in {"True", "False"}:
            yield scaler.inconclusive(
                "status.conditions", "KEDA has not said yet whether a trigger is active"
            )
            continue
        stopped = _stopped(scaler, active, snapshot)
        if stopped:
            yield scaler.finding("status.lastActiveTime", chain.broken(chain.TO_KEDA, stopped))
            continue
        yield from _judged(scaler, active, metrics)


def _stopped(scaler: Scaler, active: Condition, snapshot: Snapshot) -> str:
    status = shape.mapping(scaler.object, "status", "")
    last = moment(status, "lastActiveTime", "status")
    if active.status != "True" or last is None:
        return ""
    ago = snapshot.taken_at - last
    if ago <= max(_STOPPED_S, _STOPPED_POLLS * (scaler.polling_s or 0)):
        return ""
    return (
        f"KEDA says that it is active, and last looked {ago:.0f} s ago, where it polls every "
        f"{scaler.polling_s} s: it has stopped, and replicas don't follow the load"
    )


def _judged(scaler: Scaler, active: Condition, metrics: Metrics) -> Iterator[Finding]:
    answers = metrics.chain.answers if metrics.chain else {}
    over, under, unsure = "", [], 0
    for trigger in scaler.triggers:
        answer, at = answers.get(trigger.promql), chain.activation_of(trigger)
        low, high = (None, None) if answer is None else (answer.low, answer.high)
        if answer is not None and answer.values == () and not answer.error and trigger.null_is_zero:
            low = high = 0.0
        if trigger.type != "prometheus" or at is None or low is None or high is None:
            unsure += 1
        elif low > at:
            over = over or f"{trigger.path} has said at least {low:g}, which is over {at:g},"
        elif high <= at:
            under.append(f"{high:g}")
        else:
            unsure += 1
    span = chain.span_of(scaler)
    if over:
        if active.status == "False":
            yield scaler.finding(
                active.path,
                chain.broken(
                    chain.TO_KEDA,
                    f"{over} for {span} s, and KEDA says that nothing is active ({active.said}): "
                    "it has stopped, or asks another Prometheus",
                ),
            )
    elif unsure:
        yield scaler.inconclusive(
            active.path,
            f"KEDA says Active {active.status}, and what {unsure} of {len(scaler.triggers)} "
            f"triggers said over the last {span} s does not tell whether that is so",
        )
    elif active.status == "True" and not _forced(scaler):
        yield scaler.finding(
            active.path,
            chain.broken(
                chain.TO_KEDA,
                f"its queries have said at most {' and '.join(under)} for {span} s, which is not "
                f"over their activation, and KEDA says that it is active ({active.said}): it has "
                "stopped, or asks another Prometheus",
            ),
        )


def _forced(scaler: Scaler) -> bool:
    metadata = shape.mapping(scaler.object, "metadata", "")
    return shape.string_map(metadata, "annotations", "metadata").get(_FORCED) == "true"
