"""The stream checker: says of each recorded stream whether its user got a whole answer.

A pure function of a History's records. It shares no code with the client that wrote them: it has
its own reading of server-sent events, and trusts the client only for what its sockets saw.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, repeat
from operator import sub
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from drainproof.judge.answers import MAX_QUOTE, Answer, read_answer
from drainproof.streams.history import (
    MOST_BODY,
    ClientDone,
    Ending,
    Header,
    Part,
    Sent,
    Stream,
    unpack_body,
)

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
    """Fewer tokens, by the server's own usage, than the request fixed and the context allows."""
    LONG = "long"
    """More tokens, by the server's own usage, than the request fixed."""
    WRONG_TOKENS = "wrong_tokens"
    """An engine that numbers its tokens left one out, sent one twice, or sent another stream's."""
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
_DAMAGE: Final = (msgspec.MsgspecError, TypeError, ValueError)
"""What reading a record that is damaged raises."""
NAIVE_ENDS: Final = frozenset({Ending.COMPLETE, Ending.CLOSED})
"""Endings at which aiohttp, httpx and requests raise nothing."""


class StreamVerdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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
    return f"finish_reason {answer.given_up!r}" if answer.given_up else ""


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


def _no_done(stream: Stream, answer: Answer) -> str:
    if answer.done or stream.api == "tgi":  # which ends with its last token
        return ""
    return f"finish_reason {answer.finish_reason!r}, but no [DONE]"


def _no_usage(stream: Stream, answer: Answer) -> str:
    if stream.expected_tokens is None or answer.tokens is not None:
        return ""
    return f"{stream.expected_tokens} tokens were asked for, and the server told no usage"


def _short(stream: Stream, answer: Answer) -> str:
    limit = stream.expected_tokens
    if limit is None and answer.finish_reason == "length":
        limit = stream.max_tokens
    if limit is None or answer.tokens is None or answer.tokens >= limit:
        return ""
    if (
        answer.finish_reason == "length"
        and answer.prompt_tokens
        and answer.prompt_tokens + answer.tokens == answer.context
    ):
        return ""  # an engine ends an answer that fills its context
    return f"{answer.tokens} of {limit} tokens"


def _long(stream: Stream, answer: Answer) -> str:
    limit = stream.max_tokens if stream.expected_tokens is None else stream.expected_tokens
    if limit is None or answer.tokens is None or answer.tokens <= limit:
        return ""
    return f"{answer.tokens} of {limit} tokens"


def _wrong_tokens(stream: Stream, answer: Answer) -> str:
    """Compare an answer with what an engine that numbers its tokens must say."""
    if not answer.numbered:
        return ""
    told = 0
    for text in answer.texts:
        told += 1
        if text == f" {stream.id}#{told}":
            continue
        name, _, number = text.rpartition("#")
        if name != f" {stream.id}" or not number.isdigit():
            return f"in place of token {told} came one that is not this stream's"
        return f"in place of token {told} came token {number}"
    if answer.tokens is not None and told < answer.tokens:
        return f"the last of {answer.tokens} tokens is number {told}"
    return ""


def _ended(stream: Stream, ending: Ending) -> str:
    return (stream.error[:MAX_QUOTE] or ending.value) if stream.ending is ending else ""


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
    Condition(Outcome.WRONG_TOKENS, _wrong_tokens),
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
    Outcome.WRONG_TOKENS: ("a wrong answer", "nothing"),
    Outcome.UNACCOUNTED: ("unknown", "unknown"),
}
"""For each outcome: what the user gets, and what an ordinary client library notices."""


def judge_stream(
    stream: Stream,
    parts: Sequence[Part | PartLine] = (),
    conditions: Sequence[Condition] = CONDITIONS,
    *,
    numbered: bool | None = None,
    context: int | None = None,
) -> StreamVerdict:
    """Judge one stream.

    Args:
        stream: Its record.
        parts: The parts of its body that were recorded before, in order.
        conditions: What must hold; in tests also without one, to see that it is missed.
        numbered: Whether the engine numbers its tokens; None is what the stream itself shows.
        context: Tokens that the engine allows prompt and answer together; None if unknown.
    """
    is_answer = stream.status == OK
    problem, body = "", b""
    waits: list[int] = []
    sizes: list[int] = []
    answer = _NO_ANSWER
    if len(parts) != stream.parts:
        problem = f"{len(parts)} of {stream.parts} parts of its body were recorded"
    else:
        try:
            body, waits, sizes = _assemble([*parts, stream])
        except _DAMAGE as error:
            problem = f"its record is damaged: {error}"
    if is_answer:
        if numbered is None:
            numbered = _numbers(stream.id, body)
        answer = read_answer(body, sizes, texts=numbered)
        answer.numbered, answer.context = numbered, context
    outcome, detail = Outcome.COMPLETE, ""
    if problem:
        outcome, detail = Outcome.UNACCOUNTED, problem
    else:
        for condition in conditions:
            if detail := condition.broken(stream, answer):
                outcome = condition.outcome
                break
    first, last, gap, gap_at = _timing(answer, waits, sizes, stream.sent or 0.0)
    return StreamVerdict(
        id=stream.id,
        outcome=outcome,
        detail=detail,
        effect=_effect(outcome, stream.status),
        silently_truncated=(
            is_answer
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
        first_token=first,
        last_token=last,
        ended=stream.ended,
        ttft_s=None if first is None else first - stream.due,
        longest_gap_s=gap,
        longest_gap_at=gap_at,
    )


def numbers_tokens(record: Part | Stream) -> bool:
    """Tell whether a piece of a stream shows that its engine numbers its tokens.

    The simulated engine does: each of its tokens is the request's id and the token's number. No
    other engine is told to, or knows the id; so what it says is evidence enough.
    """
    try:
        return _numbers(record.id, unpack_body(record.body))
    except _DAMAGE:
        return False


def _numbers(stream: str, body: bytes) -> bool:
    return b'" %b#' % stream.encode() in body


_NO_ANSWER: Final = Answer(ends=[])


class PartLine(NamedTuple):
    """A :class:`Part` as its line: it is smaller, and read when its stream ends."""

    id: str
    line: bytes


_PART: Final = msgspec.json.Decoder(Part)


class StreamChecker:
    """Judges the streams of a History, record by record; holds no more than those in flight.

    Args:
        numbered: Whether the engine numbers its tokens.
        context: Tokens that the engine allows prompt and answer together; None if unknown.
    """

    def __init__(self, *, numbered: bool = False, context: int | None = None) -> None:
        self.numbered = numbered
        self.context = context
        self.seen = 0
        """Streams whose end was recorded."""
        self._open: dict[str, tuple[float, float]] = {}
        self._parts: dict[str, list[Part | PartLine]] = {}
        self._early: set[str] = set()

    def take(self, record: Record | PartLine) -> StreamVerdict | None:
        """Take in a record; return the verdict on the stream that it ends, if it does."""
        if isinstance(record, Stream):
            self.seen += 1
            if self._open.pop(record.id, None) is None and record.sent is not None:
                self._early.add(record.id)
            parts = self._parts.pop(record.id, ())
            return judge_stream(record, parts, numbered=self.numbered, context=self.context)
        if isinstance(record, Part | PartLine):
            self._parts.setdefault(record.id, []).append(record)
        elif isinstance(record, Sent):
            if record.id in self._early:
                self._early.remove(record.id)
            else:
                self._open[record.id] = record.due, record.sent
        return None

    def left(self) -> Iterator[StreamVerdict]:
        """Yield what was sent and whose end is not recorded, and forget it."""
        self.unended = len(self._open)
        """How many these were."""
        for name, (due, sent) in self._open.items():
            parts = self._parts.pop(name, ())
            yield _unaccounted(
                Sent(id=name, due=due, sent=sent), parts, "sent, and its end was never recorded"
            )
        self._open.clear()

    @property
    def held(self) -> int:
        """How many records are held of streams that have not ended."""
        parts = sum(len(parts) for parts in self._parts.values())
        return len(self._open) + len(self._early) + parts

    @property
    def strays(self) -> int:
        """Streams of which there are parts, and nothing else."""
        return len(self._parts)


def judge_streams(records: Iterable[Record]) -> Iterator[StreamVerdict]:
    """Judge every stream of a History, in the order in which they ended, in bounded memory.

    What is kept at any time is the streams in flight. A request that was sent and whose end is not
    recorded is yielded last, as ``unaccounted``; so is, once, what only the clients' own counts
    show to be missing.
    """
    checker = StreamChecker()
    claimed = 0
    for record in records:
        if isinstance(record, Part | Stream) and not checker.seen and not checker.numbered:
            checker.numbered = numbers_tokens(record)
        if verdict := checker.take(record):
            yield verdict
        elif isinstance(record, Header):
            checker.context = record.max_model_len
        elif isinstance(record, ClientDone):
            claimed += record.recorded
    yield from checker.left()
    if lost := missing(claimed, checker.seen, checker.unended, checker.strays):
        yield lost


def missing(claimed: int, seen: int, unended: int, strays: int) -> StreamVerdict | None:
    """Return what stands for streams that only the clients' own counts show to be missing."""
    lost = max(claimed - seen - unended, strays)
    if lost <= 0:
        return None
    nobody = Sent(id="?", due=0.0, sent=0.0)
    return _unaccounted(nobody, (), f"the records of {lost} streams are missing")


def _unaccounted(sent: Sent, parts: Sequence[Part | PartLine], detail: str) -> StreamVerdict:
    try:
        body, waits, sizes = _assemble(parts)
    except _DAMAGE:
        body, waits, sizes = b"", [], []
    answer = read_answer(body)
    first, last, gap, gap_at = _timing(answer, waits, sizes, sent.sent)
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
        first_token=first,
        last_token=last,
        ended=None,
        ttft_s=None if first is None else first - sent.due,
        longest_gap_s=gap,
        longest_gap_at=gap_at,
    )


def _effect(outcome: Outcome, status: int | None) -> Effect:
    if outcome is Outcome.COMPLETE:
        return Effect.WHOLE
    if outcome in UNTOLD:
        return Effect.UNTOLD
    if status == OK and outcome is not Outcome.NOT_A_STREAM:
        return Effect.DROPPED
    return Effect.NOT_SERVED


def _assemble(
    records: Sequence[Part | PartLine | Stream],
) -> tuple[bytes, list[int], list[int]]:
    """Put a stream's body together; return it, the waits for its reads, and what each brought.

    Raises:
        ValueError: The record is damaged; so say the others of ``_DAMAGE``.
    """
    body = bytearray()
    waits: list[int] = []
    sizes: list[int] = []
    for record in records:
        piece = _PART.decode(record.line) if isinstance(record, PartLine) else record
        body += unpack_body(piece.body, MOST_BODY - len(body))
        waits += piece.waits
        sizes += piece.sizes
    size = sum(sizes)
    if size != len(body):
        raise ValueError(f"{size} bytes arrived, {len(body)} are kept")
    if len(waits) != len(sizes):
        raise ValueError(f"{len(waits)} reads came, {len(sizes)} brought something")
    return bytes(body), waits, sizes


def _timing(
    answer: Answer, waits: list[int], sizes: list[int], sent: float
) -> tuple[float | None, float | None, float | None, float | None]:
    """Return when the first and the last token came, the longest gap, and when that began.

    An event came with the read that brought its last byte.
    """
    if answer.ends is not None:
        micros = list(accumulate(waits))
        reads = map(bisect_left, repeat(list(accumulate(sizes))), answer.ends)
        came = [micros[read] for read in reads]
        waits = list(map(sub, came, [0, *came]))
    first = last = gap = gap_at = None
    if answer.outputs:
        begin, end = answer.outputs
        first = sent + sum(waits[: begin + 1]) / 1e6
        last = sent + sum(waits[: end + 1]) / 1e6
    if len(waits) > 1:
        longest = max(waits[1:])
        begun = sum(waits[: waits.index(longest, 1)])
        gap, gap_at = longest / 1e6, sent + begun / 1e6
    return first, last, gap, gap_at
