"""Whatever a saved Snapshot holds, live checks answer; none breaks down."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import orjson

from drainproof.content import content
from drainproof.errors import UserError
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.model.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = int(os.environ.get("DRAINPROOF_EXAMPLES", "200"))
CHECKS = registry.load(kind="live").checks
FIXTURES = sorted((content("fixtures") / "snapshots").glob("*/*.json"))
WRONG: tuple[Any, ...] = (None, True, -1, 1.5, "", "two", [], [None], [{}], {}, {"name": []})


def places(value: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 - JSON
    """Yield every (parent, key) in a Snapshot."""
    if isinstance(value, (dict, list)):
        for key, part in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from places(part)


def test_no_live_check_breaks_down_at_any_wrong_value_in_any_field() -> None:
    saved = [orjson.loads(path.read_bytes()) for path in FIXTURES]
    sweep = [
        (index, parent, key, wrong)
        for index, one in enumerate(saved)
        for parent, key in places(one)
        for wrong in WRONG
    ]
    step = max(1, len(sweep) // (EXAMPLES * 10))
    broke: dict[str, str] = {}
    judged = 0
    for index, parent, key, wrong in sweep[::step]:
        written = parent[key]
        parent[key] = wrong
        where = f"{FIXTURES[index].parent.name}/{FIXTURES[index].name}: {key}: {wrong!r}"
        try:
            snapshot = Snapshot.from_saved(saved[index])
            result = audit.run(snapshot, PROFILES["production"], CHECKS)
        except UserError:
            continue  # refused as a whole: "a damaged Snapshot"
        finally:
            parent[key] = written
        judged += 1
        for _, item in result.findings:
            if "broke down" in item.message:
                broke.setdefault(item.message, where)
    assert broke == {}
    assert judged > len(sweep[::step]) / 2
