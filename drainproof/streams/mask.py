"""Takes what a model said out of an answer before it is recorded; how it said it stays.

The texts of tokens become as many ``x``, so that every byte that came is still accounted for and
the answer can still be judged. What is recorded goes to a pod's log and into evidence, and neither
is a place for what users or their models say.
"""

from __future__ import annotations

import re

_TEXT = re.compile(
    rb'("(?:text|content|reasoning|reasoning_content|refusal|arguments|generated_text)"\s*:\s*")'
    rb'([^"\\]*+(?:\\.[^"\\]*+)*+)',
    re.DOTALL,
)
"""A text's name, and the text up to its closing quote or the answer's end."""
_TOKEN = re.compile(rb'("token"\s*:\s*\{\s*"id"\s*:\s*)(\d+)')
"""The number of a token, as TGI gives it, which is as good as its text."""


def without_text(body: bytes, stream: str) -> bytes:
    """Return a piece of a body, of the same size, without the texts in it.

    Args:
        body: Whole events, except perhaps for the last.
        stream: The stream's id. A token that is this and a number (``0-7#12``) is kept: it is what
            the simulated engine says, so that a token that is missing or repeated can be found.
    """
    if b'"token"' in body:
        body = _TOKEN.sub(lambda found: found[1] + b"1" * len(found[2]), body)
    kept = b" %b#" % stream.encode()
    pieces = _TEXT.split(body)  # what is before, a name, its text, what is before the next, ...
    pieces[2::3] = [
        text if text.startswith(kept) and text[len(kept) :].isdigit() else b"x" * len(text)
        for text in pieces[2::3]
    ]
    return b"".join(pieces)
