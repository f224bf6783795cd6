"""Reads a streamed answer from the bytes of its body: server-sent events, and what they say.

It reads events as the HTML standard has them (section 9.2.6), and is shared with nothing that
recorded them. Most answers are a few hundred events that differ in next to nothing, so what an
event says is remembered, and an answer of a usual shape is recognised as a whole; any other is read
event by event. Both ways say the same of the same bytes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

GIVEN_UP: Final = frozenset({"abort", "error", "cancelled"})
"""Values of ``finish_reason`` with which an engine says that it gave up: ``abort`` and ``error``
are of vLLM (``FinishReason``), ``abort`` of SGLang, ``cancelled`` of TensorRT-LLM."""
MAX_QUOTE: Final = 200
"""Characters of a server's own message that a verdict repeats."""
BOM: Final = b"\xef\xbb\xbf"
_SPEAKING: Final = frozenset({"error", "choices", "usage", "token"})
"""Keys of an event that say something of the answer."""
_REMEMBERED: Final = 4096
"""Kinds of events that are remembered; beyond it, all are forgotten and learnt anew."""


class Sse(NamedTuple):
    """One dispatched event."""

    type: bytes
    data: bytes
    end: int
    """Offset in the body of the byte after its blank line."""


def read_events(body: bytes) -> tuple[list[Sse], str]:
    """Split a body into its events, and say in words what is left over at its end, if anything.

    Lines end with LF, CR or CRLF; comments and unknown fields are passed over; an event that its
    blank line never ended was never dispatched and is left over.
    """
    events: list[Sse] = []
    end = len(BOM) if body.startswith(BOM) else 0
    kind, begun = b"", False
    data: list[bytes] = []
    for line in body[end:].splitlines(keepends=True):
        end += len(line)
        text = line.rstrip(b"\r\n")
        if len(text) == len(line):
            return events, f"the body ends within a line, at byte {end}"
        if not text:
            if data or kind == b"error":
                events.append(Sse(kind, b"\n".join(data), end))
            kind, data, begun = b"", [], False
        elif not text.startswith(b":"):
            begun = True
            name, _, value = text.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                data.append(value)
            elif name == b"event":
                kind = value
    left = f"the last event's blank line is missing, at byte {end}" if begun else ""
    return events, left


class Choice(NamedTuple):
    """What an event says of one of the choices."""

    number: int
    reason: str
    """Its ``finish_reason``; empty if it goes on."""
    output: bool
    text: str


class Said(NamedTuple):
    """What one event says."""

    done: bool = False
    error: str = ""
    malformed: str = ""
    tokens: int | None = None
    prompt_tokens: int | None = None
    """Told with the tokens, if at all."""
    choices: tuple[Choice, ...] = ()

    @property
    def code(self) -> int:
        """Which part of a usual answer it can be."""
        if self.done:
            return _DONE
        if self.error or self.malformed or len(self.choices) > 1:
            return _OTHER
        if not self.choices:
            return _OTHER if self.tokens is None else _USAGE
        (choice,) = self.choices
        if choice.number or self.tokens is not None or choice.reason in GIVEN_UP:
            return _OTHER
        if choice.reason:
            return _LAST if choice.output else _FINISH
        return _TOKEN if choice.output else _EMPTY


_TOKEN, _EMPTY, _LAST, _FINISH, _USAGE, _DONE, _OTHER = b"telfud?"
_USUAL = re.compile(rb"[te]*[lf]?u?d?")
"""The events of an answer: its tokens, its reason (on a token or after it), usage, the end. Those
of an answer that was cut off between two events are the same up to there."""
_OUTPUT = re.compile(rb"[tl]")


class Answer(msgspec.Struct, gc=False):
    """What a body says, and which of its events said it."""

    events: int = 0
    """With data, ``[DONE]`` not counted."""
    error: str = ""
    malformed: str = ""
    left_over: str = ""
    done: bool = False
    tokens: int | None = None
    prompt_tokens: int | None = None
    finish_reason: str | None = None
    """The worst that any choice ended with, or None if one of them did not end."""
    ends: list[int] | None = None
    """Where each event ends in the body, ``[DONE]`` included; None if each read brought one."""
    outputs: tuple[int, int] | None = None
    """Which of the events is the first and which the last that carries output, from 0."""
    given_up: str = ""
    """The ``finish_reason`` with which the engine said that it gave up, if it did."""
    texts: list[str] = msgspec.field(default_factory=list)
    """Its tokens' texts, if asked for."""
    numbered: bool = False
    """Whether these must be numbers."""
    context: int | None = None
    """Tokens that the engine allows prompt and answer together; None if unknown."""


def read_answer(body: bytes, reads: Sequence[int] = (), *, texts: bool = False) -> Answer:
    """Read a streamed completion's body.

    Args:
        body: What came, without its transfer coding.
        reads: Sizes of the reads that brought it, in bytes; only makes it faster.
        texts: Whether the texts of its tokens are of interest.
    """
    usual = None if texts else _read_usual(body, reads)
    return usual or read_any_answer(body, texts=texts)


def read_any_answer(body: bytes, *, texts: bool = False) -> Answer:
    """Read a body event by event, whatever is in it."""
    events, left_over = read_events(body)
    answer = Answer(left_over=left_over, ends=[event.end for event in events])
    reasons: dict[int, str] = {}
    for place, event in enumerate(events):
        said = read_event(event.type, event.data)
        if said.done:
            problem = "is a second [DONE]" if answer.done else ""
        elif said.error or said.malformed:
            problem = said.malformed
        elif answer.done:
            problem = "comes after [DONE]"
        else:
            problem = _follow(answer, reasons, said, place)
            answer.texts += [choice.text for choice in said.choices if texts and choice.text]
        answer.done = answer.done or said.done
        answer.events += not said.done
        answer.error = answer.error or said.error
        if problem and not answer.malformed:
            answer.malformed = f"event {place + 1} {problem}"
    ended = [reason for _, reason in sorted(reasons.items())]
    answer.given_up = min((one for one in ended if one in GIVEN_UP), default="")
    if ended and all(ended):
        answer.finish_reason = next((one for one in ended if one in GIVEN_UP), ended[0])
    return answer


def _follow(answer: Answer, reasons: dict[int, str], said: Said, place: int) -> str:
    """Take in what an event says of the choices; return what is wrong with it, if anything."""
    problem = ""
    if said.tokens is not None:
        answer.tokens, answer.prompt_tokens = said.tokens, said.prompt_tokens
    for choice in said.choices:
        before = reasons.setdefault(choice.number, "")
        if before and choice.output and not choice.reason:
            problem = "has output after the finish_reason"
        reasons[choice.number] = choice.reason or before
        if choice.output:
            answer.outputs = (answer.outputs or (place, place))[0], place
    return problem


# ── What an event says ──────────────────────────────────────────────────────────────────────────


def read_event(kind: bytes, data: bytes) -> Said:
    """Say what an event says, by its type and its data."""
    if data.strip() == b"[DONE]":
        return Said(done=True)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = None
    if error := _error_in(kind, data, value):
        return Said(error=error)
    if not isinstance(value, dict):
        return Said(malformed="is not a JSON object")
    return _read_tgi(value) if "token" in value else _read_chunk(value)


def _error_in(kind: bytes, data: bytes, value: object) -> str:
    """Return the error's own words if an event is one, else nothing.

    The forms are those of vLLM and SGLang (``{"error": {...}}``, ``{"object": "error", ...}``), TGI
    (``{"error": "...", "error_type": "..."}``) and SSE itself (``event: error``).
    """
    error: Any = None
    if isinstance(value, dict):
        error = value.get("error")
        if error is None and value.get("object") == "error":
            error = value
    if error is None and kind == b"error":
        error = value if value is not None else data.decode("utf-8", "replace")
    if error is None:
        return ""
    if isinstance(error, dict):
        code = error.get("code")
        words = str(error.get("message") or error.get("type") or "no message")
        words = f"{words} (code {code})" if code is not None else words
    else:
        words = str(error) or "no message"
    return words[:MAX_QUOTE]


def _read_chunk(value: dict[str, Any]) -> Said:
    """Read one chunk of a completion or of a chat."""
    usage = value.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    tokens = _count(usage.get("completion_tokens"))
    prompt_tokens = _count(usage.get("prompt_tokens"))
    choices = value.get("choices", [])
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        return Said(malformed="has choices that are not a list of objects")
    said = []
    for choice in choices:
        index = choice.get("index", 0)
        if not isinstance(index, int):
            return Said(malformed="has a choice whose index is not a number")
        said.append(Choice(index, str(choice.get("finish_reason") or ""), *_output(choice)))
    return Said(tokens=tokens, prompt_tokens=prompt_tokens, choices=tuple(said))


def _output(choice: dict[str, Any]) -> tuple[bool, str]:
    """Return whether a choice carries output (text, or more of a delta than its role); its text."""
    delta = choice.get("delta")
    if isinstance(delta, dict):
        more = any(value for key, value in delta.items() if key != "role")
        return more, str(delta.get("content") or "")
    text = choice.get("text")
    return bool(text), str(text or "")


def _read_tgi(value: dict[str, Any]) -> Said:
    """Read one event of TGI's ``/generate_stream``: a token, the last one with its details."""
    token, details = value["token"], value.get("details")
    if not isinstance(token, dict):
        return Said(malformed="has a token that is not an object")
    details = details if isinstance(details, dict) else {}
    text = str(token.get("text") or "")
    choice = Choice(0, str(details.get("finish_reason") or ""), bool(text), text)
    return Said(tokens=_count(details.get("generated_tokens")), choices=(choice,))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None


# ── The usual answer, as one ────────────────────────────────────────────────────────────────────


class _Unit(NamedTuple):
    """What a read brought, if that was one or more whole events."""

    codes: bytes
    """What each of them is; see :attr:`Said.code`."""
    ends: tuple[int, ...]
    """Where each of them ends in it."""
    tokens: int | None
    prompt_tokens: int | None
    reason: str


_NO_UNIT = _Unit(b"?", (), None, None, "")
_FIRST: Final = 1
"""Reads at an answer's beginning that are looked at one by one: a chat begins with a role."""
_APART: Final = 3
"""Reads at its end that are: its reason, its usage, ``[DONE]``."""
_MARK: Final = b"\x00"
"""Stands for what all events of an answer begin with; JSON never holds it."""
_TOKENS: defaultdict[int, dict[int, bytes]] = defaultdict(dict)
"""What follows the head in an event that is a token and no more, by the sizes of both: the head's,
and the event's."""
_TAILS: dict[bytes, _Unit] = {}
"""What is known of pieces, by what follows their head, which is marked where it comes again."""
_PIECES: dict[bytes, _Unit] = {}
"""What is known of pieces without a head."""


def _read_usual(body: bytes, reads: Sequence[int]) -> Answer | None:
    """Read an answer with one choice, each read of which brought whole events, or give up.

    All reads but the first and the last few bring a token each, and tokens whose texts are as long
    are equal, since texts are masked. So what the body must be is known from the reads' sizes; that
    it is just this is all that has to be seen.
    """
    inner = len(reads) - _APART
    if inner < _FIRST:
        return None
    begin, rest = reads[0], len(body) - sum(reads[inner:])
    opening = body[:begin]
    head = _head(opening)
    if not head:
        return None
    tokens = reads[_FIRST:inner]
    if not _are_tokens(body, head, tokens, begin):
        _learn_tokens(body, head, reads[:inner])
        if not _are_tokens(body, head, tokens, begin):
            return None
    apart = [
        _unit(body[start:end], head)
        for start, end in pairwise(accumulate(reads[inner:], initial=rest))
    ]
    first = _unit(opening, head)
    last = b"".join([unit.codes for unit in apart])
    if not _USUAL.fullmatch(first.codes + last):
        return None
    codes = first.codes + b"t" * len(tokens) + last
    output = _OUTPUT.search(codes)
    done = codes.endswith(b"d")
    usage = next((unit for unit in apart if unit.tokens is not None), _NO_UNIT)
    return Answer(
        events=len(codes) - done,
        done=done,
        tokens=usage.tokens,
        prompt_tokens=usage.prompt_tokens,
        finish_reason=next((unit.reason for unit in apart if unit.reason), None),
        ends=None if len(codes) == len(reads) else _all_ends(first, tokens, apart),
        outputs=(output.start(), max(codes.rfind(b"t"), codes.rfind(b"l"))) if output else None,
    )


def _all_ends(first: _Unit, tokens: Sequence[int], apart: Sequence[_Unit]) -> list[int]:
    """Return where each event ends, if some reads brought several."""
    sizes = [end - start for unit in (first, *apart) for start, end in pairwise((0, *unit.ends))]
    before = len(first.ends)
    return list(accumulate([*sizes[:before], *tokens, *sizes[before:]]))


def _are_tokens(body: bytes, head: bytes, sizes: Sequence[int], begin: int) -> bool:
    """Tell whether a body goes on with tokens that are known, of these sizes."""
    try:
        tails = map(_TOKENS[len(head)].__getitem__, sizes)
        return body.startswith(head.join([b"", *tails]), begin)
    except KeyError:
        return False


def _learn_tokens(body: bytes, head: bytes, sizes: Sequence[int]) -> None:
    """Remember what follows the head in events that are a token and no more."""
    for start, end in pairwise(accumulate(sizes)):
        piece = body[start:end]
        tail = piece[len(head) :]
        alone = piece.startswith(head) and head not in tail
        if alone and _unit(piece, head).codes == b"t":
            _TOKENS[len(head)][len(piece)] = tail


def _head(event: bytes) -> bytes:
    """Return what an answer's events begin with up to their choices, if that says nothing."""
    head, choices, _ = event.partition(b'"choices":')
    if not choices or not head.startswith(b"data: {") or b"\n" in head:
        return b""
    try:
        value = orjson.loads(head[len(b"data: ") :] + b'"":0}')
    except orjson.JSONDecodeError:
        return b""
    says = not _SPEAKING.isdisjoint(value) or value.get("object") == "error"
    return b"" if says else head


def _unit(piece: bytes, head: bytes) -> _Unit:
    """Say what whole events say, from memory if others said the same after the same head."""
    memory, key = _PIECES, piece
    if head and piece.startswith(head) and _MARK not in piece:
        memory, key = _TAILS, piece[len(head) :]
        if head in key:
            key = key.replace(head, _MARK)
    unit = memory.get(key)
    if unit is None:
        if len(memory) >= _REMEMBERED:
            memory.clear()
        unit = memory[key] = _learn(piece)
    return unit


def _learn(piece: bytes) -> _Unit:
    events, left_over = read_events(piece)
    whole = piece.endswith(b"\n\n") and b"\r" not in piece and not piece.startswith(BOM)
    if left_over or not events or not whole:
        return _NO_UNIT
    said = [read_event(event.type, event.data) for event in events]
    usage = next((one for one in said if one.tokens is not None), Said())
    return _Unit(
        bytes([one.code for one in said]),
        tuple(event.end for event in events),
        usage.tokens,
        usage.prompt_tokens,
        next((choice.reason for one in said for choice in one.choices if choice.reason), ""),
    )
