"""The bytes of each request, and the secrets that go into it and nowhere else."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drainproof.streams.settings import Load

LEAST_SECRET = 8
"""Characters from which on a header's value from the environment is masked in what a server sends
back. Shorter ones would be found by chance, and are no secrets."""


def _completions(load: Load, prompt: str, tokens: int) -> dict[str, Any]:
    return {"model": load.model, "prompt": prompt, **_openai(load, tokens)}


def _chat(load: Load, prompt: str, tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"model": load.model, "messages": messages, **_openai(load, tokens)}


def _openai(load: Load, tokens: int) -> dict[str, Any]:
    body: dict[str, Any] = {"max_tokens": tokens, "stream": True}
    if load.include_usage:
        body["stream_options"] = {"include_usage": True}
    if load.ignore_eos:
        body["ignore_eos"] = True
    return body


def _tgi(_load: Load, prompt: str, tokens: int) -> dict[str, Any]:
    return {"inputs": prompt, "parameters": {"max_new_tokens": tokens, "details": True}}


@dataclass(frozen=True, slots=True)
class Api:
    """What can be spoken with an engine."""

    path: str
    body: Callable[[Load, str, int], dict[str, Any]]
    """Makes a request's body for a prompt and a number of tokens."""
    fixes_length: bool = True
    """Whether a request can forbid the model to end earlier (``ignore_eos``)."""


APIS: dict[str, Api] = {
    "completions": Api("/v1/completions", _completions),
    "chat": Api("/v1/chat/completions", _chat),
    "tgi": Api("/generate_stream", _tgi, fixes_length=False),
}
"""By name. The first two are of vLLM, SGLang and trtllm-serve, the last of TGI."""


class Requests:
    """The requests of one load, as bytes that are ready to be sent.

    Raises:
        UserError: The environment variable of a token or a header is not set, or can't be a header.
    """

    def __init__(self, load: Load, environ: Mapping[str, str]) -> None:
        self._load = load
        self._api = APIS[load.api]
        url = urlsplit(load.url)
        secrets = {
            name.lower(): _secret(f"headers_from {name!r}", variable, environ)
            for name, variable in load.headers_from
        }
        headers = {
            "host": url.netloc,
            "accept": "text/event-stream",
            "accept-encoding": "identity",
            "user-agent": "drainproof",
            **{name.lower(): value for name, value in load.headers},
            **secrets,
            "content-type": "application/json",
        }
        if load.token_env:
            token = _secret("token_env", load.token_env, environ)
            if " " in token:
                raise UserError(f"token_env: what {load.token_env} holds can't be sent as a token")
            secrets["authorization"] = token
            headers["authorization"] = f"Bearer {token}"
        lines = [f"POST {url.path.rstrip('/')}{self._api.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._head = ("\r\n".join(lines) + "\r\n").encode("ascii")
        self._bodies: dict[tuple[int, int], bytes] = {}
        self._masked = sorted(
            {
                form
                for value in secrets.values()
                if len(value) >= LEAST_SECRET
                for form in (value.encode(), orjson.dumps(value)[1:-1])
            },
            key=len,
            reverse=True,
        )

    def make(self, number: int, stream: str) -> tuple[bytes, int]:
        """Return a request, and how many tokens it allows.

        Args:
            number: Which request of the load, over all its clients: chooses prompt and length.
            stream: The stream's id.
        """
        load = self._load
        prompt, tokens = number % len(load.prompts), load.max_tokens
        if load.prompt_order == "random" or load.lengths != "fixed":
            lot = random.Random(f"{load.seed}/{number}")  # noqa: S311 - repeatable is the point
            if load.prompt_order == "random":
                prompt = lot.randrange(len(load.prompts))
            tokens = LENGTHS[load.lengths](load.min_tokens, load.max_tokens, lot)
        body = self._body(prompt, tokens)
        request = b"%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            self._head,
            stream.encode("ascii"),
            len(body),
            body,
        )
        return request, tokens

    def masked(self, answer: bytes) -> bytes:
        """Return what a server sent with the secrets in it masked, of the same size."""
        for secret in self._masked:
            if secret in answer:
                answer = answer.replace(secret, b"*" * len(secret))
        return answer

    def without_prompts(self, answer: bytes) -> bytes:
        """Return what a server sent with the prompts in it masked, of the same size."""
        for prompt in self._load.prompts:
            said = orjson.dumps(prompt)[1:-1]
            if len(said) >= LEAST_SECRET and said in answer:
                answer = answer.replace(said, b"*" * len(said))
        return answer

    def may_cut(self, answer: Callable[[int], bytes]) -> bool:
        """Return whether what came so far may end within a secret, which the next read completes.

        Args:
            answer: Returns the last so many bytes that came.
        """
        if not self._masked:
            return False
        tail = answer(len(self._masked[0]) - 1)
        return any(
            tail.endswith(secret[:size])
            for secret in self._masked
            for size in range(1, len(secret))
        )

    def _body(self, prompt: int, tokens: int) -> bytes:
        if self._load.lengths != "fixed":
            return self._dumped(prompt, tokens)
        key = prompt, tokens
        if key not in self._bodies:
            self._bodies[key] = self._dumped(prompt, tokens)
        return self._bodies[key]

    def _dumped(self, prompt: int, tokens: int) -> bytes:
        return orjson.dumps(self._api.body(self._load, self._load.prompts[prompt], tokens))


def _fixed(_least: int, most: int, _lot: random.Random) -> int:
    return most


def _uniform(least: int, most: int, lot: random.Random) -> int:
    return lot.randint(least, most)


def _exponential(least: int, most: int, lot: random.Random) -> int:
    """Many short answers and few long ones: beyond the least, on average a quarter of the range."""
    return min(most, least + int(lot.expovariate(4 / max(most - least, 1))))


LENGTHS: dict[str, Callable[[int, int, random.Random], int]] = {
    "fixed": _fixed,
    "uniform": _uniform,
    "exponential": _exponential,
}
"""How the tokens that a request asks for are chosen between ``min_tokens`` and ``max_tokens``."""


def _secret(setting: str, variable: str, environ: Mapping[str, str]) -> str:
    value = environ.get(variable, "").strip()
    if not value:
        raise UserError(
            f"{setting}: the environment variable {variable} is not set",
            hint="Set it, from a Secret if the client runs in a cluster, or leave the setting out.",
        )
    if not (value.isascii() and value.isprintable()):
        raise UserError(f"{setting}: what {variable} holds can't be sent in a header")
    return value
