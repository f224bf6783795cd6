"""Whatever a History tells of an autoscaler, there is a verdict, and no error."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from drainproof.judge.scaling import CRITERIA
from drainproof.judge.verdict import Verdict
from tests.judge.climb import QUERY, Climb
from tests.judge.test_scaling import CPU, LATENCY, LOADING, WAITING

BEGIN, END = 100, 160
MOMENTS = st.integers(BEGIN - 5, END)


@dataclass(frozen=True)
class Line:
    """A number that changes at some moments."""

    points: tuple[tuple[int, float | None], ...]

    def __call__(self, at: float) -> float | None:
        return next((value for since, value in reversed(self.points) if since <= at), 0.0)


def lines(values: st.SearchStrategy[float | None]) -> st.SearchStrategy[Line]:
    points = st.lists(st.tuples(MOMENTS, values), max_size=4, unique_by=lambda one: one[0])
    return points.map(lambda found: Line(tuple(sorted(found, key=lambda one: one[0]))))


counts = st.lists(
    st.tuples(MOMENTS, st.integers(0, 4)), max_size=4, unique_by=lambda one: one[0]
).map(lambda found: ((50, 1), *sorted(found)))
numbers = st.sampled_from((0.0, 0.04, 1.0, 3.0, 10.0, 95.0))
told = st.fixed_dictionaries(
    {"at": st.integers(BEGIN, END), "name": st.sampled_from(("new", "newer"))},
    optional={
        "created_at": st.integers(BEGIN - 5, END).map(lambda at: 1_700_000_000.0 + at),
        "ready": st.booleans(),
        "node": st.sampled_from(("", "n")),
        "unschedulable": st.sampled_from(("", "0/2 nodes are available")),
        "containers": st.sampled_from(([], LOADING)),
    },
)
stories = st.builds(
    Climb,
    name=st.sampled_from(sorted(CRITERIA)),
    end=st.one_of(st.none(), st.integers(BEGIN + 1, END).map(float)),
    last=st.just(END + 5),
    timeout=st.sampled_from(("", "not within 40 s")),
    waiting=lines(numbers),
    scraped=st.one_of(st.none(), lines(st.one_of(st.none(), numbers))),
    hpa_value=st.one_of(st.none(), lines(st.one_of(st.none(), numbers))),
    hpa=st.sampled_from((None, {}, {"desired": None}, {"conditions": {}})),
    aim=st.sampled_from((None, 1.0, 10.0, 83.0)),
    replicas=counts,
    threshold=st.sampled_from(("0.05", "2", "80")),
    query=st.sampled_from((QUERY, CPU, LATENCY)),
    answers=st.booleans(),
    answer=st.sampled_from(({}, {"sampled": None, "oldest": None}, {"pods": 0, "scraped": 0})),
    fresh=st.one_of(
        st.none(),
        st.lists(told, max_size=3).map(lambda found: tuple(WAITING | one for one in found)),
    ),
    serves=st.one_of(st.none(), st.integers(BEGIN, END).map(float)),
    stated=st.sampled_from(({}, {"growth": 0.5}, {"growth": 0.5, "wait": 20.0})),
)


@given(story=stories)
def test_there_is_a_verdict_that_says_why(story: Climb) -> None:
    verdict = story.judged()
    for fault in verdict.faults:
        scaling: Any = fault.scaling
        assert scaling is not None
        if fault.verdict is Verdict.FAIL:
            assert fault.reasons
        elif fault.verdict is Verdict.INCONCLUSIVE:
            assert fault.doubts
        else:
            assert all(one.holds for one in scaling.criteria)
        holds = [one.holds for one in scaling.criteria]
        assert all(before for before, _ in pairwise(holds))  # it ends with the first that does not
