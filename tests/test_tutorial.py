"""The tutorial's commands run in its order, and print what it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from drainproof.content import content
from tests.test_help import taken

ROOT = content("checks").parent
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MORE = "…"


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Return each command of all blocks that are run, with the lines that it is shown to print."""
    found: list[tuple[str, list[str]]] = []
    for kind, block in BLOCK.findall(text):
        for line in block.splitlines() if kind == "console" else ():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.startswith("> "):
                command, shown = found.pop()
                found.append((f"{command}\n{line[2:]}", shown))
            else:
                found[-1][1].append(line)
    return found


def is_shown(shown: list[str], printed: list[str]) -> bool:
    """Tell whether lines are what was printed, where ``…`` stands for any number of lines.

    At the end of a line it stands for the rest of that line.
    """
    pattern = "".join(
        "(?:[^\n]*\n)*?" if line == MORE else re.escape(line).replace(MORE, "[^\n]*") + "\n"
        for line in shown
    )
    text = "".join(f"{line.rstrip()}\n" for line in printed)
    return re.fullmatch(pattern, text) is not None


def test_every_command_that_needs_no_cluster_prints_what_is_shown(tmp_path: Path) -> None:
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    path = f"{BIN}:{os.environ['PATH']}"
    listed = commands(TUTORIAL)
    assert len(listed) > 10
    for command, shown in listed:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env={"PATH": path, "HOME": str(tmp_path), "PYTEST_ADDOPTS": "-p no:cacheprovider"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        assert is_shown(shown, done.stdout.splitlines()), f"$ {command}\n{done.stdout}"


@pytest.mark.parametrize(
    ("shown", "shows"),
    [
        (["a", "b"], True),
        (["a"], False),
        (["a", "…"], True),
        (["…", "b"], True),
        (["…", "a"], False),
        (["a", "c"], False),
    ],
)
def test_what_is_not_as_it_is_shown_is_seen_to(shown: list[str], *, shows: bool) -> None:
    """The test's own test."""
    assert is_shown(shown, ["a", "b "]) is shows


def test_every_command_that_is_not_run_needs_a_cluster_or_its_evidence_and_is_one() -> None:
    lines = [
        line
        for kind, block in BLOCK.findall(TUTORIAL)
        if kind == "sh"
        for line in block.splitlines()
    ]
    assert len(lines) > 3
    assert [line for line in lines if "--context" not in line and "EVIDENCE" not in line] == []
    for line in lines:
        if line.startswith("drainproof"):
            assert taken(line)
