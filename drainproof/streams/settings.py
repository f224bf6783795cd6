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
from drainproof.streams.arrivals import PROCESSES, Pattern
from drainproof.streams.prompts import BUILTIN
from drainproof.streams.requests import APIS, LENGTHS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_CLIENT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ORDERS = ("in-turn", "random")
"""How prompts may be chosen."""
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
    """What is spoken: ``completions`` (POST /v1/completions), ``chat`` (/v1/chat/completions), or
    ``tgi`` (/generate_stream)."""
    prompts: tuple[str, ...] = BUILTIN
    prompt_order: str = "in-turn"
    """``in-turn`` or ``random``, which the seed decides."""
    max_tokens: int = 600
    """Completion tokens to ask for, at most."""
    min_tokens: int = 1
    """At least, where lengths differ. Streams shorter than a preStop delay prove little."""
    lengths: str = "fixed"
    """``fixed`` (all ask for ``max_tokens``), ``uniform`` or ``exponential`` (from ``min_tokens``
    to ``max_tokens``; the seed decides)."""
    ignore_eos: bool = True
    """Makes the tokens asked for the exact length; an extension of vLLM, SGLang and trtllm-serve.
    TGI has no such parameter."""
    include_usage: bool = True
    """Ask for the token count at the stream's end, without which the length can't be judged."""
    rate_per_s: float = 1.0
    """Mean arrivals in a second."""
    arrivals: str = "poisson"
    """``poisson`` (independent users), ``constant``, ``ramp`` (from none to the rate) or ``burst``
    (crowds)."""
    ramp_s: float = 60.0
    """How long ``ramp`` takes to reach the rate."""
    burst: int = 10
    """How many requests of ``burst`` are due at once."""
    duration_s: float | None = None
    """Seconds of arrivals; None is until stopped."""
    seed: int = 0
    """Same seed, same client: same due times."""
    max_in_flight: int = 1000
    """Streams at once. A request that is due beyond it is withheld, and that is recorded."""
    users: bool = False
    """Whether ``max_in_flight`` is a number of users who ask again when they have their answer:
    what is due beyond it is left out, and nothing is recorded of that."""
    stall_s: float = 30.0
    """Give up on a stream after so many seconds without a byte."""
    connect_timeout_s: float = 5.0
    """Give up on connecting, name resolution included."""
    settle_s: float = 120.0
    """How long streams in flight may go on after the last arrival, before they are cancelled."""
    keep_text: bool = False
    """Whether what the model says is recorded; otherwise it is masked (see :mod:`.mask`)."""
    token_env: str = ""
    """Name of the environment variable that holds a bearer token; empty is none."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further request headers. Not for secrets."""
    headers_from: tuple[tuple[str, str], ...] = ()
    """Further request headers: their names, and the environment variables that hold the values."""
    ca_file: str = ""
    """PEM file of the authorities to trust for https; empty is the system's."""
    client: str = "0"
    """Which client this is, where several share one History; the first part of its streams' ids."""
    part: int = 0
    """Which of ``parts`` this client sends, from 0."""
    parts: int = 1
    """How many clients share this load."""

    def __post_init__(self) -> None:
        for name, (holds, expected) in _RULES.items():
            value = getattr(self, name)
            if not holds(value):
                found = "something else" if name in _NOT_SHOWN else repr(value)
                raise UserError(f"load setting {name!r}: expected {expected}, found {found}")

        if self.min_tokens > self.max_tokens:
            raise UserError(
                f"load setting 'min_tokens': expected at most max_tokens, {self.max_tokens}, "
                f"found {self.min_tokens}"
            )
        if self.part >= self.parts:
            raise UserError(
                f"load setting 'part': expected less than parts, {self.parts}, found {self.part}"
            )
        named = [header.lower() for header, _ in (*self.headers, *self.headers_from)]
        named += ["authorization"] * bool(self.token_env)
        if len(named) > len(set(named)):
            raise UserError(
                "load settings 'headers', 'headers_from' and 'token_env': a header is given twice"
            )

    @property
    def pattern(self) -> Pattern:
        """When requests are due, over all clients that share the load."""
        return Pattern(
            process=self.arrivals,
            rate_per_s=self.rate_per_s,
            ramp_s=self.ramp_s,
            burst=self.burst,
            duration_s=self.duration_s,
            seed=self.seed,
        )

    @property
    def fixes_length(self) -> bool:
        """Whether a whole stream has exactly the tokens that its request asked for."""
        return self.ignore_eos and APIS[self.api].fixes_length

    def public(self) -> dict[str, Any]:
        """Return the settings for a History's header: no prompt's text and no header's value."""
        return asdict(self) | {
            "prompts": len(self.prompts),
            "headers": [name for name, _ in self.headers],
            "headers_from": [name for name, _ in self.headers_from],
        }

    def to_json(self) -> bytes:
        """Return the settings as :func:`load_from_json` reads them."""
        pairs = {"headers": dict(self.headers), "headers_from": dict(self.headers_from)}
        return orjson.dumps(asdict(self) | pairs)


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
    for key in ("headers", "headers_from"):
        if isinstance(values.get(key), dict):
            values[key] = tuple(values[key].items())
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
        and "/generate" not in parts.path
    )


def _prompts(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and all(_text(prompt) for prompt in value)


def _headers(values: re.Pattern[str], taken: Collection[str]) -> Callable[[object], bool]:
    """Return whether a value is pairs of a header's name, not one of ``taken``, and a text."""
    return lambda value: (
        isinstance(value, tuple)
        and all(
            isinstance(header, str)
            and isinstance(text, str)
            and _HEADER_NAME.fullmatch(header)
            and values.fullmatch(text)
            and header.lower() not in taken
            for header, text in value
        )
    )


_WEEK_S = 7 * 24 * 3600
_RULES: dict[str, tuple[Callable[[object], bool], str]] = {
    "url": (_url, "the server's root as http://HOST:PORT, without user, query or /v1/…"),
    "model": (_text, "the model's name"),
    "api": (_one_of(APIS), f"one of {', '.join(APIS)}"),
    "prompts": (_prompts, "a list of at least one text, none of them empty"),
    "max_tokens": (_whole(1, 1_000_000), "a whole number of tokens from 1 to 1000000"),
    "min_tokens": (_whole(1, 1_000_000), "a whole number of tokens from 1 to 1000000"),
    "lengths": (_one_of(LENGTHS), f"one of {', '.join(LENGTHS)}"),
    "prompt_order": (_one_of(ORDERS), f"one of {', '.join(ORDERS)}"),
    "ignore_eos": (_flag, "true or false"),
    "keep_text": (_flag, "true or false"),
    "users": (_flag, "true or false"),
    "include_usage": (_flag, "true or false"),
    "rate_per_s": (_between(0, 10_000), "requests per second, more than 0 and at most 10000"),
    "arrivals": (_one_of(PROCESSES), f"one of {', '.join(PROCESSES)}"),
    "ramp_s": (_between(0, _WEEK_S), f"seconds, more than 0 and at most {_WEEK_S}"),
    "burst": (_whole(1, 10_000), "a whole number of requests from 1 to 10000"),
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
        _headers(_HEADER_VALUE, _OWN_HEADERS),
        (
            "an object of header names and ASCII values, none of them the client's own "
            f"({', '.join(sorted(_OWN_HEADERS))}; a token's variable is named in token_env)"
        ),
    ),
    "headers_from": (
        _headers(_ENV, _OWN_HEADERS - {"authorization"}),
        "an object of header names and environment variables, not the values themselves",
    ),
    "ca_file": (lambda value: isinstance(value, str), "a path, or nothing"),
    "client": (_matching(_CLIENT), "1 to 64 letters, digits, dots, dashes or underscores"),
    "part": (_whole(0, 999), "a whole number from 0 to 999"),
    "parts": (_whole(1, 1000), "a whole number of clients from 1 to 1000"),
}
_NOT_SHOWN = {"url", "token_env", "headers", "headers_from", "prompts"}
"""Settings in which a secret or a prompt may have been put by mistake."""
