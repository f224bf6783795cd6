"""What tests of all folders share.

No property is timed: machines are shared, and a slow one is no mistake. `make test` tries the same
examples of it each time, so that what it says is about the change; `make test-thorough` seeks more.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from drainproof import cli
from tests.commands import Done

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

settings.register_profile("tests", parent=settings(), deadline=None, derandomize=True)
settings.register_profile("search", parent=settings(), deadline=None, max_examples=2000)
settings.load_profile("tests")


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Done]]:
    """Runs the command line, as its user would, and returns what it did."""

    def left(code: int) -> None:
        raise SystemExit(code)

    def done(*words: object) -> Done:
        monkeypatch.setattr("sys.argv", ["drainproof", *map(str, words)])
        monkeypatch.setattr(cli, "_leave", left)
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capsys.readouterr()
        return Done(code, told.out, told.err)

    yield done
    gc.enable()  # an audit leaves it off
