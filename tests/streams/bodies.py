"""Bodies of streamed completions as vLLM sends them, whole, so that tests can break them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson

from drainproof.streams.history import Ending, Stream, pack_body

DONE = b"data: [DONE]\n\n"
SSE = "text/event-stream; charset=utf-8"


def event(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def chunk(text: str, finish_reason: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
    return event({"id": "cmpl-1", "object": "text_completion", "choices": [choice], **more})


def usage(tokens: int, prompt: int | None = None) -> bytes:
    told = {"completion_tokens": tokens} | ({} if prompt is None else {"prompt_tokens": prompt})
    return event({"id": "cmpl-1", "choices": [], "usage": told})


def answer(tokens: int = 5, text: str = " wörd", prompt: int | None = None) -> list[bytes]:
    """Return the events of a whole answer: its tokens, the last with its reason, usage, the end."""
    tail = [chunk(text, "length"), usage(tokens, prompt), DONE]
    return [chunk(text) for _ in range(tokens - 1)] + tail


def chat_answer(tokens: int = 5, text: str = " wörd") -> list[bytes]:
    """Return the events of a whole chat answer."""

    def delta(finish_reason: str | None = None, **more: object) -> bytes:
        choice = {"index": 0, "delta": more, "logprobs": None, "finish_reason": finish_reason}
        return event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]})

    said = [delta(content=text) for _ in range(tokens - 1)]
    last = delta("length", content=text)
    return [delta(role="assistant", content=""), *said, last, usage(tokens), DONE]


def tgi_answer(tokens: int = 5, text: str = " wörd") -> list[bytes]:
    """Return the events of a whole answer of TGI's ``/generate_stream``."""

    def token(index: int) -> bytes:
        last = index == tokens
        details = {"finish_reason": "length", "generated_tokens": tokens, "seed": None}
        value = {
            "index": index,
            "token": {"id": 29, "text": text, "logprob": -0.5, "special": False},
            "generated_text": text * tokens if last else None,
            "details": details if last else None,
        }
        return b"data:" + orjson.dumps(value) + b"\n\n"

    return [token(index) for index in range(1, tokens + 1)]


ERROR = event({"error": {"message": "EngineCore died", "type": "InternalServerError", "code": 500}})
OBJECT_ERROR = event({"object": "error", "message": "aborted", "type": "x", "code": 400})


def recorded(
    body: bytes,
    *,
    read_sizes: list[int] | None = None,
    micros: list[int] | None = None,
    **changes: object,
) -> Stream:
    """Return the record of a stream with this body, in reads of these sizes, 10 ms apart.

    Args:
        body: All that came.
        read_sizes: How many bytes each read brought; one brought all if nothing is said.
        micros: When each read came, in microseconds since the request was sent.
        changes: Other fields of the record.
    """
    sizes = read_sizes if read_sizes is not None else [len(body)] if body else []
    waits = [10_000] * len(sizes)
    if micros is not None:
        waits = [after - before for before, after in pairwise([0, *micros])]
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
        "waits": waits,
        "sizes": sizes,
        "body": pack_body(body),
        "expected_tokens": 5,
    }
    return Stream(**(values | changes))
