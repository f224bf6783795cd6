"""Reads a streamed answer from the bytes of its body: server-sent events, and what they say.

It reads events as the HTML standard has them (section 9.2.6), and is shared with nothing that
recorded them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

GIVEN_UP: Final = frozenset({"abort", "error", "cancelled"})
"""Values of ``finish_reason`` with which an engine says that it gave up: ``abort`` and ``error``
are of vLLM (``FinishReason``), ``abort`` of SGLang, ``cancelled`` of TensorRT-LLM."""
MAX_QUOTE: Final = 200
"""Characters of a server's own message that a verdict repeats."""


@dataclass(frozen=True, slots=True)
class Sse:
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
    end = 3 if body.startswith(b"\xef\xbb\xbf") else 0
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


@dataclass(slots=True)
class Answer:
    """What a body says, and which of its events said it."""

    events: int = 0
    error: str = ""
    malformed: str = ""
    left_over: str = ""
    done: bool = False
    tokens: int | None = None
    begun: set[int] = field(default_factory=set)
    finished: dict[int, str] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)
    """Where each event ends in the body, ``[DONE]`` included."""
    outputs: list[int] = field(default_factory=list)
    """Which of them carry output, as indices into ``ends``."""

    @property
    def finish_reason(self) -> str | None:
        """The worst that any choice ended with, or None if one of them did not end."""
        if not self.begun or self.begun - self.finished.keys():
            return None
        reasons = sorted(self.finished.items())
        return next((reason for _, reason in reasons if reason in GIVEN_UP), reasons[0][1])


def read_answer(body: bytes) -> Answer:
    """Read a streamed completion's body."""
    answer = Answer()
    events, answer.left_over = read_events(body)
    for number, event in enumerate(events, 1):
        answer.ends.append(event.end)
        if event.data.strip() == b"[DONE]":
            if answer.done:
                answer.malformed = answer.malformed or f"event {number} is a second [DONE]"
            answer.done = True
            continue
        answer.events += 1
        try:
            value = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            value = None
        if error := _error_in(event, value):
            answer.error = answer.error or error
        elif not isinstance(value, dict):
            answer.malformed = answer.malformed or f"event {number} is not a JSON object"
        elif answer.done:
            answer.malformed = answer.malformed or f"event {number} comes after [DONE]"
        else:
            problem = _read_chunk(answer, value)
            if problem:
                answer.malformed = answer.malformed or f"event {number}: {problem}"
    return answer


def _error_in(event: Sse, value: object) -> str:
    """Return the error's own words if an event is one, else nothing.

    The forms are those of vLLM and SGLang (``{"error": {...}}``, ``{"object": "error", ...}``), TGI
    (``{"error": "...", "error_type": "..."}``) and SSE itself (``event: error``).
    """
    error: Any = None
    if isinstance(value, dict):
        error = value.get("error")
        if error is None and value.get("object") == "error":
            error = value
    if error is None and event.type == b"error":
        error = value if value is not None else event.data.decode("utf-8", "replace")
    if error is None:
        return ""
    if isinstance(error, dict):
        code = error.get("code")
        words = str(error.get("message") or error.get("type") or "no message")
        words = f"{words} (code {code})" if code is not None else words
    else:
        words = str(error) or "no message"
    return words[:MAX_QUOTE]


def _read_chunk(answer: Answer, value: dict[str, Any]) -> str:
    """Take in one chunk of a completion; return what is wrong with its shape, if anything."""
    usage = value.get("usage")
    if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
        answer.tokens = usage["completion_tokens"]
    choices = value.get("choices", [])
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        return "its choices are not a list of objects"
    for choice in choices:
        index = choice.get("index", 0)
        if not isinstance(index, int):
            return "a choice's index is not a number"
        answer.begun.add(index)
        reason = choice.get("finish_reason")
        if reason:
            answer.finished[index] = str(reason)
        elif index in answer.finished and _has_output(choice):
            return "output after the finish_reason"
    if any(_has_output(choice) for choice in choices):
        answer.outputs.append(len(answer.ends) - 1)
    return ""


def _has_output(choice: dict[str, Any]) -> bool:
    """Return whether a choice carries output: text, or more of a chat's delta than its role."""
    delta = choice.get("delta")
    if isinstance(delta, dict):
        return any(value for key, value in delta.items() if key != "role")
    return bool(choice.get("text"))
