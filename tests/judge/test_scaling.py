"""An autoscaler under load: what holds, what does not, and the link that is named for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge.verdict import Verdict
from drainproof.model import chain
from drainproof.streams.history import Autoscaler, Event
from tests.judge.climb import Climb, hill, killing
from tests.judge.story import T0

if TYPE_CHECKING:
    from drainproof.judge.scaling import Scaling
    from drainproof.streams.history import Record

STUCK = ((50, 1),)
WAITING = {"ready": False, "node": "", "phase": "Pending", "containers": []}
LOADING = [{"name": "vllm", "state": "running", "started_at": T0 + 117, "restarts": 0}]


def long_hill(at: float) -> float:
    return 10.0 if 102 <= at < 140 else 0.0


def stuck(**changes: Any) -> Climb:  # noqa: ANN401 - fields of a story
    """Return a story whose queue is long, and whose replicas do not rise."""
    values: dict[str, Any] = {
        "replicas": STUCK,
        "waiting": long_hill,
        "end": 145.0,
        "last": 150,
        "timeout": "still 1 replicas after 40 s",
        "serves": None,
        "fresh": ({"at": 50, "name": "old", "uid": "uid-old", "created_at": T0},),
    }
    return Climb(**(values | changes))


def second_hpa(at: float = 55.0) -> Autoscaler:
    return Autoscaler(
        at=T0 + at,
        object="HorizontalPodAutoscaler/by-cpu",
        declared={
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "by-cpu"},
            "spec": {"scaleTargetRef": {"name": "vllm"}, "maxReplicas": 9},
        },
    )


def of(story: Climb) -> Scaling:
    (fault,) = story.judged().faults
    assert fault.scaling is not None
    return fault.scaling


def fresh(*told: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return tuple(WAITING | one for one in told)


# ── scale-out ───────────────────────────────────────────────────────────────────────────────────


def test_replicas_that_rise_in_time_and_serve_pass() -> None:
    verdict = Climb().judged()
    assert (verdict.verdict, verdict.reasons, verdict.doubts) == (Verdict.PASS, (), ())
    scaling = of(Climb())
    assert [one.holds for one in scaling.criteria] == [True] * 7
    assert (scaling.scaler, scaling.threshold, scaling.broken) == ("ScaledObject/vllm", 2.0, "")


def test_the_reaction_time_is_split_into_its_links() -> None:
    scaling = of(Climb())
    assert scaling.reaction_s == 20.0
    assert [(step.what, step.took_s) for step in scaling.steps] == [
        ("queue over the threshold", 0.0),
        ("sample scraped", 2.0),
        ("query says so", 0.3),
        ("KEDA saw it", 0.7),
        ("HPA asks for more", 11.0),
        ("Deployment has more", 0.0),
        ("pod made", 0.2),
        ("node took it", 0.3),
        ("container started", 1.5),
        ("Ready, model loaded", 3.0),
        ("it serves", 1.0),
    ]
    assert sum(step.took_s or 0.0 for step in scaling.steps) == pytest.approx(20.0)


def test_without_prometheus_its_links_are_unknown_and_not_guessed() -> None:
    story = Climb(answers=False)
    assert story.judged().verdict is Verdict.PASS
    unknown = [step.what for step in of(story).steps if step.unknown]
    assert unknown == ["sample scraped", "query says so"]
    assert [step.at for step in of(story).steps if step.unknown] == [None, None]


def test_the_queue_and_the_replicas_are_kept_over_time() -> None:
    scaling = of(Climb())
    assert scaling.replicas == ((T0 + 100, 1), (T0 + 116, 2))
    assert max(count for _, count in scaling.queue) == 10
    assert scaling.queue[0][0] >= T0 + 95


CPU = 'sum(rate(process_cpu_seconds_total{namespace="inference"}[20s])) * 100'
LATENCY = """histogram_quantile(0.95, sum by (le) (
rate(vllm:request_time_per_output_token_seconds_bucket{namespace="inference"}[20s])))"""


def test_when_a_metric_went_over_is_known_from_its_query_where_samples_do_not_tell() -> None:
    story = Climb(
        query=LATENCY,
        threshold="0.05",
        scraped=lambda at: 0.09 if at >= 110 else 0.033,
        answer={"sampled": None},
    )
    at = {step.what: step.at for step in of(story).steps}
    assert at["metric over the threshold"] == at["query says so"] == T0 + 110.3


def test_a_latency_that_rises_with_the_queue_scales_in_time() -> None:
    story = Climb(query=LATENCY, threshold="0.05", scraped=lambda at: 0.09 if at >= 110 else 0.033)
    verdict = story.judged()
    assert (verdict.verdict, verdict.reasons, verdict.doubts) == (Verdict.PASS, (), ())
    scaling = of(story)
    assert scaling.reaction_s == 20.0
    assert scaling.criteria[2].found == "at most 0.09, and 0.055 asks for more than 1 replicas"


def test_replicas_that_rise_by_a_latency_before_the_queue_is_as_long_as_wanted_rose_in_time() -> (
    None
):
    story = Climb(
        query=LATENCY,
        threshold="0.05",
        scraped=lambda at: 0.09 if at >= 110 else 0.033,
        waiting=lambda at: 0.0 if at < 102 else 7.0 if at < 118 else 10.0 if at < 125 else 0.0,
    )
    verdict = story.judged()
    assert (verdict.verdict, verdict.reasons, verdict.doubts) == (Verdict.PASS, (), ())
    assert of(story).criteria[3].found == "after 5.7 s; 39 s are allowed"


def early(seen: float) -> Climb:
    """Return a story whose replicas rise at 106 s, and whose queue is seen to be long later."""
    return Climb(
        waiting=lambda at: 10.0 if seen <= at < 125 else 0.0,
        replicas=((50, 1), (106, 2)),
        answers=False,
    )


def test_replicas_that_rise_a_moment_before_a_long_queue_is_seen_rose_in_time() -> None:
    verdict = early(108).judged()
    assert (verdict.verdict, verdict.reasons, verdict.doubts) == (Verdict.PASS, (), ())


def test_of_replicas_that_rise_long_before_nobody_knows_why() -> None:
    verdict = early(114).judged()
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert verdict.doubts[0].endswith(
        "replicas rose 8 s before what is followed was seen over the threshold, so what made them "
        "rise is not known"
    )


def low(_at: float) -> float:
    return 2.0


DOUBTS: dict[str, tuple[Climb, str]] = {
    "the queue stays below the threshold": (
        stuck(waiting=low),
        "the queue did not go over the threshold: at most 2, and more than 2.2 asks",
    ),
    "a threshold that is high, and a crowd that is small": (
        stuck(threshold="50", aim=83.0),
        "the queue did not go over the threshold: at most 10, and more than 55 asks",
    ),
    "the queue is over it for too short a time": (
        stuck(waiting=lambda at: 10.0 if 102 <= at < 108 else 0.0),
        "over the threshold for only 5 s, and replicas may take 19 s to rise",
    ),
    "no node has room": (
        Climb(
            fresh=fresh(
                {
                    "at": 116.2,
                    "unschedulable": "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
                }
            ),
            serves=None,
            timeout="no new pod served",
        ),
        "which stayed Pending: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
    ),
    "the autoscaler was never seen": (
        Climb(spec={"scaleTargetRef": 5}),
        "what ScaledObject/vllm declares can't be read",
    ),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_what_can_not_be_said_is_inconclusive(name: str) -> None:
    story, said = DOUBTS[name]
    verdict = story.judged()
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert any(said in doubt for doubt in verdict.doubts), verdict.doubts


ACTIVE = "True: ValidMetricFound"
FAILED = "False: FailedGetExternalMetric: unable to get external metric"
BROKEN: dict[str, tuple[Climb, str, str]] = {
    "metric renamed": (
        stuck(
            query='sum(vllm:requests_waiting{namespace="inference"})',
            scraped=lambda _at: None,
            answer={"sampled": None, "pods": 0, "scraped": 1},
        ),
        chain.TO_QUERY,
        "Prometheus has the queue of 1 of them: it asks for vllm:requests_waiting",
    ),
    "latency renamed": (
        stuck(
            query=LATENCY.replace("request_time", "time"),
            threshold="0.05",
            scraped=lambda _at: None,
            answer={"sampled": None, "pods": 0, "scraped": 1},
        ),
        chain.TO_QUERY,
        "it asks for vllm:time_per_output_token_seconds_bucket, by a name or labels",
    ),
    "no monitor": (
        stuck(
            scraped=lambda _at: None,
            answer={"sampled": None, "pods": 0, "scraped": 0, "target": "none"},
        ),
        chain.TO_MONITOR,
        "Prometheus has no target in these pods",
    ),
    "wrong port": (
        stuck(
            scraped=lambda _at: None,
            answer={"pods": 0, "scraped": 0, "target": "dial tcp: connection refused"},
        ),
        chain.TO_MONITOR,
        "nothing of these pods: dial tcp: connection refused",
    ),
    "query with or vector(0) of what is not scraped": (
        stuck(
            scraped=lambda _at: 0.0,
            answer={"pods": 0, "scraped": 0, "target": "none"},
        ),
        chain.TO_MONITOR,
        "Prometheus has no target in these pods",
    ),
    "query over another model's pods": (
        stuck(
            scraped=lambda _at: 1.0,
            answer={"pods": 0, "others": ["other/mistral-1"]},
        ),
        chain.TO_QUERY,
        "the query also counts other/mistral-1: it says 1, the pods themselves 0",
    ),
    "query over another model's pods, too": (
        Climb(answer={"others": ["other/mistral-1"]}),
        chain.TO_QUERY,
        "the query also counts other/mistral-1",
    ),
    "query that reads too few pods": (
        stuck(scraped=lambda _at: 1.0, answer={"pods": 1}),
        chain.TO_QUERY,
        "the query says 1, the pods themselves 10; it reads 1 of 1 pods",
    ),
    "Prometheus away": (
        stuck(scraped=lambda _at: None, answer={"error": "Prometheus at p does not answer"}),
        chain.TO_QUERY,
        "Prometheus at p does not answer",
    ),
    "threshold in another unit": (
        stuck(threshold="5000", aim=10.0),
        chain.TO_KEDA,
        "the threshold 5000 was not reached with 10 requests waiting: the metric was at most 10",
    ),
    "threshold of a share in percent": (
        stuck(
            query='sum(vllm:kv_cache_usage_perc{namespace="inference"})',
            threshold="80",
            scraped=lambda at: 0.9 if at > 104 else 0.1,
        ),
        chain.TO_KEDA,
        "the metric was at most 0.9, and more than 88 asks for another replica",
    ),
    "CPU, with a full queue": (
        stuck(query=CPU, threshold="80", scraped=lambda _at: 7.0),
        chain.TO_QUERY,
        "CPU does not follow the queue: it was at most 7 with 10 requests waiting, and more than",
    ),
    "GPU, with a full queue": (
        stuck(
            query='sum(DCGM_FI_DEV_GPU_UTIL{namespace="inference"})',
            threshold="90",
            scraped=lambda _at: 97.0,
        ),
        chain.TO_QUERY,
        "GPU utilisation does not follow the queue: it was at most 97 with 10 requests waiting",
    ),
    "CPU that is over its threshold long after the queue": (
        Climb(
            query=CPU,
            threshold="80",
            scraped=lambda at: 95.0 if at >= 150 else 7.0,
            waiting=lambda at: 10.0 if 102 <= at < 165 else 0.0,
            replicas=((50, 1), (156, 2)),
            end=170.0,
            last=175,
            serves=162.0,
            fresh=fresh(
                {"at": 156.2, "created_at": T0 + 156},
                {"at": 160, "node": "n", "containers": LOADING, "ready": True},
            ),
        ),
        chain.TO_QUERY,
        "and 39 s are allowed; 48.0 s of them until metric over the threshold",
    ),
    "KEDA stopped": (
        stuck(hpa={"conditions": {"AbleToScale": "True", "ScalingActive": FAILED}, "value": None}),
        chain.TO_KEDA,
        f"KEDA gives its HPA no metric: {FAILED}",
    ),
    "KEDA says that it is not ready": (
        stuck(keda={"Ready": "False: ScaledObjectCheckFailed: no such server"}),
        chain.TO_KEDA,
        "KEDA says Ready False: ScaledObjectCheckFailed: no such server",
    ),
    "KEDA tells its HPA another number": (
        stuck(hpa_value=lambda _at: 0.0),
        chain.TO_KEDA,
        "KEDA told its HPA at most 0 for each replica, of a threshold of 2",
    ),
    "KEDA silent": (
        stuck(hpa_until=60.0),
        chain.TO_KEDA,
        "KEDA was silent while the queue was long; at most 0 for each replica before",
    ),
    "KEDA made no HPA": (
        stuck(hpa=None),
        chain.TO_HPA,
        "KEDA made no HorizontalPodAutoscaler",
    ),
    "maxReplicas reached": (
        stuck(most=1),
        chain.TO_DEPLOYMENT,
        "held by maxReplicas 1: there are 1 replicas",
    ),
    "scaleUp disabled": (
        stuck(behavior={"scaleUp": {"selectPolicy": "Disabled"}}),
        chain.TO_DEPLOYMENT,
        "scaleUp.selectPolicy is Disabled",
    ),
    "HPA may not scale": (
        stuck(hpa={"conditions": {"AbleToScale": "False: FailedUpdateScale: forbidden"}}),
        chain.TO_DEPLOYMENT,
        "AbleToScale False: FailedUpdateScale: forbidden",
    ),
    "Deployment keeps its replicas": (
        stuck(hpa={"desired": 3}),
        chain.TO_DEPLOYMENT,
        "the HPA wants 3 replicas, and the Deployment has 1",
    ),
    "second HPA": (
        Climb(more=(second_hpa(),)),
        chain.TO_DEPLOYMENT,
        "HorizontalPodAutoscaler/by-cpu scales it too, beside ScaledObject/vllm",
    ),
    "too late": (
        Climb(
            replicas=((50, 1), (130, 2)),
            waiting=lambda at: 10.0 if 102 <= at < 135 else 0.0,
            end=140.0,
            serves=136.0,
            fresh=fresh(
                {"at": 130.2, "created_at": T0 + 130},
                {"at": 134, "node": "n", "containers": LOADING, "ready": True},
            ),
        ),
        chain.TO_HPA,
        "replicas rose 28.0 s after the queue was over the threshold, and 19 s are allowed",
    ),
    "too many at once": (
        Climb(replicas=((50, 1), (116, 9)), most=9),
        chain.TO_DEPLOYMENT,
        "from 1 to 9 replicas at once, 16 s after it began: no policy",
    ),
    "no pod made": (
        Climb(
            fresh=({"at": 50, "name": "old", "uid": "uid-old", "created_at": T0},),
            serves=None,
            extra=[
                Event(
                    at=T0 + 117,
                    object="ReplicaSet/vllm-1",
                    reason="FailedCreate",
                    message="exceeded quota",
                )
            ],
        ),
        chain.TO_POD,
        "replicas rose, and no pod was made: exceeded quota",
    ),
    "liveness probe kills what loads": (
        Climb(
            fresh=fresh(
                {"at": 116.2},
                {"at": 126, "node": "n", "containers": [LOADING[0] | {"restarts": 2}]},
            ),
            serves=None,
            extra=[killing(120, "new")],
        ),
        chain.TO_POD,
        "its liveness probe kills pod/new while it loads: restarted 2 times, and never Ready",
    ),
    "engine that crashes while it loads": (
        Climb(
            fresh=fresh(
                {"at": 116.2},
                {
                    "at": 126,
                    "node": "n",
                    "containers": [LOADING[0] | {"restarts": 2, "reason": "OOMKilled"}],
                },
            ),
            serves=None,
        ),
        chain.TO_POD,
        "pod/new was restarted 2 times and never Ready: OOMKilled",
    ),
    "image that is not there": (
        Climb(
            fresh=fresh(
                {
                    "at": 116.2,
                    "node": "n",
                    "containers": [{"state": "waiting", "reason": "ImagePullBackOff"}],
                }
            ),
            serves=None,
        ),
        chain.TO_POD,
        "pod/new does not run: ImagePullBackOff",
    ),
    "model that never loads": (
        Climb(
            fresh=fresh({"at": 116.2}, {"at": 118, "node": "n", "containers": LOADING}),
            serves=None,
        ),
        chain.TO_POD,
        "pod/new was not Ready 14 s after it was made: its model never loads",
    ),
    "Ready, and no request": (
        Climb(
            serves=200.0,
            extra=[],
            fresh=None,
        ),
        chain.TO_STREAMS,
        "pod/new is Ready, and was given no request",
    ),
    "queue that stays": (
        Climb(waiting=lambda at: 10.0 if at >= 102 else 0.0, timeout="the queue did not fall"),
        chain.TO_STREAMS,
        "the queue did not fall: 10 requests wait, of at most 10",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_fails_and_is_named_by_its_link(name: str) -> None:
    story, link, said = BROKEN[name]
    verdict = story.judged()
    assert verdict.verdict is Verdict.FAIL, verdict.doubts
    assert verdict.reasons[0].startswith(f"{link}: "), verdict.reasons
    assert said in verdict.reasons[0]
    assert of(story).broken == link


def test_without_prometheus_no_link_before_the_hpa_is_guessed() -> None:
    story = stuck(answers=False, hpa={"value": None, "conditions": {}})
    verdict = story.judged()
    # the scrape interval may be a minute then, so that a queue of 38 s says nothing
    assert verdict.verdict is Verdict.INCONCLUSIVE
    longer = replace(story, waiting=lambda at: 10.0 if at >= 102 else 0.0, end=230.0, last=230)
    (reason,) = longer.judged().reasons
    assert reason.startswith("still 1 replicas 1")
    assert "not known without Prometheus (--prometheus)" in reason


class Alone(Climb):
    """A HorizontalPodAutoscaler on a metric of its pods, without KEDA."""

    def watched(self) -> list[Record]:
        metric = {"metric": {"name": "vllm_waiting"}}
        target = {"type": "AverageValue", "averageValue": "2"}
        declared = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "vllm", "namespace": "inference"},
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "vllm"},
                "maxReplicas": self.most,
                "metrics": [{"type": "Pods", "pods": {**metric, "target": target}}],
            },
        }
        found: list[Record] = []
        for record in super().watched():
            if not isinstance(record, Autoscaler):
                found.append(record)
            elif record.object.startswith("Horizontal"):
                own = "HorizontalPodAutoscaler/vllm"
                found.append(replace(record, object=own, made_by="", declared=declared))
        return found


def test_a_hpa_without_keda_is_judged_by_what_it_says_itself() -> None:
    story = Alone(answers=False)
    assert story.judged().verdict is Verdict.PASS
    assert of(story).scaler == "HorizontalPodAutoscaler/vllm"


def test_a_hpa_without_keda_that_has_no_metric_is_named() -> None:
    story = Alone(
        answers=False,
        replicas=STUCK,
        waiting=long_hill,
        end=145.0,
        serves=None,
        fresh=({"at": 50, "name": "old", "uid": "uid-old", "created_at": T0},),
        timeout="still 1 replicas",
        hpa={"conditions": {"ScalingActive": "False: FailedGetPodsMetric: no metrics"}},
    )
    assert story.judged().verdict is Verdict.FAIL
    assert of(story).broken == chain.METRICS_TO_HPA


def test_a_hpa_that_is_gone_scales_nothing() -> None:
    gone = replace(second_hpa(60.0), gone=True, declared=None)
    assert Climb(more=(second_hpa(), gone)).judged().verdict is Verdict.PASS


def test_keda_that_falls_back_says_so() -> None:
    story = stuck(keda={"Fallback": "True: FallbackExists: at least one trigger is falling back"})
    assert of(story).broken == chain.TO_KEDA


# ── scale-in ────────────────────────────────────────────────────────────────────────────────────


def fall(**changes: Any) -> Climb:  # noqa: ANN401 - fields of a story
    """Return a story in which replicas rise, and return when the crowd is gone."""
    values: dict[str, Any] = {
        "name": "scale-in",
        "stops": True,
        "replicas": ((50, 1), (116, 2), (146, 1)),
        "end": 160.0,
        "last": 170,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 10}},
        "deleted": 146.0,
        "container_ended": 158.0,
        "endpoints": [(50, ["old"], []), (121, ["old", "new"], []), (146.1, ["new"], ["old"])],
        "grace_s": 60.0,
        "prestop_s": 5.0,
    }
    return Climb(**(values | changes))


def test_replicas_that_return_slowly_and_drop_nothing_pass() -> None:
    verdict = fall().judged()
    assert (verdict.verdict, verdict.reasons, verdict.doubts) == (Verdict.PASS, (), ())
    assert [victim.pod for victim in verdict.victims] == ["old"]
    said = {one.says: one.found for one in of(fall()).criteria}
    assert said["no earlier than is declared"] == "2 to 1 after 22 s; 10 s are declared"


def test_streams_that_are_cut_when_a_pod_goes_fail() -> None:
    def cut(pod: str, sent: float, end: float) -> Any:  # noqa: ANN401 - a fate
        return (151.1, {"raw": b""}) if pod == "old" and sent < 151 < end else None

    verdict = fall(fate=cut).judged()
    assert verdict.verdict is Verdict.FAIL
    assert "streams were cut off" in verdict.reasons[0]
    assert of(fall(fate=cut)).broken == ""


FALLS: dict[str, tuple[Climb, str, str]] = {
    "too early": (
        fall(behavior={"scaleDown": {"stabilizationWindowSeconds": 300}}),
        chain.TO_DEPLOYMENT,
        "replicas 22 s after the queue last asked for 2: ScaledObject/vllm declares 300 s",
    ),
    "too fast": (
        fall(
            replicas=((50, 5), (146, 1)),
            most=5,
            behavior={
                "scaleDown": {
                    "stabilizationWindowSeconds": 10,
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
                }
            },
        ),
        chain.TO_DEPLOYMENT,
        "from 5 to 1 replicas at once, 46 s after it began: no policy",
    ),
    "never, since the query says something else": (
        fall(
            replicas=((50, 1), (116, 2)),
            deleted=None,
            end=230.0,
            timeout="replicas did not return to 1",
            scraped=lambda at: 10.0 if at > 104 else 0.0,
            hpa_value=lambda _at: 10.0,
        ),
        chain.TO_QUERY,
        "the query says 10, the pods themselves 0; it reads 1 of 2 pods",
    ),
    "never, since the HPA may not": (
        fall(
            replicas=((50, 1), (116, 2)),
            deleted=None,
            end=230.0,
            timeout="replicas did not return to 1",
            hpa={"conditions": {"AbleToScale": "False: FailedUpdateScale: forbidden"}},
        ),
        chain.TO_DEPLOYMENT,
        "AbleToScale False: FailedUpdateScale: forbidden",
    ),
    "nothing rose": (
        stuck(name="scale-in", most=1),
        chain.TO_DEPLOYMENT,
        "held by maxReplicas 1",
    ),
}


@pytest.mark.parametrize("name", FALLS)
def test_a_fall_that_is_not_as_declared_fails_and_is_named(name: str) -> None:
    story, link, said = FALLS[name]
    verdict = story.judged()
    assert verdict.verdict is Verdict.FAIL, verdict.doubts
    assert of(story).broken == link
    assert any(said in reason for reason in verdict.reasons), verdict.reasons


def test_a_fall_that_was_not_waited_for_is_inconclusive() -> None:
    story = fall(replicas=((50, 1), (116, 2)), deleted=None, end=140.0, timeout="too short")
    verdict = story.judged()
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert any("replicas may take" in doubt for doubt in verdict.doubts)


# ── no-flapping ─────────────────────────────────────────────────────────────────────────────────


def waves(at: float) -> float:
    """Return a queue that is long for 30 s of each minute."""
    return 10.0 if at > 100 and (at - 100) % 60 < 30 else 0.0


def swinging(**changes: Any) -> Climb:  # noqa: ANN401 - fields of a story
    values: dict[str, Any] = {
        "name": "no-flapping",
        "waiting": waves,
        "end": 340.0,
        "last": 345,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
    }
    return Climb(**(values | changes))


def test_a_swing_that_is_ridden_out_passes() -> None:
    scaling = of(swinging())
    assert swinging().judged().verdict is Verdict.PASS
    assert (scaling.changes, scaling.allowed) == (1, 2)


def test_more_changes_than_the_policy_makes_fail() -> None:
    often = tuple((116 + 15 * n, 2 - n % 2) for n in range(12))
    story = swinging(replicas=((50, 1), *often), behavior={})
    verdict = story.judged()
    assert verdict.verdict is Verdict.FAIL
    assert of(story).changes == 12
    assert verdict.reasons[0].startswith(f"{chain.TO_DEPLOYMENT}: 12 changes of the number")


def test_a_policy_that_allows_each_change_passes() -> None:
    follows = ((50, 1), (116, 2), (146, 1), (176, 2), (206, 1), (236, 2), (266, 1))
    assert swinging(replicas=follows, behavior={}).judged().verdict is Verdict.PASS


def test_a_load_that_swings_once_is_inconclusive() -> None:
    verdict = swinging(waiting=hill).judged()
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert any("went over the threshold 1 times" in doubt for doubt in verdict.doubts)


def test_other_faults_are_not_judged_by_what_scales() -> None:
    (fault,) = Climb(name="scale-up").judged().faults
    assert fault.scaling is None
