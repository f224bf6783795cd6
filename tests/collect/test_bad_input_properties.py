"""Whatever is done to a manifest, the audit answers; no check and no report ever breaks down.

``DRAINPROOF_EXAMPLES`` says how many cases each test tries; 100,000 try every wrong value in every
field of every fixture.
"""

from __future__ import annotations

import copy
import math
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drainproof import report
from drainproof.collect import files, yaml_text
from drainproof.content import content
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.judge.verdict import Verdict
from drainproof.model.snapshot import Snapshot
from drainproof.report.rows import rows
from tests.collect.trees import write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXAMPLES = int(os.environ.get("DRAINPROOF_EXAMPLES", "200"))
CHECKS = registry.load(kind="manifest").checks
FIXTURES = sorted((content("fixtures") / "manifests").glob("*/*.yaml"))
TEXTS = [path.read_text(encoding="utf-8") for path in FIXTURES]
OBJECTS = [
    [yaml_text.parse(text[start:end], is_plain=False) for start, end in yaml_text.documents(text)]
    for text in TEXTS
]
WRONG: list[Any] = [
    None,
    True,
    -1,
    2**70,
    1.5,
    math.nan,
    "",
    "two",
    "8Gib",
    "-25%",
    "sh -c '",
    "$(X) --flag= --port=x --max-model-len=1e400 --tensor-parallel-size=0",
    "a/b:c@d\x1b[2J\ud800",
    "²",
    [],
    [None],
    ["--", "--=", "--x=", "-", "$", "${", "--config", "--port"],
    [{}],
    {},
    {"": None},
    {"name": [], "value": {}, "/": {"a.b[0]": 1}},
]

cases = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([value for value in WRONG if isinstance(value, (str, int, float))]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value: dict[Any, Any] | list[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield every (parent, key) in a manifest."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in list(pairs):
        yield value, key
        if isinstance(part, (dict, list)):
            yield from places(part)


def audited(snapshot: Snapshot, profile: str = "production") -> audit.AuditResult:
    result = audit.run(snapshot, PROFILES[profile], CHECKS)
    assert breakdowns(result) == []
    return result


def breakdowns(result: audit.AuditResult) -> list[str]:
    return [
        f"{outcome.check.slug}: {item.message}"
        for outcome, item in result.findings
        if "the check itself broke down" in item.message
    ]


def test_no_check_breaks_down_at_any_wrong_value_in_any_field() -> None:
    sweep = [
        (index, parent, key, wrong)
        for index, objects in enumerate(OBJECTS)
        for parent, key in places(objects)
        for wrong in WRONG
    ]
    step = max(1, len(sweep) // (EXAMPLES * 5))
    broke: dict[str, str] = {}
    for index, parent, key, wrong in sweep[::step]:
        written = parent[key]
        parent[key] = wrong
        kept = [obj for obj in OBJECTS[index] if isinstance(obj, dict)]
        result = audit.run(Snapshot.of(kept, partial=True), PROFILES["production"], CHECKS)
        for said in breakdowns(result):
            broke.setdefault(said, f"{FIXTURES[index].name}: {key}: {wrong!r}")
        parent[key] = written
    assert broke == {}


@cases
@given(data=st.data())
def test_a_manifest_with_any_value_anywhere_is_audited_or_refused(data: st.DataObject) -> None:
    objects: Any = copy.deepcopy(data.draw(st.sampled_from(OBJECTS)))
    for _ in range(data.draw(st.integers(1, 4))):
        parent, key = data.draw(st.sampled_from(list(places(objects)) or [(objects, 0)]))
        if data.draw(st.booleans()):
            parent[key] = data.draw(values)
        elif isinstance(parent, dict):
            parent.pop(key, None)
        else:
            parent.append(data.draw(values))
    kept = [obj for obj in objects if isinstance(obj, dict)]
    snapshot = Snapshot.of(kept, partial=data.draw(st.booleans()))
    result = audited(snapshot, data.draw(st.sampled_from(list(PROFILES))))
    form = data.draw(st.sampled_from(list(report.FORMATS)))
    assert isinstance(report.write(result, rows(result), form), str)


@cases
@given(data=st.data())
def test_a_file_with_any_bytes_anywhere_is_audited_or_refused(
    data: st.DataObject, tmp_path: Path
) -> None:
    raw = bytearray(data.draw(st.sampled_from(TEXTS)).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        length = data.draw(st.integers(0, 20))
        raw[at : at + length] = data.draw(
            st.binary(max_size=10)
            | st.sampled_from(
                [b"\t", b"{{", b"- ", b": ", b"&a ", b"*a", b"'", b"\n---\n", b"<<: "]
            )
        )
    path = tmp_path / "a.yaml"
    path.write_bytes(raw)
    result = audited(files.read([path]))
    written = report.write(result, rows(result), "json")
    assert result.count(Verdict.FAIL) == 0 or '"findings"' in written


@cases
@given(data=st.data())
@pytest.mark.usefixtures("no_tools")
def test_whatever_a_kustomization_or_a_chart_says_of_itself_it_is_refused_or_left(
    data: st.DataObject, tmp_path: Path
) -> None:
    fields = ["resources", "bases", "patches", "components", "configMapGenerator", "openapi"]
    said = data.draw(
        st.dictionaries(st.sampled_from([*fields, "kind", "apiVersion", "name", "type"]), values)
    )
    text = data.draw(st.sampled_from(["", "---\n", "a: [\n", "\ufeff"])) + repr(said)
    write(tmp_path, {"k/kustomization.yaml": text, "c/Chart.yaml": text})
    snapshot = files.read([tmp_path])
    assert {problem.file for problem in snapshot.problems} <= {
        str(tmp_path / name) for name in ("k", "k/kustomization.yaml", "c")
    }
