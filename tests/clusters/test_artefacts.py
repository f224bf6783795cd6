"""The cache of artefacts: built once, never half, and again when an input changes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from drainproof.clusters import artefacts
from drainproof.clusters.artefacts import Artefact, content_hash, ensure, missing
from drainproof.clusters.records import Record
from drainproof.progress import NoProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BUILDER = """
    import sys
    from pathlib import Path
    from drainproof.clusters.artefacts import Artefact, ensure
    from drainproof.progress import PlainProgress

    def build(into):
        with Path({log!r}).open("a") as log:
            log.write("built\\n")
        (into / "half").write_text("one")
        print("building", flush=True)
        sys.stdin.readline()
        (into / "whole").write_text("two")

    artefact = Artefact("slow", {{"input": "x"}}, build, estimate_s=1)
    ensure([artefact], PlainProgress(out=sys.stdout))
    print((artefact.path / "whole").read_text(), flush=True)
"""


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def builder(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start processes that build the same artefact, and go on when they are sent a line."""
    started: list[subprocess.Popen[str]] = []
    code = textwrap.dedent(BUILDER).format(log=str(tmp_path / "log"))

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"the builder ended without saying {text!r}")


def counting(name: str, built: list[str], **inputs: str | Path | Artefact) -> Artefact:
    def build(into: Path) -> None:
        built.append(name)
        (into / "made").write_text(name)

    return Artefact(name, inputs, build, estimate_s=1)


def left_in_cache() -> list[str]:
    return sorted(path.name for path in artefacts.artefacts_folder().glob(".slow*"))


def test_two_processes_build_an_artefact_once(
    builder: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    first = builder()
    wait_for_line(first, "building")
    second = builder()
    wait_for_line(second, "another run is at it")
    first.communicate("go\n", timeout=30)
    output, _ = second.communicate(timeout=30)
    assert output.strip() == "two"
    assert (tmp_path / "log").read_text() == "built\n"


def test_a_killed_builder_leaves_nothing_that_is_taken_for_whole(
    builder: Callable[[], subprocess.Popen[str]],
) -> None:
    killed = builder()
    wait_for_line(killed, "building")
    killed.send_signal(signal.SIGKILL)
    killed.wait(timeout=30)
    artefact = Artefact("slow", {"input": "x"}, lambda _: None, estimate_s=1)
    assert not artefact.exists


def test_what_a_killed_builder_left_is_removed_by_the_next(
    builder: Callable[[], subprocess.Popen[str]],
) -> None:
    killed = builder()
    wait_for_line(killed, "building")
    killed.kill()
    killed.wait(timeout=30)
    assert len(left_in_cache()) == 1
    output, _ = builder().communicate("go\n", timeout=30)
    assert output.splitlines()[-1] == "two"
    assert left_in_cache() == []


def test_a_builder_that_fails_leaves_nothing() -> None:
    def fail(into: Path) -> None:
        (into / "half").write_text("one")
        raise RuntimeError("no")

    artefact = Artefact("slow", {}, fail, estimate_s=1)
    with pytest.raises(RuntimeError):
        ensure([artefact], NoProgress())
    assert not artefact.exists
    assert left_in_cache() == []


def test_an_artefact_that_exists_is_not_built_again() -> None:
    built: list[str] = []
    for _ in range(2):
        ensure([counting("one", built, version="1")], NoProgress())
    assert built == ["one"]


@pytest.mark.parametrize("change", ["text", "file", "below"])
def test_a_changed_input_builds_again(tmp_path: Path, change: str) -> None:
    built: list[str] = []
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("before")

    def made(version: str) -> Artefact:
        below = counting("below", built, version=version if change == "below" else "1")
        text = version if change == "text" else "1"
        return counting("top", built, source=source, below=below, text=text)

    ensure([made("1")], NoProgress())
    built.clear()
    if change == "file":
        (source / "file").write_text("after")
    ensure([made("2")], NoProgress())
    assert built == (["below", "top"] if change == "below" else ["top"])


def test_inputs_are_built_before_what_is_made_from_them() -> None:
    built: list[str] = []
    lowest = counting("lowest", built)
    middle = counting("middle", built, lowest=lowest)
    ensure([counting("top", built, middle=middle, lowest=lowest)], NoProgress())
    assert built == ["lowest", "middle", "top"]


def test_inputs_of_an_artefact_that_exists_are_not_missing() -> None:
    built: list[str] = []
    below = counting("below", built)
    top = counting("top", built, below=below)
    ensure([top], NoProgress())
    (below.path / "made").unlink()
    below.path.rmdir()
    assert missing([top]) == []


def test_a_comment_in_python_code_changes_no_hash_and_a_statement_does(tmp_path: Path) -> None:
    code = tmp_path / "recipe.py"
    hashes = []
    for text in ("x = 1\n", "# why\nx  =  1\n", "x = 2\n"):
        code.write_text(text)
        hashes.append(content_hash(code))
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_file_that_becomes_executable_changes_the_hash_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("")
    before = content_hash(tmp_path)
    (tmp_path / "script").chmod(0o755)
    assert content_hash(tmp_path) != before


def test_the_time_of_the_last_build_is_the_next_estimate() -> None:
    artefact = counting("one", [])
    assert artefact.seconds == 1
    ensure([artefact], NoProgress())
    assert artefact.seconds < 1


def test_an_interrupt_ends_a_build_at_once_with_all_that_it_runs(tmp_path: Path) -> None:
    code = f"""if True:
        import signal
        from drainproof.clusters.artefacts import Artefact, ensure
        from drainproof.clusters.commands import run
        from drainproof.progress import NoProgress
        # shells let what runs in their background ignore it
        signal.signal(signal.SIGINT, signal.default_int_handler)
        command = ["sh", "-c", "echo $$ > {tmp_path}/pid; exec sleep 600"]
        ensure([Artefact("slow", {{}}, lambda _: run(command), estimate_s=1)], NoProgress())
    """
    os.mkfifo(tmp_path / "pid")
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as builder:
        program = int((tmp_path / "pid").read_text())
        handle = os.pidfd_open(program)
        builder.send_signal(signal.SIGINT)
        assert builder.wait(timeout=30) != 0
    assert select.select([handle], [], [], 30)[0], "what it ran still runs"
    os.close(handle)


def test_a_version_that_a_cluster_runs_from_is_kept_however_old() -> None:
    old, new = (counting("one", [], version=text) for text in ("old", "new"))
    ensure([old], NoProgress())
    Record("mine", None, "", "", artefacts=(old.path.name,)).save()
    os.utime(old.path, (0, 0))
    ensure([new], NoProgress())
    assert old.exists


def test_an_old_version_that_nobody_uses_is_forgotten() -> None:
    old, used, new = (counting("one", [], version=text) for text in ("old", "used", "new"))
    ensure([old, used], NoProgress())
    os.utime(old.path, (0, 0))
    ensure([new], NoProgress())
    assert [one.exists for one in (old, used, new)] == [False, True, True]
