"""Who gets SIGTERM, by the command line that a container starts with."""

from __future__ import annotations

import pytest

from drainproof.model.engines import BY_NAME
from drainproof.model.signals import Path, follow

VLLM = BY_NAME["vllm"]
START = "vllm serve m --port 8000"


def path(*argv: str) -> Path:
    return follow(argv, {}, VLLM).path


def script(text: str, shell: str = "bash") -> Path:
    return path(shell, "-c", text)


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("--model=m",),
        ("vllm", "serve", "m"),
        ("python3", "-m", "vllm.entrypoints.openai.api_server"),
        ("tini", "-g", "--", "vllm", "serve", "m"),
        ("dumb-init", "vllm", "serve", "m"),
        ("numactl", "--cpunodebind=0", "vllm", "serve", "m"),
        ("sh", "-c", '. /env; exec "$@"', "--", "vllm", "serve", "m"),
        ("numactl", "--membind=0", "bash", "-c", f"exec {START}"),
    ],
)
def test_nothing_stays_in_front_of_the_engine(argv: tuple[str, ...]) -> None:
    assert path(*argv) is Path.REACHES


@pytest.mark.parametrize(
    "text",
    [
        f"exec {START}",
        f"set -e\nexport A=1\nexec {START}\n",
        f"A=1 B=2 exec {START}",
        f"echo running vllm serve m; exec {START}",
        f"if [ $R ]; then exec {START}; else exec {START} --headless; fi",
        f'eval "exec {START} \\\n  $ARGS $@"',
        f"exec env A=1 {START}",
        f"exec {START} > >(tee /log) 2>&1",
    ],
)
def test_a_script_that_ends_in_exec_passes_the_signal_on(text: str) -> None:
    assert script(text) is Path.REACHES


@pytest.mark.parametrize(
    "text",
    [
        f"set -e\n{START}",
        f"{START} > /log 2>&1",
        f"{START}; echo done",
        f'eval "{START}"',
        f"if [ $R ]; then exec {START}; else {START} --headless; fi",
        f"trap 'kill $P' TERM\n{START}",
        f"cd /app && {START}",
        f"bash ray.sh leader; {START}",
    ],
)
def test_a_shell_that_waits_for_the_engine_keeps_the_signal(text: str) -> None:
    assert script(text) is Path.WITHOUT_EXEC


@pytest.mark.parametrize("shell", ["sh", "/bin/sh", "dash", "ash"])
def test_only_bash_replaces_itself_with_a_single_command(shell: str) -> None:
    assert script(START, shell) is Path.WITHOUT_EXEC
    assert script(START, "/bin/bash") is Path.BY_BASH


@pytest.mark.parametrize("text", [f"{START} | tee /log", f"exec {START} 2>&1 | tee /log"])
def test_exec_does_not_help_in_a_pipe(text: str) -> None:
    assert script(text) is Path.PIPED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{START} & wait", Path.BACKGROUND),
        (f"{START} &\ntail -f /dev/null", Path.BACKGROUND),
        (f"exec {START} & wait", Path.BACKGROUND),
        (f"trap '' TERM\n{START} & wait", Path.BACKGROUND),
        (f"trap 'kill $P' INT\n{START} & P=$!; wait $P; wait $P", Path.BACKGROUND),
        (f"trap 'exit 0' TERM\n{START} & wait", Path.TRAP_ENDS),
        (f"trap 'kill -9 $P' TERM\n{START} & P=$!; wait; wait", Path.TRAP_KILLS),
        (f"trap 'kill -TERM $P' TERM\n{START} & P=$!\nwait $P", Path.TRAP_LEAVES),
        (f"trap 'kill -TERM $P; exit 0' TERM\n{START} & P=$!\nwait; wait", Path.TRAP_LEAVES),
        (f"trap 'kill -TERM $P' TERM\n{START} & P=$!\nwait $P\nwait $P", Path.REACHES),
        (f"trap 'kill -TERM $P; wait $P' 15\n{START} & P=$!\nwait $P", Path.REACHES),
        (f"trap 'pkill -TERM -f vllm; wait' TERM\n{START} &\nwait", Path.REACHES),
        (
            f"trap 'kill $P' TERM\n{START} & P=$!\nwhile kill -0 $P; do wait $P; done",
            Path.REACHES,
        ),
        (
            f"stop() {{\n  kill $P\n  wait $P\n}}\ntrap stop TERM\n{START} & P=$!\nwait $P",
            Path.REACHES,
        ),
        (
            f"stop() {{\n  kill -TERM $P\n}}\ntrap stop SIGTERM\n{START} &\nP=$!\nwait $P",
            Path.TRAP_LEAVES,
        ),
        (f". /lib.sh\ntrap stop SIGTERM\n{START} &\nwait", Path.UNSEEN),
    ],
)
def test_a_background_engine_depends_on_the_trap(text: str, expected: Path) -> None:
    assert script(text) is expected


@pytest.mark.parametrize(
    "argv",
    [
        ("/scripts/start.sh",),
        ("bash", "/scripts/start.sh", "--x"),
        ("sh", "-c", "exec /scripts/start.sh"),
        ("sh", "-c", "/scripts/start.sh"),
        ("sh", "-c", ""),
    ],
)
def test_a_script_elsewhere_cannot_be_judged(argv: tuple[str, ...]) -> None:
    assert path(*argv) is Path.UNSEEN


@pytest.mark.parametrize(
    "argv", [("supervisord", "-n"), ("python3", "/app/serve.py"), ("tini", "--", "/app/start")]
)
def test_a_program_that_may_start_the_engine_cannot_be_judged(argv: tuple[str, ...]) -> None:
    assert follow(argv, {}, VLLM, own=True).path is Path.UNSEEN


@pytest.mark.parametrize(
    ("argv", "text", "expected"),
    [
        (("/start.sh",), f"#!/bin/bash\nexec {START}\n", Path.REACHES),
        (("/start.sh",), f"#!/usr/bin/env bash\nset -e\n{START}\n", Path.WITHOUT_EXEC),
        (("bash", "/start.sh"), f"exec {START}", Path.REACHES),
        (("sh", "-c", "exec /start.sh --x"), f"exec {START}", Path.REACHES),
        (("sh", "-c", "exec /start.sh --x"), START, Path.WITHOUT_EXEC),
        (("sh", "-c", "/start.sh --x"), f"exec {START}", Path.UNSEEN),
    ],
)
def test_a_script_in_a_known_file_is_read(argv: tuple[str, ...], text: str, expected: Path) -> None:
    found = follow(argv, {}, VLLM, own=True, file={"/start.sh": text}.get)
    assert found.path is expected


def test_an_engines_own_start_script_is_taken_for_the_engine() -> None:
    argv = ("/opt/nim/start_server.sh",)
    assert follow(argv, {}, BY_NAME["nim"]).path is Path.REACHES


@pytest.mark.parametrize("init", ["tini", "/usr/bin/dumb-init"])
def test_a_shell_behind_an_init_is_not_the_first_process(init: str) -> None:
    found = follow((init, "--", "sh", "-c", START), {}, VLLM)
    assert (found.path, found.first) == (Path.WITHOUT_EXEC, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (START, f"exec {START}"),
        (f"A=1 {START}", f"A=1 exec {START}"),
        ("set -e\nvllm serve m \\\n  --port 1\n", "set -e\nexec vllm serve m \\\n  --port 1\n"),
        (f"echo vllm; {START}", f"echo vllm; exec {START}"),
    ],
)
def test_where_exec_is_missing_is_known(text: str, expected: str) -> None:
    start = follow(("sh", "-c", text), {}, VLLM).start
    assert start is not None
    assert start.sub("exec ", text) == expected


@pytest.mark.parametrize(
    "text",
    [
        f"{START}; echo done",  # exec would keep what follows from running
        f'eval "{START}"',
        f"if [ $R ]; then {START}; else {START}; fi",
        f"{START} | tee /log",
        f"{START} & wait",
    ],
)
def test_exec_is_not_proposed_where_it_changes_more_or_is_not_enough(text: str) -> None:
    assert follow(("sh", "-c", text), {}, VLLM).start is None
