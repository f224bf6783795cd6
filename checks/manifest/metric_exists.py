"""The autoscaler's query has an answer, and the answer is about this workload.

What it checks
    Each trigger's PromQL is parsed. Each metric in it is one that the image's version of the engine
    exports, used as its kind wants (counters and buckets under ``rate``, gauges not). Filters on
    namespace, pod, container and model let the workload's own series through, and no other
    workload's. The answer is a single number: aggregated, with ``le`` kept for quantiles. What is
    per replica already (a mean, a quantile, a ratio) is not divided by the number of replicas
    again: it needs ``metricType: Value``.

Why
    A query without an answer counts as 0, and replicas go although users wait; one with several
    answers is an error, and the number of replicas freezes. With KEDA's default, ``AverageValue``,
    the answer divided by the threshold *is* the number of replicas: a mean queue of twice the
    threshold asks for 2 replicas, also of a deployment that already runs 5.

Fix
    Ask for what the image exports, summed over this workload's pods. For a mean or a latency set
    ``metricType: Value`` beside the trigger's ``type``.

Source
    Engines' metrics by version, compared release by release. KEDA's Prometheus scaler ("query must
    return a vector or scalar single element response"); Kubernetes' algorithm for ``Value`` and
    ``AverageValue``. The module's own queries of section "Autoscaling LLM Inference with KEDA"
    are means with ``AverageValue``, and its latency metric left vLLM with 0.12: the facts win.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import scaler as scalers_of
from drainproof.model.engines import ENGINES
from drainproof.model.promql import EVERY_LABEL, RATES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.promql import Query, Selector, Use
    from drainproof.model.scaler import Scaler, Trigger
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

_WRAPPERS = frozenset({"nim", "triton"})
"""Engines that run other engines, and export their metrics too."""
_OTHER_LANGUAGES = ("victoria", "vmselect", "vmsingle", "vmauth", "mimir", "thanos")
"""Servers, by their address, that know more functions than Prometheus."""


@check(
    "DP403",
    severity=Severity.ERROR,
    admission="it joins autoscalers and what scrapes the workload",
)
def scaling_metric_exists(
    workload: Workload, engine: Engine, scalers: Sequence[Scaler], snapshot: Snapshot
) -> Iterator[Finding]:
    """Yield queries without an answer, and those whose answer means something else."""
    for scaler in scalers:
        asked = False
        for trigger in scaler.triggers:
            query = trigger.query
            if query is None:
                for name in trigger.metrics if trigger.type in _SERVED else ():
                    if engine.exports(name) is False:
                        yield scaler.finding(trigger.path, _missing(engine, name))
            elif query.error:
                yield _unparsed(workload, scaler, trigger, query)
            else:
                own = [item for item in query.selectors if _is_of(engine, item)]
                asked = asked or bool(own)
                yield from _metrics(engine, scaler, trigger, query)
                yield from _filters(workload, engine, scaler, trigger, own, snapshot)
                yield from _answer(scaler, trigger, query, len(own))
        if asked and engine.metrics_enabled is False:
            flag = engine.facts.metrics_flag
            yield workload.finding(
                f"{engine.path}.args",
                f"{engine.label} exports no metrics "
                + (f"without {flag}" if flag else "with these flags")
                + ", and its autoscaler asks for them: it sees no load",
            )


_SERVED = frozenset({"pods", "external", "object"})
"""Metrics of a HorizontalPodAutoscaler that an adapter serves by name."""


def _is_of(engine: Engine, selector: Selector) -> bool:
    return engine.facts.knows_metric(selector.use.metric)


def _unparsed(workload: Workload, scaler: Scaler, trigger: Trigger, query: Query) -> Finding:
    if query.placeholder:
        return scaler.inconclusive(trigger.path, "the query holds a placeholder of a template")
    if "unknown function" in query.error or any(
        word in trigger.server.lower() for word in _OTHER_LANGUAGES
    ):
        return scaler.inconclusive(
            trigger.path, f"the query is not Prometheus' own PromQL ({query.error})"
        )
    return scaler.finding(
        trigger.path,
        f"the query can't be parsed ({query.error}): Prometheus refuses it, and {workload.name} "
        "does not scale on it",
    )


def _metrics(engine: Engine, scaler: Scaler, trigger: Trigger, query: Query) -> Iterator[Finding]:
    for name in query.metrics:
        exported = engine.exports(name)
        if exported:
            continue
        if exported is False:
            yield scaler.finding(trigger.path, _missing(engine, name))
        elif engine.facts.knows_metric(name):
            yield scaler.assumption(trigger.path, f"the image exports {name}; {engine.label}")
        else:
            yield from _unknown(engine, scaler, trigger, name)
    said = next((said for use in query.uses if (said := _misused(engine, use))), "")
    if said:
        yield scaler.finding(trigger.path, said)


def _missing(engine: Engine, name: str) -> str:
    metric = engine.facts.metric(name)
    instead = engine.facts.metric_instead.get(metric.name, "") if metric else ""
    return (
        f"{engine.label} exports no {name}, so the answer is empty and counts as no load: replicas "
        "go although users wait" + (f"; now it is {instead}" if instead else "")
    )


def _unknown(engine: Engine, scaler: Scaler, trigger: Trigger, name: str) -> Iterator[Finding]:
    """Judge a metric that no version of the engine has: another's, misspelt, or a rule's."""
    if engine.name in _WRAPPERS:
        return
    for other in ENGINES:
        if other.prefix and name.startswith(other.prefix) and other.name != engine.name:
            if other.knows_metric(name):
                yield scaler.finding(
                    trigger.path,
                    f"{name} is a metric of {other.title}, and the workload runs {engine.title}: "
                    "the answer is empty and counts as no load",
                )
            return
    if not engine.facts.prefix or not name.startswith(engine.facts.prefix):
        return
    near = _near(engine, name)
    if near:
        yield scaler.finding(
            trigger.path,
            f"no version of {engine.title} exports {name} (did you mean {near}?): the answer is "
            "empty and counts as no load",
        )
    else:
        yield scaler.assumption(
            trigger.path,
            f"something exports {name}, such as a recording rule or a router; no version of "
            f"{engine.title} does",
        )


def _near(engine: Engine, name: str) -> str:
    """Return the metric that a name is misspelt for; empty if it is another's, or a rule's."""
    import difflib  # noqa: PLC0415 - only for a name that is unknown

    prefix = engine.facts.prefix
    if ":" in name.removeprefix(prefix):  # levels of a recording rule's name
        return ""
    known = [item for word in engine.facts.meanings for item in engine.metric_names(word)]
    found = difflib.get_close_matches(name, known, 1, cutoff=0.84)
    if not found:  # right words in another order
        words = {frozenset(item.removeprefix(prefix).split("_")): item for item in known}
        return words.get(frozenset(name.removeprefix(prefix).split("_")), "")
    return found[0]


def _misused(engine: Engine, use: Use) -> str:
    """Return how a metric is used otherwise than its kind wants, as words."""
    name, metric = use.metric, engine.facts.metric(use.metric)
    kind = metric.kind if metric else ""
    if kind == "gauge" and use.function in RATES:
        return (
            f"{use.function}() of {name}, which is a gauge: it goes up and down, and each way down "
            "counts as a new start, so the answer means nothing"
        )
    if metric is not None and kind == "histogram" and name == metric.name:
        return (
            f"{name} is a histogram: only {name}_bucket, _sum and _count are exported, so the "
            "answer is empty and counts as no load"
        )
    grows = kind in {"counter", "histogram"} or (use.in_quantile and name.endswith("_bucket"))
    if grows and not use.function:
        return (
            f"{name} only ever grows, and no rate() is taken of it: the answer is about all the "
            "time since the engines started, and goes on growing without load"
        )
    return ""


def _filters(  # noqa: PLR0913, PLR0917 - whose query it is, and what else there is
    workload: Workload,
    engine: Engine,
    scaler: Scaler,
    trigger: Trigger,
    own: Sequence[Selector],
    snapshot: Snapshot,
) -> Iterator[Finding]:
    if not own:
        return
    said = _filtered_out(workload, engine, own)
    if said:
        yield scaler.finding(trigger.path, said)
    others = scalers_of.also_read(snapshot, workload, own[0])
    if others:
        yield scaler.finding(
            trigger.path,
            f"the query also reads {others}, whose load moves the replicas of {workload.name} too",
            Severity.WARNING,
        )


def _filtered_out(workload: Workload, engine: Engine, own: Sequence[Selector]) -> str:
    """Return which filter leaves out the workload itself, as words; empty if none does."""
    labels = scalers_of.series_labels(workload, engine)
    for selector in own:
        for matcher in selector.matchers:
            values = labels.get(matcher.label, ())
            if values and all(matcher.accepts(value) is False for value in values):
                return (
                    f"{matcher} leaves out {workload.name} itself, whose {matcher.label} is "
                    f"{values[0]}: the answer is about something else, or empty, which counts as "
                    "no load"
                )
    return ""


def _answer(scaler: Scaler, trigger: Trigger, query: Query, own: int) -> Iterator[Finding]:
    """Judge the form of an answer; ``own`` is how many selectors read the engine's metrics."""
    answer = query.answer
    if query.without_le:
        yield scaler.finding(
            trigger.path,
            "histogram_quantile() of buckets that were summed without le: there is no answer, "
            "which counts as no load; expected sum by (le) (…)",
        )
        return
    wrong = next((value for value in query.quantiles if not 0 <= value <= 1), None)
    if wrong is not None:
        yield scaler.finding(
            trigger.path,
            f"a quantile of {wrong:g}, where 0 to 1 are possible (95 % is 0.95): the answer is "
            "infinite, which counts as no load",
        )
    several = answer.several
    if several and (own or EVERY_LABEL not in answer.labels):
        yield scaler.finding(
            trigger.path,
            f"the query has several answers, {several}: with the second replica KEDA gets an "
            "error, and the number of replicas freezes",
            repair={trigger.path: f"sum({query.text})"}
            if own and query.bare and trigger.metric_type == "AverageValue"
            else None,
        )
    elif (
        answer.extent == "level"
        and trigger.metric_type == "AverageValue"
        and not scaler.formula
        and scaler.max_replicas > 1
        and (answer.of_ratio or own == len(query.selectors))
    ):
        yield scaler.finding(
            trigger.path,
            "the answer is per replica already (a mean, a quantile or a ratio), and AverageValue "
            f"divides it once more: twice the threshold asks for 2 replicas, also when "
            f"{scaler.max_replicas} are busy, and takes the others away",
            repair={f"{trigger.at}.metricType": "Value"}
            if scaler.of_keda and scaler.fallback is None
            else None,
        )
