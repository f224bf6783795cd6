"""The bytes of a request, built once for each prompt, since only the request's id differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drainproof.streams.settings import Load


def _completions(load: Load, prompt: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": load.model,
        "prompt": prompt,
        "max_tokens": load.max_tokens,
        "stream": True,
    }
    if load.include_usage:
        body["stream_options"] = {"include_usage": True}
    if load.ignore_eos:
        body["ignore_eos"] = True
    return body


APIS: dict[str, tuple[str, Callable[[Load, str], dict[str, Any]]]] = {
    "completions": ("/v1/completions", _completions),
}
"""What can be spoken: the path, and what makes the request's body for a prompt."""


class Requests:
    """The requests of one load, as bytes that are ready to be sent.

    Raises:
        UserError: The environment variable for the token is not set, or can't be a header.
    """

    def __init__(self, load: Load, environ: Mapping[str, str]) -> None:
        path, body_of = APIS[load.api]
        url = urlsplit(load.url)
        headers = {
            "host": url.netloc,
            "accept": "text/event-stream",
            "accept-encoding": "identity",
            "user-agent": "drainproof",
            **{name.lower(): value for name, value in load.headers},
            "content-type": "application/json",
        }
        if load.token_env:
            headers["authorization"] = f"Bearer {_token(load.token_env, environ)}"
        lines = [f"POST {url.path.rstrip('/')}{path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._head = ("\r\n".join(lines) + "\r\n").encode("ascii")
        self._bodies = [orjson.dumps(body_of(load, prompt)) for prompt in load.prompts]

    def make(self, number: int, stream: str) -> bytes:
        """Return the request for the stream that is the ``number``-th and has the id ``stream``."""
        body = self._bodies[number % len(self._bodies)]
        return b"%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            self._head,
            stream.encode("ascii"),
            len(body),
            body,
        )


def _token(name: str, environ: Mapping[str, str]) -> str:
    token = environ.get(name, "").strip()
    if not token:
        raise UserError(
            f"token_env: the environment variable {name} is not set",
            hint="Set it, from a Secret if the client runs in a cluster, or leave token_env out.",
        )
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise UserError(f"token_env: what {name} holds can't be sent in a header")
    return token
