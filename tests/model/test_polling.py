"""Which loops over an engine's metrics wait for its streams, and which only look as if."""

from __future__ import annotations

import math
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from drainproof.model import polling
from drainproof.model.polling import Polling

if TYPE_CHECKING:
    from pathlib import Path

ASKS = "curl -s localhost:8000/metrics"
SUM = f"{ASKS} | awk '/^vllm:num_requests_running/{{s+=$2}} END{{print s+0}}'"
RUNS = f"{ASKS} | grep -q '^vllm:num_requests_running.* [1-9]'"
QUOTED = RUNS.replace("'", '"')
FIRST = f"{ASKS} | grep ^vllm:num_requests_running | awk '{{print $2}}'"
ANY = FIRST.replace("^", "")


def read(
    text: str, metric: str = "vllm:num_requests_running", *, parallel: bool = False
) -> Polling:
    return polling.read(["/bin/sh", "-c", text], metric, "/metrics", parallel=parallel)


@pytest.mark.parametrize(
    "text",
    [
        f"sleep 15; while {RUNS}; do sleep 1; done",
        f"sleep 15\nwhile {RUNS}\ndo\n  sleep 1\ndone\n",
        f"until {ASKS} | grep -q '^vllm:num_requests_running{{.*}} 0'; do sleep 1; done",
        f"while ! {ASKS} | grep -qE '^vllm:num_requests_running\\{{.*\\}} 0'; do sleep 2; done",
        f'while [ "$({SUM})" != 0 ]; do sleep 1; done',
        f'while [ "$({SUM})" -gt 0 ]; do echo busy; sleep 1; done; echo drained',
        f"while [ $({FIRST}) != 0.0 ]; do sleep 1; done",
        f'while true; do [ "$({SUM})" = 0 ] && break; sleep 1; done',
        f'while true; do if [ "$({SUM})" -eq 0 ]; then break; fi; sleep 1; done',
    ],
)
def test_a_loop_that_goes_on_while_requests_run_drains(text: str) -> None:
    assert read(text) == Polling(drains=True, most_s=math.inf, ends=False, why="")


@pytest.mark.parametrize(
    ("metric", "condition"),
    [
        ("sglang:num_running_reqs", "grep -q '^sglang:num_running_reqs{.*} [1-9]'"),
        ("tgi_batch_current_size", "grep -q '^tgi_batch_current_size [1-9]'"),
    ],
)
def test_each_engine_is_asked_for_its_own_metric(metric: str, condition: str) -> None:
    text = f"while {ASKS} | {condition}; do sleep 1; done"
    assert read(text, metric).drains
    assert read(text).ends


@pytest.mark.parametrize(
    "text",
    [
        # the lines with # HELP and # TYPE are found, too, and [ gets too many words
        f"while [ $({ANY}) != '0.0' ]; do sleep 1; done",
        # [ compares no 1.0
        f'while [ "$({FIRST})" -gt 0 ]; do sleep 1; done',
        # it looks at what waits, not at what runs
        f"while {ASKS} | grep -q '^vllm:num_requests_waiting.* [1-9]'; do sleep 1; done",
        # there is no such metric
        f"while {ASKS} | grep -q 'vllm_num_requests_running [1-9]'; do sleep 1; done",
        # the wrong way round
        f"until {RUNS}; do sleep 1; done",
    ],
)
def test_a_loop_that_ends_while_requests_run_is_found_out(text: str) -> None:
    found = read(text)
    assert (found.drains, found.ends) == (False, True)
    assert "ends while requests run" in found.why


def test_a_pattern_that_takes_ten_for_none_does_not_drain() -> None:
    found = read(f"until {ASKS} | grep -q '^vllm:num_requests_running.*0[.]0$'; do sleep 1; done")
    assert (found.drains, found.ends) == (False, False)


@pytest.mark.parametrize(
    ("text", "most_s"),
    [
        (f'for i in 1 2 3; do [ "$({SUM})" = 0 ] && break; sleep 1; done', 3),
        (f'for i in $(seq 60); do [ "$({SUM})" = 0 ] && exit 0; sleep 2; done', 120),
        (
            f'n=0; while [ "$({SUM})" != 0 ] && [ $n -lt 10 ]; do n=$((n+1)); sleep 1; done',
            10,
        ),
        (f"sleep 15; timeout 2m sh -c 'while {QUOTED}; do sleep 1; done'", 120),
    ],
)
def test_a_bound_is_what_it_waits_at_most(text: str, most_s: float) -> None:
    assert read(text) == Polling(drains=True, most_s=most_s, ends=False, why="")


@pytest.mark.parametrize(
    "text",
    [
        f"while {ASKS} | python3 running.py; do sleep 1; done",
        f"while {RUNS}; do sleep 1; break; done",
        f"while {RUNS}; do sleep 1; done &",
        f"test -f /drain && while {RUNS}; do sleep 1; done",
        f"if test -f /drain; then while {RUNS}; do sleep 1; done; fi",
        f"exit 0; while {RUNS}; do sleep 1; done",
        f"n=0; while {RUNS} && [ $n -lt 99 ]; do sleep 1; done",
        f"for i in $(cat /times); do {RUNS} || break; sleep 1; done",
        f"until {ASKS} | grep -q 'num_requests_running 0'; do sleep 1; done",
        f"while {ASKS} | grep -q 'num_requests_running.*[1-9]'; do sleep 1; done",
        f"while {ASKS} | grep -qE '(v|vllm)+:num_requests_running'; do sleep 1; done",
    ],
)
def test_a_loop_that_cannot_be_read_is_no_wait(text: str) -> None:
    found = read(text)
    assert (found.drains, found.ends) == (False, False)
    assert "can't be told" in found.why


@pytest.mark.parametrize("text", ["sleep 60", ASKS, "while true; do x; done"])
def test_nothing_else_is_such_a_loop(text: str) -> None:
    assert read(text) == polling.NONE


def test_a_pattern_of_a_manifest_takes_no_time() -> None:
    pattern = "(" * 20 + ".*" * 40 + ")" * 20
    started = time.monotonic()
    read(f"while {ASKS} | grep -qE '{pattern}'; do sleep 1; done")
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("text", "drains"),
    [
        (f"while {RUNS}; do sleep 1; done", True),
        (f'while [ "$({SUM})" != 0 ]; do sleep 1; done', True),
        (f"until {ASKS} | grep -q '^vllm:num_requests_running{{.*}} 0'; do sleep 1; done", False),
        (f"while {RUNS.replace('running', 'running.*engine=.0.*')}; do sleep 1; done", False),
        (f"while [ $({FIRST}) != 0.0 ]; do sleep 1; done", False),  # two words: [ fails
    ],
)
def test_a_loop_over_several_engines_has_to_wait_for_each(text: str, *, drains: bool) -> None:
    assert read(text).drains
    found = read(text, parallel=True)
    assert found.drains is drains
    assert ("on one of the server's engines" in found.why) is not drains


def test_a_loop_that_no_idle_server_of_several_engines_ends_is_in_doubt() -> None:
    text = f'while [ "$({FIRST})" != 0.0 ]; do sleep 1; done'
    assert read(text).drains
    assert "it goes on when no request runs" in read(text, parallel=True).why


@pytest.mark.parametrize("running", [["0"], ["1"], ["10"], ["12"], ["0", "3"], ["3", "0"]])
@pytest.mark.parametrize(
    "condition",
    [
        RUNS,
        f"! {RUNS}",
        f"{ASKS} | grep -q '^vllm:num_requests_running{{.*}} 0'",
        f"{ASKS} | grep -qE '^vllm:num_requests_running\\{{.*\\}} 0'",
        f"{ASKS} | grep -v '#' | grep num_requests_running | grep -q ' [1-9]'",
        f"{ASKS} | grep -qF 'vllm_num_requests_running [1-9]'",
        f'[ "$({SUM})" -gt 0 ]',
        f'[ "$({FIRST})" -gt 0 ]',
        f"[ $({FIRST}) != 0.0 ]",
        f"[ $({ANY}) != '0.0' ]",
        f"test $({FIRST}) = 0.0",
    ],
)
def test_a_condition_holds_where_it_does_in_a_shell(
    condition: str, running: list[str], tmp_path: Path
) -> None:
    answer = polling._answer("vllm:num_requests_running", running)  # noqa: SLF001
    (tmp_path / "answer").write_text("\n".join(answer) + "\n")
    curl = tmp_path / "curl"
    curl.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n")
    curl.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ran = subprocess.run(["sh", "-c", condition], env=env, capture_output=True, check=False)
    told = polling._succeeds(condition, answer, "/metrics")  # noqa: SLF001
    assert told is (ran.returncode == 0)
