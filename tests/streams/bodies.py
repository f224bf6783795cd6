"""Bodies of streamed completions as vLLM sends them, whole, so that tests can break them."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import orjson

from drainproof.streams.history import Ending, Stream

DONE = b"data: [DONE]\n\n"
SSE = "text/event-stream; charset=utf-8"


def event(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def chunk(text: str, finish_reason: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
    return event({"id": "cmpl-1", "object": "text_completion", "choices": [choice], **more})


def usage(tokens: int) -> bytes:
    return event({"id": "cmpl-1", "choices": [], "usage": {"completion_tokens": tokens}})


def answer(tokens: int = 5, text: str = " wörd") -> list[bytes]:
    """Return the events of a whole answer: its tokens, the last with its reason, usage, the end."""
    tail = [chunk(text, "length"), usage(tokens), DONE]
    return [chunk(text) for _ in range(tokens - 1)] + tail


ERROR = event({"error": {"message": "EngineCore died", "type": "InternalServerError", "code": 500}})
OBJECT_ERROR = event({"object": "error", "message": "aborted", "type": "x", "code": 400})


def recorded(body: bytes, *, read_sizes: list[int] | None = None, **changes: object) -> Stream:
    """Return the record of a stream with this body, in reads of these sizes, 10 ms apart."""
    sizes = read_sizes if read_sizes is not None else [len(body)] if body else []
    values: dict[str, Any] = {
        "id": "0-0",
        "due": 1000.0,
        "connected": 1000.001,
        "sent": 1000.5,
        "answered": 1000.6,
        "ended": 1009.0,
        "ending": Ending.COMPLETE,
        "error": "",
        "status": 200,
        "content_type": SSE,
        "arrivals": [[10_000 * (number + 1), size] for number, size in enumerate(sizes)],
        "body": base64.b64encode(zlib.compress(body)).decode() if body else "",
        "expected_tokens": 5,
    }
    return Stream(**(values | changes))
