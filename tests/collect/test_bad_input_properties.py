"""Whatever is done to a manifest, the audit answers; it never breaks down."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drainproof.collect import files, yaml_text
from drainproof.content import content
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.judge.verdict import Verdict
from drainproof.model.snapshot import Snapshot
from drainproof.report import json, terminal
from drainproof.report.rows import rows

if TYPE_CHECKING:
    from pathlib import Path

CHECKS = registry.load(kind="manifest").checks
FIXTURES = sorted((content("fixtures") / "manifests").glob("*/*.yaml"))
TEXTS = [path.read_text(encoding="utf-8") for path in FIXTURES]
OBJECTS = [
    [yaml_text.parse(text[start:end], is_plain=True) for start, end in yaml_text.documents(text)]
    for text in TEXTS
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["two", "25%", "-1%", "8Gib", "0", "", "$(X)", "sh -c '", "\x1b[2J", "\ud800"]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value: dict[Any, Any] | list[Any]) -> list[tuple[Any, Any]]:
    """Return every (parent, key) in a manifest."""
    found: list[tuple[Any, Any]] = []
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in pairs:
        found.append((value, key))
        if isinstance(part, (dict, list)):
            found += places(part)
    return found


def audited(snapshot: Snapshot) -> audit.AuditResult:
    result = audit.run(snapshot, PROFILES["production"], CHECKS)
    broke = [
        item.message for _, item in result.findings if "the check itself broke down" in item.message
    ]
    assert broke == []
    return result


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_manifest_with_any_value_anywhere_is_audited_or_refused(data: st.DataObject) -> None:
    objects: Any = copy.deepcopy(data.draw(st.sampled_from(OBJECTS)))
    for _ in range(data.draw(st.integers(1, 3))):
        parent, key = data.draw(st.sampled_from(places(objects)))
        if data.draw(st.booleans()):
            parent[key] = data.draw(values)
        elif isinstance(parent, dict):
            parent.pop(key, None)
    kept = [obj for obj in objects if isinstance(obj, dict)]
    result = audited(Snapshot.of(kept, partial=True))
    assert isinstance(terminal.write(result, rows(result)), str)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
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
            | st.sampled_from([b"\t", b"{{", b"- ", b": ", b"&a ", b"*a", b"'"])
        )
    path = tmp_path / "a.yaml"
    path.write_bytes(raw)
    result = audited(files.read([path]))
    written = json.write(result, rows(result))
    assert result.count(Verdict.FAIL) == 0 or '"findings"' in written
