"""Regular expressions wait with compiling, and are the usual ones then."""

from __future__ import annotations

import re

import pytest

from drainproof.patterns import regex


def test_nothing_is_compiled_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    compile_now = re.compile

    def noted(text: str, flags: int = 0) -> re.Pattern[str]:
        compiled.append(text)
        return compile_now(text, flags)

    monkeypatch.setattr(re, "compile", noted)
    word = regex("w+x")
    assert compiled == []
    assert word.fullmatch("wwx")
    assert word.fullmatch("wwwx")
    assert compiled == ["w+x"]


def test_its_flags_hold() -> None:
    assert regex("a", re.IGNORECASE).sub("b", "xA") == "xb"


def test_a_mistake_shows_at_the_first_use() -> None:
    with pytest.raises(re.error):
        regex("(").search("")
