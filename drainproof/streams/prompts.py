"""What the streams ask for: prompts of several lengths, so that no run sees only one prefill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from drainproof.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

_SCENE = (
    "The lighthouse stood at the end of a long spit of rock, and nobody who lived in the town "
    "could say who had built it. Every evening the keeper climbed its stairs with a can of oil. "
)
_LESSON = (
    "Explain to a new colleague, step by step and with examples, how a request travels from a "
    "browser to a server and back, what may go wrong on each part of the way, and how one would "
    "find out where it did."
)
BUILTIN = (
    "Write a long story about a lighthouse and the people in it.",
    _LESSON,
    f"{_SCENE}Go on with this story, and take your time.",
    f"{_SCENE * 3}What happened on the night when the lamp went out? Tell it as the keeper.",
    f"{_SCENE * 6}Retell this for children, then for sailors, then as a report for the council.",
)
"""From 60 to 1,300 characters: about 15 to 300 tokens, up to 1,300 where a byte is a token."""


def read_prompts(path: Path) -> tuple[str, ...]:
    """Read a user's prompts: a JSON list of texts, or one text a line.

    Raises:
        UserError: The file can't be read, or holds no prompt.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot read the prompts: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the prompts are not UTF-8, at byte {error.start}") from None
    found: object = [line for line in map(str.strip, text.splitlines()) if line]
    if text.lstrip().startswith("["):
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise UserError(
                f"{path}: the prompts begin like a JSON list and are none: {error}",
                hint="Write a list of texts, or one prompt a line.",
            ) from None
    if not (
        isinstance(found, list) and found and all(isinstance(one, str) and one for one in found)
    ):
        raise UserError(
            f"{path}: expected at least one prompt",
            hint="Write one prompt a line, or a JSON list of texts.",
        )
    return tuple(found)
