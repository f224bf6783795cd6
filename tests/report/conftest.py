"""What tests of several reports share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.errors import UserError
from drainproof.streams.history import to_line
from tests.report.browser import browser
from tests.report.runs import three

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start a real Chromium: for one module, since its client keeps an event loop."""
    try:
        with browser(tmp_path_factory.mktemp("chromium")) as started:
            yield started
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """Return the evidence folder of a run of three faults."""
    folder = tmp_path / "evidence"
    folder.mkdir()
    (folder / "history.jsonl").write_bytes(b"".join(map(to_line, three())))
    return folder
