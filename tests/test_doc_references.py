"""What the documents name is there: tests, folders, files and headings."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import TYPE_CHECKING

import pytest

from drainproof.content import content
from drainproof.faults.catalogue import FAULTS
from drainproof.model.engines import ENGINES

if TYPE_CHECKING:
    from pathlib import Path

ROOT = content("checks").parent
THREATS = ROOT / "docs" / "threat-model.md"
WRITTEN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
LINK = re.compile(r"\]\((?!\w+:)([^)#]*)(?:#([^)]*))?\)")
FOLDER = re.compile(r"`((?:drainproof|checks|policies|fixtures|tests|bench|docs)/[\w/.-]*)`")


@cache
def defined(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def missing_tests(text: str) -> list[str]:
    """Return the tests that a text names and that are not there."""
    return [
        f"{file}::{name}"
        for file, name in TEST.findall(text)
        if not (ROOT / file).is_file() or name not in defined(ROOT / file)
    ]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as its host makes them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}


def broken_links(path: Path, text: str) -> list[str]:
    """Return the links of a page to files and headings that are not there."""
    return [
        f"{file}#{anchor}"
        for file, anchor in LINK.findall(text)
        if not (found := (path.parent / file if file else path)).exists()
        or (anchor and anchor not in anchors(found))
    ]


def missing_folders(text: str) -> list[str]:
    """Return the files and folders that a text names and that are not there."""
    named = [name for name in FOLDER.findall(text) if "your" not in name]
    return [name for name in named if not (ROOT / name).exists()]


def rows(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [line for line in lines if "| --- |" not in line and not line.endswith("| test |")]


def test_every_test_that_the_threat_model_names_is_there() -> None:
    text = THREATS.read_text(encoding="utf-8")
    assert len(TEST.findall(text)) > 50
    assert missing_tests(text) == []


def test_every_threat_has_a_test() -> None:
    threats = rows(THREATS.read_text(encoding="utf-8"))
    assert len(threats) > 30
    head = "| part | reads |"
    assert [line for line in threats if not TEST.search(line) and not line.startswith(head)] == []


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_every_link_of_a_page_leads_somewhere(path: Path) -> None:
    assert broken_links(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_folder_that_a_page_names_is_there(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(FOLDER.findall(text)) > 10
    assert missing_folders(text) == []


def test_every_part_of_the_package_is_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    parts = {path.parent.name for path in (ROOT / "drainproof").glob("*/__init__.py")}
    assert {name for name in parts if f"`drainproof/{name}/`" not in text} == set()


def test_what_is_not_there_is_seen_to() -> None:
    """The tests' own test."""
    gone = "`tests/test_cli.py::test_gone` `tests/gone.py::test_x` `drainproof/gone/`"
    assert missing_tests(gone) == ["tests/test_cli.py::test_gone", "tests/gone.py::test_x"]
    assert missing_folders(gone) == ["drainproof/gone/"]
    assert broken_links(THREATS, "[a](gone.md) [b](audit.md#gone) [c](#secrets) [d](audit.md)") == [
        "gone.md#",
        "audit.md#gone",
    ]


def test_the_engines_that_are_known_are_listed() -> None:
    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    listed = re.findall(
        r"^\| ([^|]+) \| `([\w-]+)` \|$", text.partition("## Reports")[0], re.MULTILINE
    )
    assert listed == [(facts.title, facts.name) for facts in ENGINES]


def test_no_document_counts_other_faults_than_there_are() -> None:
    """``Fourteen faults`` stayed in the tutorial when there were seventeen."""
    words = {14: "fourteen", 15: "fifteen", 16: "sixteen", 17: "seventeen", 18: "eighteen"}
    right = words[len(FAULTS)]
    for path in WRITTEN:
        found = re.findall(r"\b(\w+teen) faults", path.read_text(encoding="utf-8").lower())
        assert set(found) <= {right}, path
