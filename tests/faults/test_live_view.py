"""What a run looks like at a terminal, on a real pseudo terminal; and where there is none."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from drainproof.errors import UserError
from drainproof.faults import run as runs
from drainproof.faults.live_view import LiveView, progress_on
from drainproof.faults.run import run_on
from drainproof.faults.so_far import SoFar
from drainproof.faults.undo import digest
from drainproof.judge.verdict import Verdict
from drainproof.progress import NoProgress, PlainProgress, Row
from tests.faults.fake import FakeCluster
from tests.faults.runner import plan
from tests.faults.terminal import Terminal
from tests.report.audits import HOSTILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.progress import Progress, Status
    from tests.commands import Done

PATIENCE_S = 60
FAST_S = 0.02
STAMPED = re.compile(r"\[\d\d:\d\d\] ")
ABLE = {"TERM": "xterm-256color"}


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as running:
        yield running


@pytest.fixture
def _able(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment be one in which a terminal can."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("CI", raising=False)


@pytest.fixture
def _still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all lines have the same stamp."""
    monkeypatch.setattr("drainproof.progress.time", SimpleNamespace(monotonic=lambda: 5.0))


class Standing:
    """How some work stands, as a test says."""

    def __init__(self, *rows: Row) -> None:
        self.told = list(rows)
        self.problem: Exception | None = None
        self.closed = False

    def rows(self) -> list[Row]:
        if self.problem:
            raise self.problem
        return self.told

    def close(self) -> None:
        self.closed = True


class Patient(LiveView):
    """A view whose steps begin when they are on the screen, however busy the machine is."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(terminal.out, refresh_s=FAST_S)
        self._terminal = terminal

    @contextmanager
    def follow(self, begin: Callable[[], Status]) -> Iterator[None]:
        with super().follow(begin):
            self._see(r"fault    .+")
            yield

    @contextmanager
    def step(self, name: str, estimate_s: float | None = None) -> Iterator[None]:
        with super().step(name, estimate_s):
            if self._live:
                self._see(rf"\d\d:\d\d    {name}, .+")
            yield

    def _see(self, pattern: str) -> None:
        self._terminal.wait(lambda lines: any(re.fullmatch(pattern, line) for line in lines))


def run(cluster: FakeCluster, folder: Path, progress: Progress, **changes: object) -> ChaosVerdict:
    return run_on(cluster.api, plan(folder, **changes), progress)[0]


def say_things(progress: Progress) -> None:
    """Say what needs escaping, is wider than a terminal, and fails."""
    progress.line("plain")
    progress.line("w" * 250)
    progress.line(f"[bold]markup[/] :smile: {HOSTILE}")
    with suppress(ValueError), progress.step("a step", 65):
        raise ValueError


# ── where it is shown ──


def test_a_terminal_shows_the_run_and_keeps_the_lines(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.waiting = 3.0
    cluster.deleted_after_s = 1.0
    with Terminal() as terminal:
        verdict = run(cluster, tmp_path, Patient(terminal))
    assert verdict.verdict is Verdict.PASS
    seen = "\n".join(terminal.seen)
    for shown in (
        r"^\d\d:\d\d    wait for a steady state, .+$",
        r"^\d\d:\d\d    rollout, .+$",
        r"^fault    next is 1 of 1: rollout$",
        r"^fault    1 of 1: rollout; under way$",
        r"^streams  [1-9]\d* in flight, [1-9]\d* ended: [1-9]\d* whole, 0 cut off$",
        r"^so far   rollout: nothing lost \(no verdict yet\)$",
        r"^pods     1 ready \(1-a\)$",
        r"^queue    3 waiting$",
    ):
        assert re.search(shown, seen, re.MULTILINE), shown
    assert [line for line in terminal.scrolled if not STAMPED.match(line)] == []
    for kept in ("] rollout", "] ✓ wait for a steady state: ", ": deleted"):
        assert any(kept in line for line in terminal.shown), kept
    assert terminal.cursor_is_visible


def test_streams_that_are_cut_are_seen_while_the_run_goes_on(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.cut_after_write = True
    cluster.deleted_after_s = 1.0
    with Terminal() as terminal:
        verdict = run(cluster, tmp_path, Patient(terminal))
    assert verdict.verdict is Verdict.FAIL
    seen = "\n".join(terminal.seen)
    assert re.search(r"whole, [1-9]\d* cut off \([1-9]\d* silently\)$", seen, re.MULTILINE)
    assert re.search(r"^so far   rollout: [1-9]\d* cut off \(no", seen, re.MULTILINE)


@pytest.mark.parametrize(
    "environ", [{"NO_COLOR": "1"}, {"CI": "true"}, {"TERM": "dumb"}, {"TERM": ""}]
)
def test_a_terminal_that_is_not_to_show_it_has_plain_lines(environ: dict[str, str]) -> None:
    with Terminal() as terminal:
        assert type(progress_on(terminal.out, ABLE)) is LiveView
        assert type(progress_on(terminal.out, {**ABLE, "NO_COLOR": ""})) is LiveView
        assert type(progress_on(terminal.out, {**ABLE, **environ})) is PlainProgress
        assert type(progress_on(terminal.out, {})) is PlainProgress


def test_what_is_no_terminal_has_plain_lines_and_nothing_else(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    out = io.StringIO()
    progress = progress_on(out, ABLE)
    assert type(progress) is PlainProgress
    run(cluster, tmp_path, progress)
    lines = out.getvalue().splitlines()
    assert [re.sub(r"\d+", "N", line[8:]) for line in lines[1:-1]] == [
        "start the streams",
        "✓ start the streams: N s",
        "wait for a steady state",
        "✓ wait for a steady state: N s",
        "rollout",
        "✓ rollout: N s",
        "let the streams in flight end",
        "✓ let the streams in flight end: N s",
        "deployment/vllm: pod template put back; its new pods stay",
    ]
    assert "\x1b" not in out.getvalue()


@pytest.mark.usefixtures("_able")
@pytest.mark.parametrize("live", [True, False])
def test_the_command_shows_it_where_standard_error_can(
    run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, *, live: bool
) -> None:
    used: list[type] = []

    def ran(_plan: object, progress: object, *_: object) -> None:
        used.append(type(progress))
        raise UserError("enough")

    monkeypatch.setattr(runs, "run", ran)
    with Terminal() as terminal:
        if live:
            monkeypatch.setattr(sys, "stderr", terminal.out)
        done = run("chaos", "deployment/vllm", "--context", "c", "-n", "n")
        monkeypatch.undo()
    assert done.code == 2
    assert used == [LiveView if live else PlainProgress]


@pytest.mark.parametrize("quiet", [PlainProgress(io.StringIO()), NoProgress()])
def test_plain_progress_keeps_count_of_nothing(quiet: Progress) -> None:
    with quiet.follow(lambda: pytest.fail("nobody is to be asked")):
        pass


# ── how it is shown ──


@pytest.mark.usefixtures("_still")
def test_plain_lines_are_the_same_with_a_view_below_them() -> None:
    plain = io.StringIO()
    say_things(PlainProgress(plain))
    with Terminal() as terminal:
        progress = LiveView(terminal.out, refresh_s=FAST_S)
        with progress.follow(lambda: Standing(Row("pods", "none"))):
            terminal.wait(lambda lines: lines[-1] == "pods     none")
            say_things(progress)
            terminal.wait(lambda lines: lines[-1] == "pods     none")
    assert terminal.scrolled == [
        line[at : at + 200].rstrip()
        for line in plain.getvalue().splitlines()
        for at in range(0, len(line), 200)
    ]


@pytest.mark.usefixtures("_still")
def test_a_small_terminal_shows_what_matters_most_and_leaves_room_for_lines() -> None:
    rows = [Row("streams", "word " * 20), Row("pods", "p" * 100), Row("last", "not seen")]
    with Terminal(40, 10) as terminal:
        progress = LiveView(terminal.out, refresh_s=FAST_S)
        with progress.follow(lambda: Standing(*rows)):
            for number in range(20):
                progress.line(f"number {number}")
            shown = terminal.wait(lambda lines: len(lines) == 10 and "number 19" in lines[2])
    assert shown[:3] == [f"[00:00] number {number}" for number in (17, 18, 19)]
    assert shown[4].startswith("streams  word word")
    assert shown[9].startswith(" " * 9 + "ppp") or shown[9].startswith("pods     ppp")
    assert "not seen" not in "\n".join(terminal.seen)
    assert terminal.scrolled == [f"[00:00] number {number}" for number in range(20)]


@pytest.mark.usefixtures("_still")
@pytest.mark.parametrize(("columns", "lines"), [(40, 10), (12, 3), (1, 2)])
def test_even_the_smallest_terminal_keeps_the_lines_only(columns: int, lines: int) -> None:
    with Terminal(columns, lines) as terminal:
        progress = LiveView(terminal.out, refresh_s=FAST_S)
        with progress.follow(lambda: Standing(Row("streams", "word " * 20))):
            progress.line("first")
            seen = len(terminal.seen)
            terminal.wait(lambda _lines: len(terminal.seen) > seen + 2)
            progress.line("second " * 10)
    text = re.sub(r"\s", "", "".join(terminal.scrolled))
    assert text == "[00:00]first[00:00]" + "second" * 10
    assert terminal.cursor_is_visible


@pytest.mark.usefixtures("_still")
def test_a_terminal_that_is_resized_is_followed() -> None:
    rows = [Row("pods", "some words " * 8)]
    with Terminal(100, 30) as terminal:
        progress = LiveView(terminal.out, refresh_s=FAST_S)
        with progress.follow(lambda: Standing(*rows)):
            progress.line("first")
            terminal.wait(lambda lines: lines[-1].endswith("some words some words"))
            terminal.resize(40, 10)
            terminal.wait(lambda lines: lines[-1] == "         words")
            terminal.resize(160, 30)
            terminal.wait(lambda lines: lines[-1] == f"pods     {'some words ' * 8}".rstrip())
            progress.line("last")
    assert terminal.shown[-1] == "[00:00] last"
    assert terminal.cursor_is_visible


def test_a_terminal_that_does_not_know_its_size_has_a_usual_one() -> None:
    with Terminal(80, 24) as terminal:
        terminal.say_size(0, 0)
        progress = LiveView(terminal.out, refresh_s=FAST_S)
        with progress.follow(lambda: Standing(Row("pods", "w" * 60))):
            terminal.wait(lambda lines: lines[-1] == "pods     " + "w" * 60)


def test_no_text_of_others_acts_on_the_terminal() -> None:
    with Terminal() as terminal:
        progress = LiveView(terminal.out, refresh_s=FAST_S)
        rows = [
            Row("a", f"[bold red]{HOSTILE}"),
            Row(HOSTILE, ""),
            Row("pods", "[/] :smile: \x1b[2J"),
        ]
        with progress.follow(lambda: Standing(*rows)), progress.step(HOSTILE):
            terminal.wait(lambda lines: lines[-1] == "pods     [/] :smile: \\x1b[2J")
    assert "a        [bold red]x\\x1b]0;owned\\x07" in "\n".join(terminal.seen)
    acts = set(re.findall(rb"\x1b(?:\[[0-9?;]*[A-Za-z]|.)", terminal.raw))
    assert acts == {b"\x1b[2m", b"\x1b[0m", b"\x1b[2K", b"\x1b[1A", b"\x1b[?25h", b"\x1b[?25l"}
    assert not re.search(r"[\x07\u202e]", terminal.raw.decode())


def test_bad_news_is_red() -> None:
    with Terminal() as terminal:
        progress = LiveView(terminal.out, refresh_s=FAST_S)
        rows = [Row("streams", "bad", alarm=True), Row("pods", "good")]
        with progress.follow(lambda: Standing(*rows)):
            lines = terminal.wait(lambda lines: lines[-1] == "pods     good")
            buffer = terminal.screen.buffer
            colours = {lines[row][9:]: buffer[row][9].fg for row in range(len(lines))}
    assert (colours["bad"], colours["good"]) == ("red", "default")


# ── how it ends ──


@contextmanager
def at_a_terminal(
    cluster: FakeCluster, folder: Path, terminal: Terminal
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a fault that does not get to its end, as a process; within, it is under way."""
    cluster.stuck = True
    environ = {key: value for key, value in os.environ.items() if key not in {"CI", "NO_COLOR"}}
    running = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.runner", cluster.url, str(folder)],
        stderr=terminal.out,
        env=environ | ABLE,
    )
    try:
        terminal.wait(lambda lines: "fault    1 of 1: rollout; under way" in lines)
        yield running
        running.wait(PATIENCE_S)
    finally:
        running.kill()
        running.wait()


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")]
)
def test_an_interrupt_leaves_the_terminal_as_it_was_and_undoes_everything(
    cluster: FakeCluster, tmp_path: Path, number: signal.Signals, word: str
) -> None:
    before = digest(cluster.template)
    with Terminal() as terminal, at_a_terminal(cluster, tmp_path / "e", terminal) as running:
        running.send_signal(number)
    assert running.returncode == 2
    assert terminal.shown[-1] == f"error: interrupted by {word}; the target is as it was"
    assert [line for line in terminal.shown[:-1] if not STAMPED.match(line)] == []
    assert terminal.cursor_is_visible
    assert digest(cluster.template) == before
    assert cluster.residue() == []


def test_even_a_kill_leaves_the_cursor(cluster: FakeCluster, tmp_path: Path) -> None:
    with Terminal() as terminal, at_a_terminal(cluster, tmp_path / "e", terminal) as running:
        running.kill()
    assert terminal.cursor_is_visible


def test_a_run_that_fails_leaves_its_lines_only(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.broken_client = True
    unserved = pytest.raises(UserError, match="does not serve streams before the fault")
    with Terminal() as terminal, unserved:
        run(cluster, tmp_path, LiveView(terminal.out, refresh_s=FAST_S))
    assert "new requests failed" in "\n".join(terminal.seen)
    assert [line for line in terminal.shown if not STAMPED.match(line)] == []
    assert terminal.cursor_is_visible


def test_a_view_that_breaks_down_ends_alone(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = SoFar.rows

    def rows(self: SoFar) -> list[Row]:
        found = whole(self)
        if "under way" in str(found):
            raise ValueError("\x1b[31mbroken")
        return found

    monkeypatch.setattr(SoFar, "rows", rows)
    with Terminal() as terminal:
        verdict = run(cluster, tmp_path, LiveView(terminal.out, refresh_s=FAST_S))
    assert verdict.verdict is Verdict.PASS
    said = [line[8:] for line in terminal.shown if "live view" in line]
    assert said == ["the live view is over (ValueError: \\x1b[31mbroken); the run goes on"]
    assert [line for line in terminal.shown if not STAMPED.match(line)] == []
    assert terminal.cursor_is_visible


@pytest.mark.usefixtures("_still")
def test_a_view_that_broke_down_keeps_count_of_nothing() -> None:
    standing = Standing()
    standing.problem = RuntimeError("broken")
    with Terminal() as terminal:
        progress = LiveView(terminal.out, refresh_s=FAST_S)
        with progress.follow(lambda: standing):
            terminal.wait(lambda lines: "live view is over" in lines[-1])
            progress.line("on")
    assert standing.closed
    assert terminal.shown[-1] == "[00:00] on"


@pytest.mark.usefixtures("_still")
def test_a_view_that_can_not_begin_ends_alone() -> None:
    def begin() -> Standing:
        raise RuntimeError("broken")

    with Terminal() as terminal:
        progress = LiveView(terminal.out)
        with progress.follow(begin):
            progress.line("on")
    assert terminal.shown == [
        "[00:00] the live view is over (RuntimeError: broken); the run goes on",
        "[00:00] on",
    ]


@pytest.mark.usefixtures("_still")
def test_a_line_that_the_view_can_not_write_is_written_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def out(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("rich.console.Console.out", out)
    with Terminal() as terminal:
        progress = LiveView(terminal.out, refresh_s=FAST_S)
        with progress.follow(lambda: Standing(Row("pods", "none"))):
            terminal.wait(lambda lines: "pods     none" in lines)
            progress.line("on")
    assert terminal.shown == [
        "[00:00] the live view is over (RuntimeError: broken); the run goes on",
        "[00:00] on",
    ]


def test_ctrl_c_takes_the_view_away() -> None:
    with Terminal() as terminal:
        progress = LiveView(terminal.out, refresh_s=FAST_S)
        with suppress(KeyboardInterrupt), progress.follow(lambda: Standing(Row("a", "b"))):
            terminal.wait(lambda lines: "a        b" in lines)
            raise KeyboardInterrupt
    assert terminal.shown == [""]


@pytest.mark.usefixtures("_still")
def test_a_signal_may_have_a_line_in_the_midst_of_another() -> None:
    """Its handler runs in the thread that is writing; a lock that it can't have would hang."""

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            if "first" in text:
                progress.line("second")
            return super().write(text)

    out = Out()
    progress = PlainProgress(out)
    writing = threading.Thread(target=progress.line, args=("first",), daemon=True)
    writing.start()
    writing.join(PATIENCE_S)
    assert out.getvalue() == "[00:00] second\n[00:00] first\n"
