"""Answers that fill an engine's context, and those that are cut off before, over loopback."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from drainproof.judge.streams import Outcome, judge_streams
from drainproof.streams.history import Sent, Stream
from drainproof.streams.local import LocalClients
from tests.engines.running import sim
from tests.streams.raw import header, settings
from tests.streams.test_client import of
from tests.streams.test_local import Heard

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTEXT = 100
PROMPT = "x" * 40
DRAINS = ("--on-sigterm=drain", "--shutdown-timeout=30")


def outcomes(flags: Sequence[str], **target: object) -> Counter[Outcome]:
    """Return what became of streams, 20 of which an engine had answered when SIGTERM came."""
    heard = Heard()
    heard(header(**target))
    with sim("--token-rate=100", f"--max-model-len={CONTEXT}", *flags) as engine:
        load = settings(
            engine.port,
            model="sim/model",
            prompts=(PROMPT,),
            max_tokens=90,
            duration_s=None,
        )
        clients = LocalClients(load, heard)
        clients.start()
        heard.wait(lambda: len(of(Stream, heard)) >= 20)
        heard.wait(lambda: len(of(Sent, heard)) >= len(of(Stream, heard)) + 5)
        engine.sigterm()
        clients.stop()
        assert clients.wait()
    return Counter(verdict.outcome for verdict in judge_streams(heard))


def test_streams_that_fill_the_context_are_whole_through_a_drain() -> None:
    assert outcomes(DRAINS, max_model_len=CONTEXT)[Outcome.COMPLETE] >= 25


def test_without_the_context_they_are_short() -> None:
    found = outcomes(DRAINS)
    assert (found[Outcome.COMPLETE], found[Outcome.SHORT] >= 25) == (0, True)


@pytest.mark.parametrize("context", [CONTEXT, CONTEXT - 1])
def test_streams_that_are_cut_off_with_finish_reason_length_are_short(context: int) -> None:
    """The engine says ``length`` and ``[DONE]``, with usage that is true."""
    found = outcomes(("--on-sigterm=early-length",), max_model_len=context)
    assert found[Outcome.SHORT] >= 3
    assert (found[Outcome.COMPLETE] >= 20) is (context == CONTEXT)
