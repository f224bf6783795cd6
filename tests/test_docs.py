"""What is generated from the checks is current."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from docs import generate
from drainproof.judge import registry

if TYPE_CHECKING:
    from pathlib import Path

WRITTEN = generate.pages()


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_a_generated_page_is_current(path: Path) -> None:
    assert path.is_file(), "run: make docs"
    assert path.read_text(encoding="utf-8") == WRITTEN[path], "run: make docs"


def test_no_page_is_left_of_a_check_that_is_gone() -> None:
    assert {path for path in generate.PAGES.glob("*.md") if path not in WRITTEN} == set()


def test_every_check_is_in_an_area_of_the_table() -> None:
    table = generate.table(registry.load().checks, "md", "")
    assert [check.slug for check in registry.load().checks if f"`{check.slug}`" not in table] == []
