"""Evidence has a published form: verdicts and Histories are as their schemas say, and no wider."""

from __future__ import annotations

from dataclasses import fields
from importlib.resources import files as resources
from typing import Any, get_args

import jsonschema
import orjson
import pytest

from drainproof.judge import chaos
from drainproof.streams import history
from drainproof.streams.history import Record, to_line
from tests.judge.climb import Climb
from tests.judge.outage import Outage
from tests.judge.story import Killed, Story, sequence
from tests.judge.test_cold import start
from tests.judge.test_fault_causes import SPOILT, sound
from tests.judge.test_scaling import STUCK, stuck
from tests.judge.test_zero import Empty
from tests.streams.test_history import RECORDS


def schema(package: str, name: str) -> Any:  # noqa: ANN401 - JSON
    return orjson.loads((resources(package) / name).read_bytes())


VERDICT = schema("drainproof.report", "chaos.schema.json")
HISTORY = schema("drainproof.streams", "history.schema.json")
STORIES = {
    "a pass": Story(),
    "nothing done": Story(begin=None, end=None),
    "an abrupt fault": Killed(),
    "an autoscaler that works": Climb(),
    "an outage": Outage(),
    "a cold start": start(),
    "one without a new pod": start(serves=None, fresh=(), replicas=STUCK),
    "a start from zero": Empty(),
    "one that does not": stuck(answers=False, hpa=None),
    "nothing known": Story(prestop_s=None, gauge=lambda _at, _running: None, end=None),
    **{cause.value: spoil(sound("rollout")) for cause, spoil in SPOILT.items()},
}


@pytest.mark.parametrize("name", STORIES)
def test_a_verdict_is_as_its_schema_says(name: str) -> None:
    jsonschema.validate(orjson.loads(STORIES[name].judged().to_json()), VERDICT)


def test_a_verdict_on_several_faults_is_so_too() -> None:
    records = sequence(Story(), Killed(index=1, t0=Story().t0 + 400))
    jsonschema.validate(orjson.loads(chaos.judge(lambda: records).to_json()), VERDICT)


@pytest.mark.parametrize(
    "record",
    [*RECORDS, *Killed().records()[:40], Outage().fault(100, "begin")],
    ids=lambda one: one.kind,
)
def test_a_record_is_as_its_schema_says(record: Record) -> None:
    jsonschema.validate(orjson.loads(to_line(record)), HISTORY)


@pytest.mark.parametrize("cls", get_args(Record), ids=lambda cls: str(cls.kind))
def test_a_schema_has_each_field_of_its_record(cls: Any) -> None:  # noqa: ANN401 - a record's class
    said = HISTORY["$defs"][cls.__name__]["properties"]
    assert set(said) == {"kind", *(field.name for field in fields(cls))}


def test_schemas_are_of_the_versions_that_are_written() -> None:
    assert VERDICT["properties"]["version"]["const"] == chaos.VERSION
    assert HISTORY["$defs"]["Header"]["properties"]["version"]["const"] == history.VERSION
    assert VERDICT["$id"].endswith(f":{chaos.VERSION}")
    assert HISTORY["$id"].endswith(f":{history.VERSION}")
