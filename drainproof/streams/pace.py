"""How many tokens a stream must have to outlast a pod's end, at the pace that was measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

MARGIN_S: Final = 10.0
"""Beyond the preStop delay, so that most streams that are in flight when a pod is told to end are
still so when its engine is: they are of any age by then."""
ANSWER_S: Final = 30.0
"""What a stream lasts at least, as answers do: shorter ones would not try the grace period."""
PROBE_TOKENS: Final = 32
"""Tokens of the streams that the pace is measured with; those of a chosen length have as many."""
TEMPLATE_TOKENS: Final = 64
"""What a chat template may add to a prompt."""


def pace(streams: Iterable[tuple[int, float]]) -> float | None:
    """Return the tokens per second of the fastest of some whole streams; None if none says.

    The fastest, since it is the one that may not last.

    Args:
        streams: For each, its tokens and the seconds from its first token to its last.
    """
    paces = [(tokens - 1) / seconds for tokens, seconds in streams if tokens > 1 and seconds > 0]
    return max(paces, default=None)


def tokens_to_outlast(pace_per_s: float, seconds: float) -> int:
    """Return the least tokens of a stream that lasts so long."""
    return max(math.ceil(pace_per_s * seconds), 1)


def chosen(
    pace_per_s: float, prestop_s: float | None, *, least: int = 1, most: int | None = None
) -> tuple[int, str]:
    """Return how many tokens streams are to have, and why.

    Args:
        pace_per_s: Tokens per second of one stream.
        prestop_s: The preStop delay that they are to outlast; None if it is unknown.
        least: What the user wants at least.
        most: What the engine's context leaves for an answer; None if it is unknown.

    Raises:
        UserError: It doesn't leave enough to outlast the delay.
    """
    delay_s = prestop_s or 0.0
    lasts_s = max(delay_s + MARGIN_S, ANSWER_S)
    tokens = max(tokens_to_outlast(pace_per_s, lasts_s), PROBE_TOKENS, least)
    why = f"{in_words(pace_per_s)} for {lasts_s:g} s"
    if lasts_s > ANSWER_S:
        why += f", the preStop delay of {delay_s:g} s and {MARGIN_S:g} s more"
    elif delay_s:
        why += f", which outlasts the preStop delay of {delay_s:g} s"
    elif prestop_s is None:
        why += ", and the preStop delay is unknown"
    if most is not None and most < tokens:
        needed = tokens_to_outlast(pace_per_s, delay_s)
        if most < needed:
            raise UserError(
                f"streams need {needed} tokens to outlast the preStop delay of {delay_s:g} s at "
                f"{in_words(pace_per_s)}, and the engine's context leaves {max(most, 0)} beside "
                "the longest prompt",
                hint="Nothing was done to it. Give their length with --tokens, or shorter prompts.",
            )
        return most, f"{why}, would be {tokens}, and the engine's context leaves no more"
    return tokens, why


def in_words(pace_per_s: float) -> str:
    """Write a pace as people say it."""
    return f"{round(pace_per_s, 1):g} tokens/s"


def room(context: int | None, prompts: Iterable[str]) -> int | None:
    """Return the tokens that a context leaves for an answer to any of some prompts, for sure.

    Args:
        context: Tokens of prompt and answer together; None if unknown.
        prompts: Each has at most a token a byte.
    """
    if context is None:
        return None
    return context - TEMPLATE_TOKENS - max(len(prompt.encode()) for prompt in prompts)
