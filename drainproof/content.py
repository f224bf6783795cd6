"""Where the checks, policies and fixtures are: inside the wheel, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def content(folder: str) -> Path:
    """Return the path of a content folder such as ``checks`` or ``fixtures/clusters``."""
    packed = _PACKAGE / "_content" / folder
    return packed if packed.is_dir() else _PACKAGE.parent / folder
