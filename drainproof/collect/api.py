"""GET requests to a Kubernetes API server, counted by what they ask for.

Bodies are parsed by orjson as they come: the client's own models would take ten times the memory.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson

from drainproof.errors import UserError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

OK, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, GONE = 200, 401, 403, 404, 410
_CONNECT_S = 5.0
_READ_S = 30.0


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
    ) -> tuple[int, bytes]:
        """Return status and body.

        Args:
            what: Verb and resource, to count by: ``list deployments.apps``.
            path: Path on the server.
            query: Parameters.
            accept: What the server may answer with.

        Raises:
            UserError: The server can't be reached, or does not accept the credentials.
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
            )
        except (HTTPError, OSError) as error:
            raise UserError(
                f"the API server at {self.config.host} cannot be reached: "
                f"{' '.join(str(error).split())[:200]}"
            ) from None
        status = int(answer.status)
        if status == UNAUTHORIZED:
            raise UserError("the API server does not accept the context's credentials (401)")
        return status, bytes(answer.data)


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
