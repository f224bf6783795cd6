"""The load to put on a server, as one checked value: what is asked for, how often, for how long."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import orjson

from drainproof.errors import UserError
from drainproof.streams.arrivals import PROCESSES
from drainproof.streams.requests import APIS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_CLIENT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OWN_HEADERS = {
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "x-request-id",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Settings of the streaming client; every one that exists has been checked.

    Raises:
        UserError: A setting is not what it must be.
    """

    url: str
    """The server's root, such as ``http://vllm.inference.svc:8000``; the API's path is added."""
    model: str
    """The model's name as the server serves it."""
    api: str = "completions"
    """What is spoken: ``completions`` (POST /v1/completions)."""
    prompts: tuple[str, ...] = ("Write a long story about a lighthouse and the people in it.",)
    """Used in turn."""
    max_tokens: int = 600
    """Completion tokens to ask for."""
    ignore_eos: bool = True
    """Makes ``max_tokens`` the exact length; an extension of vLLM and SGLang."""
    include_usage: bool = True
    """Ask for the token count at the stream's end, without which the length can't be judged."""
    rate_per_s: float = 1.0
    """Mean arrivals in a second."""
    arrivals: str = "poisson"
    """``poisson`` (independent users) or ``constant``."""
    duration_s: float | None = None
    """Seconds of arrivals; None is until stopped."""
    seed: int = 0
    """Same seed, same client: same due times."""
    max_in_flight: int = 1000
    """Streams at once. A request that is due beyond it is withheld, and that is recorded."""
    stall_s: float = 30.0
    """Give up on a stream after so many seconds without a byte."""
    connect_timeout_s: float = 5.0
    """Give up on connecting, name resolution included."""
    settle_s: float = 120.0
    """How long streams in flight may go on after the last arrival, before they are cancelled."""
    token_env: str = ""
    """Name of the environment variable that holds a bearer token; empty is none."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further request headers. Not for secrets."""
    ca_file: str = ""
    """PEM file of the authorities to trust for https; empty is the system's."""
    client: str = "0"
    """Which client this is, where several share one History; part of the arrivals' seed."""

    def __post_init__(self) -> None:
        for name, (holds, expected) in _RULES.items():
            value = getattr(self, name)
            if not holds(value):
                found = "something else" if name in _NOT_SHOWN else repr(value)
                raise UserError(f"load setting {name!r}: expected {expected}, found {found}")

    @property
    def expected_tokens(self) -> int | None:
        """Completion tokens that a whole stream has, where the request fixes that."""
        return self.max_tokens if self.ignore_eos else None

    def public(self) -> dict[str, Any]:
        """Return the settings for a History's header: no prompt's text and no header's value."""
        return asdict(self) | {
            "prompts": len(self.prompts),
            "headers": [name for name, _ in self.headers],
        }


def load_from_json(text: bytes | str, source: str) -> Load:
    """Read settings from a JSON object whose keys are the fields of :class:`Load`.

    Args:
        text: The JSON.
        source: Where it came from, for messages.

    Raises:
        UserError: It is not such an object.
    """
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UserError(f"{source}: the load's settings are not JSON: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{source}: expected a JSON object of load settings, found {text[:40]!r}")
    known = [field.name for field in fields(Load)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            raise UserError(
                f"{source}: no load setting is called {key!r}",
                hint=f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}.",
            )
    for key in ("url", "model"):
        if key not in values:
            raise UserError(f"{source}: the load setting {key!r} is missing; it has no default")
    if isinstance(values.get("prompts"), list):
        values["prompts"] = tuple(values["prompts"])
    if isinstance(values.get("headers"), dict):
        values["headers"] = tuple(values["headers"].items())
    return Load(**values)


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _between(low: float, high: float) -> Callable[[object], bool]:
    """Return whether a value is a finite number in (low, high]."""
    return lambda value: (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and low < value <= high
    )


def _whole(low: int, high: int) -> Callable[[object], bool]:
    """Return whether a value is an integer in [low, high]."""
    return lambda value: (
        isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    )


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _one_of(names: Collection[str]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and value in names


def _matching(pattern: re.Pattern[str]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _url(value: object) -> bool:
    if not isinstance(value, str) or re.search(r"[\s\x00-\x1f\x7f-\U0010ffff]", value):
        return False
    try:
        parts: SplitResult = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and port != 0
        and not (parts.username or parts.password or parts.query or parts.fragment)
        and "/v1" not in parts.path
    )


def _prompts(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and all(_text(prompt) for prompt in value)


def _headers(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(header, str)
        and isinstance(text, str)
        and _HEADER_NAME.fullmatch(header)
        and _HEADER_VALUE.fullmatch(text)
        and header.lower() not in _OWN_HEADERS
        for header, text in value
    )


_WEEK_S = 7 * 24 * 3600
_RULES: dict[str, tuple[Callable[[object], bool], str]] = {
    "url": (_url, "the server's root as http://HOST:PORT, without user, query or /v1/…"),
    "model": (_text, "the model's name"),
    "api": (_one_of(APIS), f"one of {', '.join(APIS)}"),
    "prompts": (_prompts, "a list of at least one text, none of them empty"),
    "max_tokens": (_whole(1, 1_000_000), "a whole number of tokens from 1 to 1000000"),
    "ignore_eos": (_flag, "true or false"),
    "include_usage": (_flag, "true or false"),
    "rate_per_s": (_between(0, 10_000), "requests per second, more than 0 and at most 10000"),
    "arrivals": (_one_of(PROCESSES), f"one of {', '.join(PROCESSES)}"),
    "duration_s": (
        lambda value: value is None or _between(0, _WEEK_S)(value),
        f"seconds, more than 0 and at most {_WEEK_S}, or null for until stopped",
    ),
    "seed": (_whole(-(2**63), 2**63), "a whole number"),
    "max_in_flight": (_whole(1, 50_000), "a whole number of streams from 1 to 50000"),
    "stall_s": (_between(0, _WEEK_S), f"seconds, more than 0 and at most {_WEEK_S}"),
    "connect_timeout_s": (_between(0, 600), "seconds, more than 0 and at most 600"),
    "settle_s": (
        lambda value: value == 0 or _between(0, _WEEK_S)(value),
        f"seconds from 0 to {_WEEK_S}",
    ),
    "token_env": (
        lambda value: value == "" or _matching(_ENV)(value),
        "the name of an environment variable, not the token itself",
    ),
    "headers": (
        _headers,
        (
            "an object of header names and ASCII values, none of them the client's own "
            f"({', '.join(sorted(_OWN_HEADERS))}; a token's variable is named in token_env)"
        ),
    ),
    "ca_file": (lambda value: isinstance(value, str), "a path, or nothing"),
    "client": (_matching(_CLIENT), "1 to 64 letters, digits, dots, dashes or underscores"),
}
_NOT_SHOWN = {"url", "token_env", "headers", "prompts"}
"""Settings in which a secret or a prompt may have been put by mistake."""
