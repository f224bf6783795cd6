"""No text in a manifest, however long and however made, keeps an audit busy.

Each text of a deployment and of its autoscaler is made 10,000 characters longer, one after the
other, with what regular expressions stumble over. A pattern that looks at each pair of characters
takes minutes then.
"""

from __future__ import annotations

import copy
import re
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from drainproof import report
from drainproof.collect import files, yaml_text
from drainproof.content import content
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.model import promql
from drainproof.report.rows import rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHECKS = registry.load(kind="manifest").checks
MANIFEST = content("fixtures") / "manifests" / "whole" / "vllm.yaml"
LONG = 10_000
LIMIT_S = 5.0
"""CPU time for one such deployment, which takes some hundredths of a second."""
PUMPS = ["a-", "0", " ", "$(", "[a]*", "a\n "]

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no such timer")


class TooSlowError(Exception):
    """It took more CPU time than it may."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    def over(*_: object) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401 - YAML
    """Yield the paths of all texts but those that say what an object is."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key not in {"kind", "apiVersion"}:
                yield from leaves(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, (*path, index))
    elif isinstance(node, str):
        yield path


def test_a_pattern_that_takes_for_ever_is_seen_to() -> None:
    """The test's own test."""
    with pytest.raises(TooSlowError), within(0.2):
        re.fullmatch("(a+)+b", "a" * 60)


@pytest.mark.parametrize("pump", PUMPS)
def test_no_long_text_keeps_an_audit_busy(tmp_path: Path, pump: str) -> None:
    text = MANIFEST.read_text(encoding="utf-8")
    whole = [yaml_text.parse(text[a:b], is_plain=False) for a, b in yaml_text.documents(text)]
    paths = list(leaves(whole))
    assert len(paths) > 50
    file = tmp_path / "a.yaml"
    for path in paths:
        objects = copy.deepcopy(whole)
        node: Any = objects
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] += pump * (LONG // len(pump)) + "!"
        file.write_text(yaml.dump_all(objects, Dumper=yaml.CSafeDumper), encoding="utf-8")
        with within(LIMIT_S):
            result = audit.run(files.read([file]), PROFILES["production"], CHECKS)
            assert "".join(report.parts(result, rows(result), "terminal"))


@pytest.mark.parametrize("written", ["(a+)+b", "(a|a)*b", "(.*)(.*)(.*)(.*)(.*)x", "(a*)*"])
def test_a_pattern_of_a_manifest_that_could_take_for_ever_is_never_tried(written: str) -> None:
    assert promql.quick(written) is None


def test_a_pattern_that_is_quick_is_tried() -> None:
    pattern = promql.quick("vllm:num_requests_(?:waiting|running)")
    assert pattern is not None
    assert pattern.fullmatch("vllm:num_requests_waiting")
