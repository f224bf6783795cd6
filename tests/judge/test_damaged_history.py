"""However a History is damaged, or a clock is wrong: there is a verdict, in every format."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from drainproof.judge.chaos import judge
from drainproof.judge.scaling import CRITERIA
from drainproof.judge.verdict import Verdict
from drainproof.report import chaos, run_markdown, run_page
from drainproof.streams.history import Ending
from tests.judge.climb import Climb
from tests.judge.outage import Outage
from tests.judge.story import Killed, Story, sequence

if TYPE_CHECKING:
    from drainproof.streams.history import Record

HISTORIES = (
    Story().records(),
    Killed().records(),
    sequence(Story(), Killed(index=1, t0=1_700_000_400.0)),
    Outage().records(),
    *(Climb(name=name).records() for name in CRITERIA),
)
CLOCKS = (0.0, -1.0, 1_700_000_100.0, 2_700_000_000.0, 1e15)


OTHERS: dict[type, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.sampled_from((0, 1, -1, 10**15)),
    float: st.sampled_from(CLOCKS),
    str: st.sampled_from(("", "old", "new", "begin", "hit", "end", "keda")),
    Ending: st.sampled_from(Ending),
    type(None): st.sampled_from(CLOCKS),
}
"""What a field of a type may say instead; of others, nothing."""


@st.composite
def damaged(draw: st.DrawFn) -> list[Record]:
    """Return a History some of whose lines are gone, moved, doubled, or say something else."""
    header, *records = draw(st.sampled_from(HISTORIES))
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.integers(0, len(records) - 1))
        record = records[place]
        match draw(st.sampled_from(("line", "kind", "moved", "doubled", "field", "field"))):
            case "line":
                del records[place]
            case "kind":
                records = [one for one in records if type(one) is not type(record)]
            case "moved":
                del records[place]
                records.insert(draw(st.integers(0, len(records))), record)
            case "doubled":
                records.insert(draw(st.integers(0, len(records))), record)
            case _:
                name = draw(st.sampled_from([one.name for one in fields(record)]))
                value = getattr(record, name)
                other = type(value)
                told = draw(OTHERS[other] if other in OTHERS else st.builds(other))
                if value is not None or name.endswith("at") or name in {"due", "sent", "ended"}:
                    records[place] = replace(record, **{name: told})
        if not records:
            break
    return [header, *records]


@given(records=damaged())
def test_there_is_a_verdict_and_what_it_rests_on(records: list[Record]) -> None:
    verdict = judge(lambda: records)
    assert (verdict.verdict is Verdict.FAIL) <= bool(verdict.reasons)
    assert (verdict.verdict is Verdict.INCONCLUSIVE) <= bool(verdict.reasons or verdict.doubts)
    assert verdict.to_json()
    assert verdict.verdict.value.upper() in chaos.render(verdict, "evidence").upper()
    assert run_page.page(verdict)
    assert run_markdown.write(verdict)
