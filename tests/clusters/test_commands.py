from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.clusters import commands
from drainproof.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_missing_setpriv_is_told_with_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="expected setpriv on the PATH to run go") as found:
        commands.run(["go", "version"])
    assert "util-linux" in found.value.hint
