"""The stream checker: says of each recorded stream whether its user got a whole answer.

A pure function of a History's records. It shares no code with the client that wrote them: it has
its own reading of server-sent events, and trusts the client only for what its sockets saw.
"""

from __future__ import annotations

import binascii
import zlib
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from drainproof.judge.answers import GIVEN_UP, MAX_QUOTE, Answer, read_answer
from drainproof.streams.history import ClientDone, Ending, Part, Sent, Stream, unpack_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from drainproof.streams.history import Record


class Outcome(StrEnum):
    """What became of a stream. Where several hold, the first in :data:`CONDITIONS` is its name."""

    COMPLETE = "complete"
    """Whole, and proven so: no condition found anything."""
    REFUSED = "refused"
    """No connection could be made."""
    NO_RESPONSE = "no_response"
    """The server took the request and closed without a byte."""
    REJECTED = "rejected"
    """The status is not 200."""
    NOT_A_STREAM = "not_a_stream"
    """The status is 200, but the content is not ``text/event-stream``."""
    IN_BAND_ERROR = "in_band_error"
    """An event carries an error. Engines send these with status 200, often ``[DONE]`` after."""
    ABORTED = "aborted"
    """The engine said itself that it gave up: ``finish_reason`` is ``abort`` or ``error``."""
    MALFORMED_EVENT = "malformed_event"
    """An event's data is neither a JSON object nor ``[DONE]``, or comes after ``[DONE]``."""
    CANCELLED = "cancelled"
    """The client's own run was over first. Neither whole nor dropped: it is counted apart."""
    STALLED = "stalled"
    """Nothing came for longer than the client's limit."""
    RESET = "reset"
    """The connection was reset or broke."""
    MALFORMED = "malformed"
    """What came is not HTTP."""
    TRUNCATED_FRAMING = "truncated_framing"
    """The server closed before the HTTP message's own end (its last chunk or its length)."""
    PARTIAL_EVENT = "partial_event"
    """The body ends inside an event: the blank line that ends one is missing."""
    NO_FINISH_REASON = "no_finish_reason"
    """A clean end, but no ``finish_reason`` for a choice that began, or no choice at all."""
    NO_DONE = "no_done"
    """All but ``[DONE]``, which is what tells a client of the end."""
    NO_USAGE = "no_usage"
    """The request fixed the length and the server told no usage: the length can't be proven."""
    SHORT = "short"
    """Fewer tokens, by the server's own usage, than the request fixed."""
    LONG = "long"
    """More tokens, by the server's own usage, than the request fixed."""
    UNACCOUNTED = "unaccounted"
    """Sent, but how it ended was never recorded, or the record is damaged. Never a pass."""


class Effect(StrEnum):
    """What a stream's outcome meant to its user."""

    WHOLE = "whole"
    """The answer came, all of it."""
    DROPPED = "dropped"
    """An answer had begun (status 200) and was lost."""
    NOT_SERVED = "not_served"
    """A new request got no answer: refused, an error status, or silence."""
    UNTOLD = "untold"
    """It can't be said. Neither a pass nor a failure."""


UNTOLD: Final = frozenset({Outcome.CANCELLED, Outcome.NO_USAGE, Outcome.UNACCOUNTED})
"""Outcomes that say nothing of the server."""
OK: Final = 200
"""The only status with which a completion streams."""
NAIVE_ENDS: Final = frozenset({Ending.COMPLETE, Ending.CLOSED})
"""Endings at which aiohttp, httpx and requests raise nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamVerdict:
    """What became of one stream. Times are seconds since the Unix epoch."""

    id: str
    outcome: Outcome
    detail: str
    """The evidence, in words; holds no token's text."""
    effect: Effect
    silently_truncated: bool
    """HTTP 200 and a clean end, so that a naive client takes it for whole, and it is not."""
    status: int | None
    ending: Ending | None
    """None if unaccounted."""
    finish_reason: str | None
    done: bool
    """``[DONE]`` came."""
    expected_tokens: int | None
    tokens: int | None
    """Completion tokens as the server's usage counts them."""
    events: int
    """Events with data, ``[DONE]`` not counted. Not a count of tokens."""
    due: float
    """0 where even this was lost, with the whole record."""
    sent: float | None
    answered: float | None
    first_token: float | None
    """Arrival of the first event with output."""
    last_token: float | None
    """Arrival of the last event with output."""
    ended: float | None
    ttft_s: float | None
    """From due, not from sent, to the first token."""
    longest_gap_s: float | None
    """Longest time between two events in a row; None with fewer than two."""
    longest_gap_at: float | None
    """When that gap began."""

    @property
    def seconds_per_token(self) -> float | None:
        """Mean time from one output token to the next."""
        if self.first_token is None or self.last_token is None or not self.tokens:
            return None
        return (self.last_token - self.first_token) / max(self.tokens - 1, 1)


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that must hold of a whole stream, and the name of a stream in which it doesn't."""

    outcome: Outcome
    broken: Callable[[Stream, Answer], str]
    """Returns the evidence, in words, that it doesn't hold; empty if it does."""


def _refused(stream: Stream, _: Answer) -> str:
    return _ended(stream, Ending.REFUSED)


def _no_response(stream: Stream, _: Answer) -> str:
    return _ended(stream, Ending.NO_RESPONSE)


def _rejected(stream: Stream, _: Answer) -> str:
    return f"HTTP {stream.status}" if stream.status not in {None, OK} else ""


def _not_a_stream(stream: Stream, _: Answer) -> str:
    media_type = stream.content_type.partition(";")[0].strip().lower()
    if stream.status != OK or media_type == "text/event-stream":
        return ""
    return f"content type {stream.content_type[:MAX_QUOTE]!r}, not text/event-stream"


def _in_band_error(_: Stream, answer: Answer) -> str:
    return answer.error


def _aborted(_: Stream, answer: Answer) -> str:
    given_up = sorted(GIVEN_UP.intersection(answer.finished.values()))
    return f"finish_reason {given_up[0]!r}" if given_up else ""


def _malformed_event(_: Stream, answer: Answer) -> str:
    return answer.malformed


def _cancelled(stream: Stream, _: Answer) -> str:
    return _ended(stream, Ending.CANCELLED)


def _stalled(stream: Stream, _: Answer) -> str:
    return _ended(stream, Ending.STALLED)


def _reset(stream: Stream, _: Answer) -> str:
    return _ended(stream, Ending.RESET)


def _malformed(stream: Stream, _: Answer) -> str:
    return _ended(stream, Ending.MALFORMED)


def _truncated_framing(stream: Stream, _: Answer) -> str:
    return _ended(stream, Ending.EOF)


def _partial_event(_: Stream, answer: Answer) -> str:
    return answer.left_over


def _no_finish_reason(_: Stream, answer: Answer) -> str:
    if answer.finish_reason is not None:
        return ""
    return f"{answer.events} events and no finish_reason" + (", yet [DONE]" if answer.done else "")


def _no_done(_: Stream, answer: Answer) -> str:
    return "" if answer.done else f"finish_reason {answer.finish_reason!r}, but no [DONE]"


def _no_usage(stream: Stream, answer: Answer) -> str:
    if stream.expected_tokens is None or answer.tokens is not None:
        return ""
    return f"{stream.expected_tokens} tokens were asked for, and the server told no usage"


def _short(stream: Stream, answer: Answer) -> str:
    return _compared(stream, answer, -1)


def _long(stream: Stream, answer: Answer) -> str:
    return _compared(stream, answer, 1)


def _ended(stream: Stream, ending: Ending) -> str:
    return (stream.error[:MAX_QUOTE] or ending.value) if stream.ending is ending else ""


def _compared(stream: Stream, answer: Answer, sign: int) -> str:
    if stream.expected_tokens is None or answer.tokens is None:
        return ""
    if (answer.tokens - stream.expected_tokens) * sign <= 0:
        return ""
    return f"{answer.tokens} of {stream.expected_tokens} tokens"


CONDITIONS: Final = (
    # The request never got an answer that could stream.
    Condition(Outcome.REFUSED, _refused),
    Condition(Outcome.NO_RESPONSE, _no_response),
    Condition(Outcome.REJECTED, _rejected),
    Condition(Outcome.NOT_A_STREAM, _not_a_stream),
    # What the server itself said of it; that explains more than how the connection then ended.
    Condition(Outcome.IN_BAND_ERROR, _in_band_error),
    Condition(Outcome.ABORTED, _aborted),
    Condition(Outcome.MALFORMED_EVENT, _malformed_event),
    # How the connection ended, if not as HTTP says; what is missing after that says no more.
    Condition(Outcome.CANCELLED, _cancelled),
    Condition(Outcome.STALLED, _stalled),
    Condition(Outcome.RESET, _reset),
    Condition(Outcome.MALFORMED, _malformed),
    Condition(Outcome.TRUNCATED_FRAMING, _truncated_framing),
    # A clean end. What is missing, from the most to the least telling.
    Condition(Outcome.PARTIAL_EVENT, _partial_event),
    Condition(Outcome.NO_FINISH_REASON, _no_finish_reason),
    Condition(Outcome.NO_DONE, _no_done),
    Condition(Outcome.NO_USAGE, _no_usage),
    Condition(Outcome.SHORT, _short),
    Condition(Outcome.LONG, _long),
)
"""All that must hold of a whole stream. The first that doesn't names the stream.

An answer that only the server's close delimits (:attr:`Ending.CLOSED`) breaks no condition by
itself: HTTP allows it, and ``[DONE]`` then marks the end. Without ``[DONE]`` it is cut.
"""

EXPLANATIONS: Final[dict[Outcome, tuple[str, str]]] = {
    Outcome.COMPLETE: ("a whole answer", "nothing"),
    Outcome.REFUSED: ("a failed request", "a connection error"),
    Outcome.NO_RESPONSE: ("a failed request", "a connection error"),
    Outcome.REJECTED: ("a failed request", "an HTTP error status"),
    Outcome.NOT_A_STREAM: ("no answer", "nothing, unless it looks at the content type"),
    Outcome.IN_BAND_ERROR: ("an answer cut off", "nothing, unless it looks for an error event"),
    Outcome.ABORTED: ("an answer cut off", "nothing, unless it looks at the finish_reason"),
    Outcome.MALFORMED_EVENT: ("a damaged answer", "an error, if it parses each event"),
    Outcome.CANCELLED: ("nothing: the test was over", "nothing"),
    Outcome.STALLED: ("an answer that hangs", "a timeout, if it has one"),
    Outcome.RESET: ("an answer cut off", "a connection error"),
    Outcome.MALFORMED: ("a damaged answer", "a protocol error"),
    Outcome.TRUNCATED_FRAMING: ("an answer cut off", "a protocol error"),
    Outcome.PARTIAL_EVENT: ("an answer cut off", "nothing: parsers drop the half event"),
    Outcome.NO_FINISH_REASON: ("an answer cut off", "nothing, unless it wants a finish_reason"),
    Outcome.NO_DONE: ("an answer whose end is unsure", "nothing, unless it waits for [DONE]"),
    Outcome.NO_USAGE: ("an answer whose length can't be proven", "nothing"),
    Outcome.SHORT: ("an answer that ends early", "nothing, unless it counts tokens"),
    Outcome.LONG: ("more than was asked for", "nothing, unless it counts tokens"),
    Outcome.UNACCOUNTED: ("unknown", "unknown"),
}
"""For each outcome: what the user gets, and what an ordinary client library notices."""


def judge_stream(
    stream: Stream,
    parts: Sequence[Part] = (),
    conditions: Sequence[Condition] = CONDITIONS,
) -> StreamVerdict:
    """Judge one stream.

    Args:
        stream: Its record.
        parts: The parts of its body that were recorded before, in order.
        conditions: What must hold; in tests also without one, to see that it is missed.
    """
    problem, body, arrivals = _assemble([*parts, stream])
    if not problem and len(parts) != stream.parts:
        problem = f"{len(parts)} of {stream.parts} parts of its body were recorded"
    is_answer = stream.status == OK and not problem
    answer = read_answer(body) if is_answer else Answer()
    outcome, detail = Outcome.COMPLETE, ""
    if problem:
        outcome, detail = Outcome.UNACCOUNTED, problem
    else:
        for condition in conditions:
            if detail := condition.broken(stream, answer):
                outcome = condition.outcome
                break
    return StreamVerdict(
        id=stream.id,
        outcome=outcome,
        detail=detail,
        effect=_effect(outcome, stream.status),
        silently_truncated=(
            stream.status == OK
            and stream.ending in NAIVE_ENDS
            and outcome is not Outcome.COMPLETE
            and outcome not in UNTOLD
        ),
        status=stream.status,
        ending=stream.ending,
        finish_reason=answer.finish_reason,
        done=answer.done,
        expected_tokens=stream.expected_tokens,
        tokens=answer.tokens,
        events=answer.events,
        due=stream.due,
        sent=stream.sent,
        answered=stream.answered,
        ended=stream.ended,
        **_timing(answer, arrivals, stream.due, stream.sent),
    )


def judge_streams(records: Iterable[Record]) -> Iterator[StreamVerdict]:
    """Judge every stream of a History, in the order in which they ended, in bounded memory.

    What is kept at any time is the streams in flight. A request that was sent and whose end is not
    recorded is yielded last, as ``unaccounted``; so is, once, what only the clients' own counts
    show to be missing.
    """
    open_: dict[str, Sent] = {}
    parts: dict[str, list[Part]] = {}
    seen = claimed = 0
    for record in records:
        if isinstance(record, Sent):
            open_[record.id] = record
        elif isinstance(record, Part):
            parts.setdefault(record.id, []).append(record)
        elif isinstance(record, Stream):
            seen += 1
            open_.pop(record.id, None)
            yield judge_stream(record, parts.pop(record.id, ()))
        elif isinstance(record, ClientDone):
            claimed += record.recorded
    for sent in open_.values():
        yield _unaccounted(sent, parts.pop(sent.id, ()), "sent, and its end was never recorded")
    lost = max(claimed - seen - len(open_), len(parts))
    if lost > 0:
        nobody = Sent(id="?", due=0.0, sent=0.0)
        yield _unaccounted(nobody, (), f"the records of {lost} streams are missing")


def _unaccounted(sent: Sent, parts: Sequence[Part], detail: str) -> StreamVerdict:
    _, body, arrivals = _assemble(parts)
    answer = read_answer(body)
    return StreamVerdict(
        id=sent.id,
        outcome=Outcome.UNACCOUNTED,
        detail=detail,
        effect=Effect.UNTOLD,
        silently_truncated=False,
        status=None,
        ending=None,
        finish_reason=answer.finish_reason,
        done=answer.done,
        expected_tokens=None,
        tokens=answer.tokens,
        events=answer.events,
        due=sent.due,
        sent=sent.sent,
        answered=None,
        ended=None,
        **_timing(answer, arrivals, sent.due, sent.sent),
    )


def _effect(outcome: Outcome, status: int | None) -> Effect:
    if outcome is Outcome.COMPLETE:
        return Effect.WHOLE
    if outcome in UNTOLD:
        return Effect.UNTOLD
    if status == OK and outcome is not Outcome.NOT_A_STREAM:
        return Effect.DROPPED
    return Effect.NOT_SERVED


def _assemble(pieces: Sequence[Part | Stream]) -> tuple[str, bytes, list[list[int]]]:
    """Put a stream's body together; return what is wrong with the record, the body, its reads."""
    arrivals = [arrival for piece in pieces for arrival in piece.arrivals]
    try:
        body = b"".join(unpack_body(piece.body) for piece in pieces)
        size = sum(count for _, count in arrivals)
    except (zlib.error, binascii.Error, TypeError, ValueError) as error:
        return f"its record is damaged: {error}", b"", []
    if size != len(body):
        return f"its record is damaged: {size} bytes arrived, {len(body)} are kept", b"", []
    return "", body, arrivals


def _timing(
    answer: Answer, arrivals: list[list[int]], due: float, sent: float | None
) -> dict[str, float | None]:
    """Return when tokens came, from where each event ends and when each read arrived."""
    times: list[float] = []
    received = 0
    reads = iter(arrivals)
    at = sent or 0.0
    for end in answer.ends:
        while received < end:
            micros, count = next(reads)
            received += count
            at = (sent or 0.0) + micros / 1e6
        times.append(at)
    first = times[answer.outputs[0]] if answer.outputs else None
    last = times[answer.outputs[-1]] if answer.outputs else None
    gaps = [(after - before, before) for before, after in pairwise(times)]
    gap, gap_at = max(gaps) if gaps else (None, None)
    return {
        "first_token": first,
        "last_token": last,
        "ttft_s": None if first is None else first - due,
        "longest_gap_s": gap,
        "longest_gap_at": gap_at,
    }
