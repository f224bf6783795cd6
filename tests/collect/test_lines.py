from __future__ import annotations

import json
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from drainproof.collect import files, lines, yaml_text
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


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("file", FIXTURES[::20], ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_the_line_of_a_field_in_json_is_the_one_that_a_parser_finds(
    file: Path, indent: int | None
) -> None:
    text = file.read_text(encoding="utf-8")
    parts = [text[start:end] for start, end in yaml_text.documents(text)]
    listed = json.dumps([yaml_text.parse(part, is_plain=False) for part in parts], indent=indent)
    node, origin = yaml_text.compose(listed), Origin("-", 1, 0, len(listed))
    paths = list(every_path(json.loads(listed)))
    places = [(replace(origin, prefix=path), "") for path in paths]
    expected = [yaml_text.line_of(node, path) for path in paths]
    assert Lines({"-": listed}).find(places) == expected


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("letter", ["b", "ü", "🙂"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lines_are_right_whatever_the_newlines_and_letters(
    tmp_path: Path, newline: str, letter: str, mark: str
) -> None:
    text = f"{mark}kind: A\napiVersion: {letter}\n---\n# {letter}\n"
    text += "kind: B\napiVersion: x\na: {b: 1}\n"
    (tmp_path / "a.yaml").write_bytes(text.replace("\n", newline).encode())
    items = files.read([tmp_path / "a.yaml"]).items
    places = [(item.origin, path) for item in items for path in ("kind", "a.b") if item.origin]
    assert Lines().find(places) == [1, 1, 5, 7]


def test_lines_of_many_items_in_one_list_take_one_look_at_it() -> None:
    """A walk over all items for each of them would take hours here."""
    text = "items:\n" + "".join(f"- name: n{n}\n  spec:\n    a: 1\n" for n in range(20_000))
    origin = Origin("-", 1, 0, len(text))
    places = [(origin, f"items[{n}].spec.{field}") for n in range(20_000) for field in "ab"]
    found = Lines({"-": text}).find(places)
    assert found == [3 * n + extra for n in range(20_000) for extra in (4, 3)]


ROWS = [
    "a: 1",
    "a: 2",
    "a:",
    "b: |",
    "  c: 3",
    "  - d: 4",
    "- e",
    "# f",
    "",
    "  a: {g: 1}",
    "'a': 1",
]


@given(documents=st.lists(st.lists(st.sampled_from(ROWS), min_size=4, max_size=5), min_size=2))
def test_documents_that_look_alike_have_no_lines_of_each_other(
    documents: list[list[str]],
) -> None:
    paths = ["a", "b", "a.c", "a[0]", "a.c.d", "[0]", "a.a.g", "b.c", "a[0].d"]
    texts = ["\n".join(rows) + "\n" for rows in documents]
    starts = list(accumulate((len(text) for text in texts), initial=0))
    origins = [Origin("-", 1, start, end) for start, end in pairwise(starts)]
    together = Lines({"-": "".join(texts)}).find([(one, path) for one in origins for path in paths])
    alone = [
        line
        for one, text in zip(origins, texts, strict=True)
        for line in Lines({"-": text}).find(
            [(Origin("-", 1, 0, len(text)), path) for path in paths]
        )
    ]
    assert together == alone


def test_a_documents_own_first_line_is_added() -> None:
    text = "x: 1\n---\na:\n  b: 1\n"
    origin = Origin("-", 2, 8, len(text))
    assert Lines({"-": text}).find([(origin, "a.b")]) == [4]


def test_a_file_that_is_gone_gives_the_documents_first_line(tmp_path: Path) -> None:
    origin = Origin(str(tmp_path / "gone.yaml"), 7, 10, 20)
    assert Lines().find([(origin, "a.b")]) == [7]
