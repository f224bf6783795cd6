"""Regular expressions that are compiled when they are first used.

Compiling all of them takes as long as judging some hundred workloads, and an audit uses few.
"""

from __future__ import annotations

import re
from typing import Any, cast


class _Later:
    def __init__(self, text: str, flags: int) -> None:
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any method of a pattern
        found = getattr(re.compile(self._text, self._flags), name)
        setattr(self, name, found)  # from now on it is found without a detour
        return found


def regex(text: str, flags: int = 0) -> re.Pattern[str]:
    """Return what ``re.compile`` does, but compiled at its first use; a mistake shows then."""
    return cast("re.Pattern[str]", _Later(text, flags))
