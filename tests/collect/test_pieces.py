from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drainproof.collect import files, pieces, yaml_text
from drainproof.collect.pieces import NotTextError, TooLargeError

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [
    "---",
    "--- # x",
    "---x",
    "--",
    "a: 1",
    "  ---",
    "",
    "ü: 🙂",
    "\r",
    "kind: A",
    "...",
    "- ---",
]


def cut(data: bytes, limit: int = 10**6) -> list[pieces.Piece]:
    return list(pieces.pieces(io.BytesIO(data), limit))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.sampled_from(ROWS)), size=st.integers(1, 40), end=st.sampled_from(["", "\n"])
)
def test_documents_are_the_same_in_pieces_of_any_size(
    monkeypatch: pytest.MonkeyPatch, rows: list[str], size: int, end: str
) -> None:
    text = "\n".join(rows) + end
    monkeypatch.setattr(pieces, "SIZE", size)
    found = cut(text.encode())
    assert "".join(piece.text for piece in found) == text
    whole = [text[start:stop] for start, stop in yaml_text.documents(text)]
    parts = [
        piece.text[start:stop] for piece in found for start, stop in yaml_text.documents(piece.text)
    ]
    assert [part for part in parts if part] == [part for part in whole if part]
    for piece in found:
        assert text[piece.start : piece.start + len(piece.text)] == piece.text
        assert piece.line == text.count("\n", 0, piece.start) + 1


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize(
    ("data", "line"), [(b"a: 1\n---\nb: \x00", 3), (b"a\n\n\xff", 3), (b"\xef\xbb\xbfa\n\x1b", 2)]
)
def test_what_is_no_text_is_told_with_its_line(
    monkeypatch: pytest.MonkeyPatch, data: bytes, line: int, size: int
) -> None:
    monkeypatch.setattr(pieces, "SIZE", size)
    with pytest.raises(NotTextError) as error:
        cut(data)
    assert error.value.line == line


def test_a_stream_is_not_read_far_beyond_its_limit() -> None:
    with pytest.raises(TooLargeError):
        cut(b"a: 1\n" * 100, limit=400)


def test_a_file_of_many_pieces_keeps_its_objects_in_order_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "SIZE", 50)
    text = "".join(f"apiVersion: v1\nkind: K{n}\n---\n" for n in range(30))
    (tmp_path / "a.yaml").write_text(text)
    items = files.read([tmp_path / "a.yaml"]).items
    assert [item.object["kind"] for item in items] == [f"K{n}" for n in range(30)]
    for n, item in enumerate(items):
        assert item.origin is not None
        assert f"kind: K{n}\n" in text[item.origin.start : item.origin.end]
        assert item.origin.line in {3 * n, 3 * n + 1}
