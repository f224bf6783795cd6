"""Streams are made long enough to outlast a pod's end."""

from __future__ import annotations

import pytest

from drainproof.errors import UserError
from drainproof.streams.pace import PROBE_TOKENS, chosen, pace, room, tokens_to_outlast


def test_the_pace_is_the_fastest_streams() -> None:
    assert pace([(101, 10.0), (101, 5.0), (11, 2.0)]) == 20.0


@pytest.mark.parametrize("streams", [[], [(1, 0.0)], [(5, 0.0)]])
def test_streams_that_say_nothing_have_no_pace(streams: list[tuple[int, float]]) -> None:
    assert pace(streams) is None


def test_a_stream_of_so_many_tokens_lasts_beyond_the_delay_and_the_margin() -> None:
    tokens = tokens_to_outlast(15.0, 15.0 + 10.0)
    assert (tokens, tokens / 15.0 >= 25.0, (tokens - 1) / 15.0 >= 25.0) == (375, True, False)


@pytest.mark.parametrize(
    ("prestop_s", "said"),
    [
        (25.0, (840, "24 tokens/s for 35 s, the preStop delay of 25 s and 10 s more")),
        (4.0, (720, "24 tokens/s for 30 s, which outlasts the preStop delay of 4 s")),
        (0.0, (720, "24 tokens/s for 30 s")),
        (None, (720, "24 tokens/s for 30 s, and the preStop delay is unknown")),
    ],
)
def test_streams_of_a_chosen_length_outlast_the_delay_by_the_margin(
    prestop_s: float | None, said: tuple[int, str]
) -> None:
    assert chosen(24.0, prestop_s) == said


def test_no_length_is_chosen_that_is_less_than_the_least() -> None:
    assert chosen(0.5, 4.0)[0] == PROBE_TOKENS
    assert chosen(0.5, 4.0, least=90)[0] == 90


def test_no_length_is_chosen_that_the_context_has_no_room_for() -> None:
    tokens, why = chosen(100.0, 15.0, most=1900)
    assert tokens == 1900
    assert why.endswith("would be 3000, and the engine's context leaves no more")


@pytest.mark.parametrize("most", [1499, 0, -900])
def test_a_context_too_small_to_outlast_the_delay_is_refused(most: int) -> None:
    with pytest.raises(UserError, match="streams need 1500 tokens to outlast") as caught:
        chosen(100.0, 15.0, most=most)
    assert f"leaves {max(most, 0)} beside the longest prompt" in caught.value.message
    assert "--tokens" in caught.value.hint


def test_the_room_for_an_answer_is_what_the_longest_prompt_surely_leaves() -> None:
    assert room(2048, ("short", "ä" * 500)) == 2048 - 64 - 1000


def test_a_context_that_is_unknown_bounds_nothing() -> None:
    assert room(None, ("short",)) is None
