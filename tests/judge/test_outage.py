"""A part of the scaling chain that is away: what holds, what does not, and what can't be said."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge.declared import Declared
from drainproof.judge.verdict import Verdict
from drainproof.model import chain
from drainproof.streams.history import Autoscaler, Ending
from tests.judge.outage import FALLBACK, HPA_BAD, Outage, of_keda
from tests.judge.story import HALF, T0
from tests.judge.test_scaling import of

if TYPE_CHECKING:
    from tests.judge.story import Fate

SOUND = {"Ready": "True", "Fallback": "False"}
FALLEN = {"Ready": "True", "Fallback": "True: FallbackExists"}
ACTIVE = {"ScalingActive": "True"}
FAILED = {"ScalingActive": HPA_BAD}
STAYS = ((50, 2),)


def fallback(replicas: int, **more: object) -> dict[str, Any]:
    return {"fallback": FALLBACK | {"replicas": replicas} | more}


def without_fallback(**changes: Any) -> Outage:  # noqa: ANN401 - fields of a story
    """Return a story whose autoscaler has no fallback: it has no metric until the end."""
    values: dict[str, Any] = {
        "spec": {},
        "replicas": STAYS,
        "scaled_object_says": (
            (50, SOUND),
            (110, SOUND | {"Ready": "False: TriggerError"}),
            (163, SOUND),
        ),
        "hpa_says": ((55, ACTIVE), (112, FAILED), (172, ACTIVE)),
    }
    return Outage(**(values | changes))


def fewer(**changes: Any) -> Outage:  # noqa: ANN401 - fields of a story
    """Return a story whose fallback has one replica less: ``old`` is stopped at 123 s."""
    values: dict[str, Any] = {
        "spec": fallback(1),
        "replicas": ((50, 2), (123, 1), (174, 2)),
        "deleted": 123.0,
        "container_ended": 150.0,
        "endpoints": [(50, ["old", "new"], []), (123.1, ["new"], ["old"])],
    }
    return Outage(**(values | changes))


def cut(pod: str, sent: float, end: float) -> Fate | None:
    """Return what becomes of a stream on an engine that does not drain: SIGTERM comes at 138 s."""
    spoilt = {"raw": HALF, "ending": Ending.RESET, "error": "reset"}
    return (138.1, spoilt) if pod == "old" and sent < 138 < end else None


def scaled_object(at: float, **conditions: str) -> Autoscaler:
    return Autoscaler(at=T0 + at, object="ScaledObject/vllm", conditions=conditions)


def stranger(at: float) -> Autoscaler:
    """Return a word of a HorizontalPodAutoscaler that KEDA did not make."""
    return Autoscaler(at=T0 + at, object="HorizontalPodAutoscaler/cpu", conditions=FAILED)


EARLIER = (scaled_object(60.0, **FALLEN), scaled_object(70.0, **SOUND))


PASSES = {
    "KEDA is away, and replicas stay": of_keda(),
    "its metrics API is away": of_keda(away="metrics-api"),
    "Prometheus is away, and KEDA falls back": Outage(),
    "it is away, and nothing is declared for that": without_fallback(),
    "a fallback with fewer replicas, and an engine that drains": fewer(),
    "a fallback to as many as there are": Outage(spec=fallback(2), replicas=STAYS),
    "a fallback only if that is more, and it is not": Outage(
        spec=fallback(1, behavior="currentReplicasIfHigher"), replicas=STAYS
    ),
    "so few requests afterwards that fewer replicas do": without_fallback(
        replicas=((50, 2), (174, 1)), waiting=lambda at: 4.0 if at < 165 else 0.0
    ),
    "a fallback that its window holds back": fewer(
        behavior={"scaleDown": {"stabilizationWindowSeconds": 60}},
        replicas=((50, 2), (150, 1), (174, 2)),
        deleted=150.0,
        container_ended=166.0,
        endpoints=[(50, ["old", "new"], []), (150.1, ["new"], ["old"])],
    ),
    "an HPA that acts on the fallback shortly after its end": fewer(
        replicas=((50, 3), (123, 1), (174, 3), (180, 1), (186, 3)),
    ),
    "an earlier outage, long over": Outage(more=EARLIER),
    "an HPA of another's": of_keda(more=(stranger(150.0),)),
    "replicas that no one asked for before, either": without_fallback(
        replicas=((50, 2), (174, 1)), query="vector(1)", told=0.5
    ),
    "all in order as late as may be": of_keda(
        back=180.0,
        end=340.0,
        last=345,
        hpa_says=((55, ACTIVE), (172, FAILED), (330, ACTIVE)),
    ),
}


@pytest.mark.parametrize("name", PASSES)
def test_an_outage_that_costs_nothing_passes(name: str) -> None:
    verdict = PASSES[name].judged()
    assert (verdict.verdict, verdict.reasons, verdict.doubts) == (Verdict.PASS, (), ())
    assert {one.holds for one in of(PASSES[name]).criteria} == {True}


def test_what_held_is_told_with_its_numbers() -> None:
    assert {one.says: one.found for one in of(Outage()).criteria} == {
        "the autoscaler was in order before": "ScaledObject/vllm and its HPA were in order",
        "replicas stay, or go to the fallback": "2 at first, 2 to 3 then",
        "KEDA or its HPA notices": "after 8 s: HorizontalPodAutoscaler/keda-hpa-vllm says "
        f"ScalingActive {HPA_BAD}",
        "the fallback is reached in time": "3 replicas after 19 s; 40 s are allowed",
        "all is in order again in time": "after 3 s; 92 s are allowed",
    }


def test_without_a_fallback_nothing_is_said_of_it() -> None:
    said = [one.says for one in of(without_fallback()).criteria]
    assert "the fallback is reached in time" not in said
    assert len(said) == 4


def test_the_fallback_is_no_matter_of_keda_s_own_outage() -> None:
    story = of_keda(spec={"fallback": FALLBACK})
    assert story.judged().verdict is Verdict.PASS


BROKEN: dict[str, tuple[Outage, str, str]] = {
    "an HPA that drops to its minimum while it has no metric": (
        without_fallback(replicas=((50, 2), (130, 1))),
        chain.TO_DEPLOYMENT,
        "from 2 to 1 replicas 26 s after Prometheus was gone, with no metric that asks for it",
    ),
    "one that drops while KEDA is away": (
        of_keda(replicas=((50, 2), (150, 1))),
        chain.TO_DEPLOYMENT,
        "from 2 to 1 replicas 46 s after KEDA's operator was gone",
    ),
    "one that drops before it is quite gone": (
        of_keda(replicas=((50, 2), (103, 1)), gone=None, back=None, timeout="not gone"),
        chain.TO_DEPLOYMENT,
        "from 2 to 1 replicas 3 s after",
    ),
    "one that drops since an empty Prometheus counts as 0": (
        without_fallback(
            replicas=((50, 2), (172, 1)),
            hpa_says=((55, ACTIVE), (112, FAILED), (172, ACTIVE)),
            told=0,
        ),
        chain.TO_KEDA,
        (
            "68 s after Prometheus was gone, and back: requests ask for no fewer than 2, and KEDA "
            "told its HPA 0: a query without an answer counts as 0 (ignoreNullValues)"
        ),
    ),
    "one that drops when it is back, on a query that counts no requests": (
        without_fallback(replicas=((50, 2), (172, 1)), query="vector(4)"),
        chain.TO_KEDA,
        "requests ask for no fewer than 2, and KEDA told its HPA 2",
    ),
    "one that drops when it is back, and nobody knows why": (
        without_fallback(replicas=((50, 2), (172, 1)), query="vector(4)", told=None),
        chain.TO_KEDA,
        "requests ask for no fewer than 2",
    ),
    "one that drops without a metric, even if few requests are left": (
        without_fallback(replicas=((50, 2), (130, 1)), waiting=lambda at: 4.0 if at < 110 else 0.0),
        chain.TO_DEPLOYMENT,
        "with no metric that asks for it",
    ),
    "one that drops since few requests were there once": (
        without_fallback(replicas=((50, 2), (174, 1)), waiting=lambda at: 0.0 if at < 150 else 4.0),
        chain.TO_KEDA,
        "requests ask for no fewer than 2",
    ),
    "one that drops before few requests are left": (
        without_fallback(replicas=((50, 2), (174, 1)), waiting=lambda at: 4.0 if at < 176 else 0.0),
        chain.TO_KEDA,
        "requests ask for no fewer than 2",
    ),
    "one that drops at the very moment when it is back": (
        without_fallback(replicas=((50, 2), (160, 1))),
        chain.TO_KEDA,
        "56 s after Prometheus was gone, and back",
    ),
    "replicas of a fallback that is not yet": (
        fewer(replicas=((50, 2), (110, 1), (174, 2))),
        chain.TO_DEPLOYMENT,
        "from 2 to 1 replicas 6 s after Prometheus was gone, with no metric",
    ),
    "replicas of a fallback that is long over": (
        fewer(replicas=((50, 2), (184, 1))),
        chain.TO_KEDA,
        "from 2 to 1 replicas 80 s after Prometheus was gone, and back",
    ),
    "a fallback that KEDA did only in an earlier outage": (
        without_fallback(spec=fallback(3), more=EARLIER),
        chain.TO_KEDA,
        "KEDA did not fall back to 3 replicas",
    ),
    "fewer replicas than the fallback": (
        fewer(spec=fallback(2), replicas=((50, 3), (123, 1), (174, 3))),
        chain.TO_DEPLOYMENT,
        "from 3 to 1 replicas 19 s after Prometheus was gone, and the fallback is 2",
    ),
    "a fallback that KEDA never did": (
        without_fallback(spec=fallback(3)),
        chain.TO_KEDA,
        "KEDA did not fall back to 3 replicas in the 56 s in which Prometheus was away; 40 s are",
    ),
    "a fallback to as many as there are, that KEDA never did": (
        without_fallback(spec=fallback(2)),
        chain.TO_KEDA,
        "KEDA did not fall back to 2 replicas",
    ),
    "a fallback that the Deployment never reached": (
        Outage(replicas=STAYS),
        chain.TO_DEPLOYMENT,
        "KEDA fell back, and there were 2 replicas, not 3, 56 s after Prometheus was gone",
    ),
    "a fallback that KEDA did too late": (
        Outage(
            replicas=((50, 2), (158, 3), (174, 2)),
            scaled_object_says=((50, SOUND), (156, FALLEN), (163, SOUND)),
        ),
        chain.TO_KEDA,
        "the fallback of 3 replicas came 54 s after Prometheus was gone, and 40 s are allowed",
    ),
    "a fallback that came too late to the Deployment": (
        Outage(replicas=((50, 2), (158, 3), (174, 2))),
        chain.TO_DEPLOYMENT,
        "the fallback of 3 replicas came 54 s after",
    ),
    "a KEDA that stays unready": (
        without_fallback(
            end=300.0,
            last=305,
            scaled_object_says=((50, SOUND), (110, {"Ready": "False: TriggerError"})),
        ),
        chain.TO_KEDA,
        "ScaledObject/vllm says Ready False: TriggerError 140 s after Prometheus was back, and 92",
    ),
    "a fallback that never ends": (
        Outage(
            replicas=((50, 2), (123, 3)),
            end=300.0,
            last=305,
            scaled_object_says=((50, SOUND), (121, FALLEN)),
        ),
        chain.TO_KEDA,
        "ScaledObject/vllm says Fallback True: FallbackExists 140 s after Prometheus was back",
    ),
    "an HPA that never gets a metric again": (
        of_keda(hpa_says=((55, ACTIVE), (172, FAILED)), end=340.0, last=345),
        chain.TO_HPA,
        f"says ScalingActive {HPA_BAD} 160 s after KEDA's operator was back, and 152 s are allowed",
    ),
    "a KEDA that does not come back": (
        of_keda(back=None, timeout="its pods were not ready again within 600 s"),
        chain.TO_HPA,
        "KEDA's operator did not come back: its pods were not ready again within",
    ),
    "one that can't be given back": (
        of_keda(back=None, timeout="could not undo deployment/keda-operator: forbidden"),
        chain.TO_HPA,
        "KEDA's operator did not come back: could not undo deployment/keda-operator: forbidden",
    ),
    "a metrics API that is noticed again too late": (
        of_keda(
            away="metrics-api",
            hpa_says=((55, ACTIVE), (112, FAILED), (300, ACTIVE)),
            end=340.0,
            last=345,
        ),
        chain.TO_HPA,
        "all was in order only 120 s after KEDA's metrics API server was back, and 62 s are",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_an_outage_breaks_fails_and_is_named_by_its_link(name: str) -> None:
    story, link, said = BROKEN[name]
    verdict = story.judged()
    assert verdict.verdict is Verdict.FAIL, verdict.doubts
    assert of(story).broken == link, verdict.reasons
    assert any(said in reason for reason in verdict.reasons), verdict.reasons


def test_streams_that_a_fallback_with_too_few_replicas_cuts_fail_it() -> None:
    story = fewer(fate=cut)
    verdict = story.judged()
    assert verdict.verdict is Verdict.FAIL
    assert "streams were cut off" in verdict.reasons[0]
    assert [victim.pod for victim in verdict.victims] == ["old"]
    assert of(story).broken == ""


def test_new_requests_that_fail_meanwhile_fail_it() -> None:
    def refused(_pod: str, sent: float, _end: float) -> Fate | None:
        spoilt = {"raw": b"", "status": 500, "content_type": "application/json"}
        return (sent + 0.2, spoilt) if 120 < sent < 125 else None

    verdict = of_keda(fate=refused).judged()
    assert verdict.verdict is Verdict.FAIL
    assert "5 new requests failed" in verdict.reasons[0]


DOUBTS: dict[str, tuple[Outage, str]] = {
    "nobody noticed": (
        of_keda(hpa_says=((55, ACTIVE),)),
        "KEDA's operator was away for 76 s, and neither KEDA nor its HPA noticed: it takes them 75",
    ),
    "it was noticed only long after": (
        of_keda(hpa_says=((55, ACTIVE), (205, FAILED), (210, ACTIVE))),
        "neither KEDA nor its HPA noticed",
    ),
    "something was not in order before": (
        of_keda(hpa_says=((55, FAILED), (196, ACTIVE))),
        "HorizontalPodAutoscaler/keda-hpa-vllm was not in order before: ScalingActive False",
    ),
    "no HPA was seen": (
        of_keda(hpa_says=()),
        "what KEDA and its HPA of ScaledObject/vllm said is not known",
    ),
    "an HPA without a word": (
        of_keda(hpa_says=((55, {}),)),
        "what KEDA and its HPA of ScaledObject/vllm said is not known",
    ),
    "it was never gone": (
        of_keda(gone=None, back=None, timeout="its pods were not gone within 9 s"),
        "KEDA's operator was never gone",
    ),
    "nobody saw whether it came back": (
        of_keda(back=None),
        "nobody saw whether KEDA's operator came back",
    ),
    "it was away too short for the fallback": (
        without_fallback(spec=fallback(3), back=134.0),
        "Prometheus was away for 30 s, and the fallback may take 40 s",
    ),
    "recovery was not waited for": (
        of_keda(hpa_says=((55, ACTIVE), (172, FAILED))),
        "35 s after KEDA's operator was back; it may take 152 s",
    ),
    "recovery came after the fault's end": (
        of_keda(hpa_says=((55, ACTIVE), (172, FAILED), (216, ACTIVE))),
        "35 s after KEDA's operator was back; it may take 152 s",
    ),
    "an earlier outage was noticed, and this one was not": (
        of_keda(hpa_says=((55, ACTIVE),), more=EARLIER),
        "neither KEDA nor its HPA noticed",
    ),
    "it was noticed by another's HPA": (
        of_keda(hpa_says=((55, ACTIVE),), more=(stranger(150.0),)),
        "neither KEDA nor its HPA noticed",
    ),
    "a rollout that did not end, and all recovered": (
        of_keda(timeout="not over within 600 s"),
        "the fault did not get to its end: not over within 600 s",
    ),
    "nobody knows what was taken away": (
        of_keda(away=""),
        "the History does not say what was taken away",
    ),
    "a rollout that stopped no pod": (
        of_keda(stops=True),
        "no pod was stopped, so no stream was put to the test",
    ),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_an_outage_of_which_too_little_is_known_is_inconclusive(name: str) -> None:
    story, said = DOUBTS[name]
    verdict = story.judged()
    assert verdict.verdict is Verdict.INCONCLUSIVE, verdict.reasons
    assert any(said in doubt for doubt in verdict.doubts), verdict.doubts


def test_a_zero_is_explained_only_where_no_answer_counts_as_one() -> None:
    def dropped(told: float, **metadata: str) -> str:
        story = without_fallback(replicas=((50, 2), (172, 1)), told=told)
        item = story.scaled_object()
        item["spec"]["triggers"][0]["metadata"] |= metadata
        (reason,) = replace(story, spec=item["spec"]).judged().reasons
        return reason

    assert dropped(0.0).endswith(
        "told its HPA 0: a query without an answer counts as 0 (ignoreNullValues)"
    )
    assert dropped(0.0, ignoreNullValues="false").endswith("and KEDA told its HPA 0")
    assert dropped(1.0).endswith("and KEDA told its HPA 1")


def test_a_metric_of_type_value_is_not_multiplied_by_the_replicas() -> None:
    story = without_fallback(replicas=((50, 2), (174, 1)), query="vector(1)", told=0.8)
    item = story.scaled_object()
    item["spec"]["triggers"][0]["metricType"] = "Value"
    verdict = replace(story, spec=item["spec"]).judged()
    assert verdict.verdict is Verdict.PASS, verdict.reasons
    assert replace(story, told=2.0, spec=item["spec"]).judged().verdict is Verdict.FAIL


def test_times_are_counted_from_when_it_was_gone_and_back() -> None:
    """The edges: a second later, neither would do."""
    late = {"end": 400.0, "last": 405}
    says = ((55, ACTIVE), (172, FAILED))
    assert of_keda(hpa_says=(*says, (180 + 157, ACTIVE)), **late).judged().verdict is Verdict.PASS
    assert of_keda(hpa_says=(*says, (180 + 158, ACTIVE)), **late).judged().verdict is Verdict.FAIL
    reached = ((50, 2), (104 + 45, 3), (174, 2))
    assert Outage(replicas=reached).judged().verdict is Verdict.PASS
    later = ((50, 2), (104 + 46, 3), (174, 2))
    assert Outage(replicas=later).judged().verdict is Verdict.FAIL
    assert of_keda().t0 == T0


def declared(**fields: Any) -> Declared:  # noqa: ANN401 - fields of a fallback
    spec = {"fallback": FALLBACK | fields}
    return Declared.of(Outage(spec=spec, most=6).scaled_object(), "vllm")


@pytest.mark.parametrize(
    ("behavior", "replicas", "now", "then"),
    [
        ("static", 3, 2, 3),
        ("static", 0, 2, 1),
        ("static", 9, 2, 6),
        ("currentReplicas", 3, 2, 2),
        ("currentReplicasIfHigher", 3, 2, 3),
        ("currentReplicasIfHigher", 3, 4, 4),
        ("currentReplicasIfLower", 3, 2, 2),
        ("currentReplicasIfLower", 3, 4, 3),
        ("scalingModifiers", 3, 2, None),
    ],
)
def test_what_a_fallback_makes_of_the_replicas_that_there_are(
    behavior: str, replicas: int, now: int, then: int | None
) -> None:
    assert declared(behavior=behavior, replicas=replicas).falls_back_to(now) == then


def test_a_fallback_takes_its_failures_two_periods_its_window_and_its_policies() -> None:
    assert declared(replicas=3).falls_back_s(2) == 2 * 5 + 30
    assert declared(replicas=2).falls_back_s(2) == 2 * 5 + 30
    assert declared(replicas=3, failureThreshold=3).falls_back_s(2) == 4 * 5 + 30
    slow = {"scaleDown": {"stabilizationWindowSeconds": 60}}
    policy = [{"type": "Pods", "value": 1, "periodSeconds": 30}]
    story = Outage(
        spec={}, most=6, behavior={"scaleDown": slow["scaleDown"] | {"policies": policy}}
    )
    item = story.scaled_object()
    item["spec"]["fallback"] = FALLBACK | {"replicas": 1}
    assert Declared.of(item, "vllm").falls_back_s(3) == 40 + 60 + 30
    del item["spec"]["fallback"]
    assert Declared.of(item, "vllm").falls_back_s(3) == 0
