"""GET requests to a Kubernetes API server, counted by what they ask for.

Bodies are parsed by orjson as they come: the client's own models would take ten times the memory.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson

from drainproof.errors import UserError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

OK, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, GONE = 200, 401, 403, 404, 410
_CONNECT_S = 5.0
_READ_S = 30.0
MOST_PAGE = 16 * 2**20
"""Bytes of a page of metrics that are read at most; one is some hundred kB."""


class Api:
    """An API server.

    Args:
        client: As :func:`drainproof.collect.connect.connect` returns it.
    """

    def __init__(self, client: ApiClient) -> None:
        self.config: Any = client.configuration
        self._pool: Any = client.rest_client.pool_manager
        self.calls: Counter[str] = Counter()
        """How many requests were made, by verb and resource."""

    def headers(self) -> dict[str, str]:
        """Return the headers of a request, the credentials among them."""
        found = {"User-Agent": "drainproof"}
        for setting in self.config.auth_settings().values():
            found[setting["key"]] = setting["value"]
        return found

    def get(
        self,
        what: str,
        path: str,
        query: dict[str, str] | None = None,
        accept: str = "application/json",
        most: int | None = None,
    ) -> tuple[int, bytes]:
        """Return status and body.

        Args:
            what: Verb and resource, to count by: ``list deployments.apps``.
            path: Path on the server.
            query: Parameters.
            accept: What the server may answer with.
            most: Bytes of body beyond which it is refused, such as for what a pod answers.

        Raises:
            UserError: The server can't be reached, does not accept the credentials, or answers with
                more than ``most``.
        """
        from urllib3 import Timeout  # noqa: PLC0415 - comes with the client
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - same

        self.calls[what] += 1
        try:
            answer = self._pool.request(
                "GET",
                f"{self.config.host}{path}" + (f"?{urlencode(query)}" if query else ""),
                headers={**self.headers(), "Accept": accept},
                timeout=Timeout(connect=_CONNECT_S, read=_READ_S),
                retries=False,
                redirect=False,
                preload_content=most is None,
            )
            body = bytes(answer.data) if most is None else bounded(answer, most, _READ_S)
        except (HTTPError, OSError) as error:
            raise UserError(
                f"the API server at {self.config.host} cannot be reached: "
                f"{' '.join(str(error).split())[:200]}"
            ) from None
        status = int(answer.status)
        if status == UNAUTHORIZED:
            raise UserError("the API server does not accept the context's credentials (401)")
        return status, body


def bounded(answer: Any, most: int, seconds: float) -> bytes:  # noqa: ANN401 - urllib3 comes later
    """Return an answer's body as it was sent: what says that it is compressed is not unpacked.

    Args:
        answer: A ``urllib3.HTTPResponse`` whose body was not read yet; it is closed.
        most: Bytes that it may have.
        seconds: How long it may take.

    Raises:
        UserError: It is longer, or takes longer.
    """
    body = bytearray()
    until = time.monotonic() + seconds
    with closing(answer):
        while piece := answer.read1(65536, decode_content=False):
            body += piece
            if len(body) > most:
                raise UserError(f"an answer of more than {most // 2**20} MiB, which is not read on")
            if time.monotonic() > until:
                raise UserError(f"an answer that takes more than {seconds:g} s")
    return bytes(body)


def refused(status: int, body: bytes, verb: str, resource: str, namespace: str | None) -> UserError:
    """Return the error for an answer that is no success: verb and resource are named."""
    where = f"in namespace {namespace}" if namespace else "in all namespaces"
    if status == FORBIDDEN:
        scope = f"-n {namespace}" if namespace else "-A"
        return UserError(
            f"forbidden: no permission to {verb} {resource} {where}",
            hint=f"Check with: kubectl auth can-i {verb} {resource} {scope}",
        )
    return UserError(f"cannot {verb} {resource} {where}: HTTP {status}: {_words(body)}")


def _words(body: bytes) -> str:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = {}
    message = said.get("message") if isinstance(said, dict) else None
    return " ".join(str(message or body[:200].decode(errors="replace")).split())[:300]
