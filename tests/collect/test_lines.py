from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.collect import lines, yaml_text
from drainproof.collect.lines import BlockText, Lines
from drainproof.content import content
from drainproof.model.finding import Origin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIXTURES = sorted((content("fixtures") / "manifests").glob("*/*.yaml"))


def every_path(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    if isinstance(value, dict):
        yield (*path, "absent")
        for key, part in value.items():
            yield from every_path(part, (*path, key))
    if isinstance(value, list):
        yield (*path, len(value))
        for index, part in enumerate(value):
            yield from every_path(part, (*path, index))


@pytest.mark.parametrize("file", FIXTURES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_indentation_leads_to_the_lines_that_a_parser_finds(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    found = 0
    for start, end in yaml_text.documents(text):
        part = text[start:end]
        node, block = yaml_text.compose(part), BlockText(part)
        for path in every_path(yaml_text.parse(part, is_plain=True)):
            line = block.line_of(path)
            if line is not None:
                found += 1
                assert line == yaml_text.line_of(node, path)
    assert found > 0


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("", ()),
        ("spec.containers[0].args", ("spec", "containers", 0, "args")),
        ("limits[nvidia.com/gpu]", ("limits", "nvidia.com/gpu")),
    ],
)
def test_a_field_path_is_taken_apart(path: str, parts: tuple[str | int, ...]) -> None:
    assert lines.steps(path) == parts


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a:\n  b: 1\n", "a.b", 2),
        ("a: {b: 1,\n  c: 2}\n", "a.c", 2),
        ('{"a": {\n"b": 1}}', "a.b", 2),
        ('"a":\n  "b": 1\n', "a.b", 2),
        ("a:\n- x\n-\n  y: 1\n", "a[1].y", 4),
        ("a:\n  - b: 1\n\n# c\n    c: 2\n", "a[0].c", 5),
        ("a: |\n  b: 1\nb: 2\n", "b", 3),
        ("a: &x\n  b: 1\n", "a.b", 2),
        ("a:\n  b: 1\n", "a.gone", 1),
        ("a:\n  b: 1\n", "gone", 1),
        ("\n\n# c\na: 1\n", "a", 4),
    ],
)
def test_the_line_of_a_field_is_found_in_every_style(text: str, path: str, line: int) -> None:
    origin = Origin("-", 1, 0, len(text))
    assert Lines({"-": text}).find([(origin, path)]) == [line]


def test_a_documents_own_first_line_is_added() -> None:
    text = "x: 1\n---\na:\n  b: 1\n"
    origin = Origin("-", 2, 8, len(text))
    assert Lines({"-": text}).find([(origin, "a.b")]) == [4]


def test_a_file_that_is_gone_gives_the_documents_first_line(tmp_path: Path) -> None:
    origin = Origin(str(tmp_path / "gone.yaml"), 7, 10, 20)
    assert Lines().find([(origin, "a.b")]) == [7]
