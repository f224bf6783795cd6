"""Knows what keys and tokens look like, and says where one stands without ever saying which."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from drainproof.model.shape import join

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.model.shape import Raw

_FORMS: tuple[tuple[str, str], ...] = (
    ("a Hugging Face token", r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{20,}"),
    ("an API key (sk-)", r"(?<![A-Za-z0-9])sk-(?=[\w-]*\d)[A-Za-z0-9_-]{20,}"),
    ("an AWS access key", r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[0-9A-Z]{16}(?![A-Za-z0-9])"),
    ("an NVIDIA API key", r"(?<![A-Za-z0-9])nvapi-[A-Za-z0-9_-]{20,}"),
    ("a Google API key", r"(?<![A-Za-z0-9])AIza[0-9A-Za-z_-]{35}"),
    ("a GitHub token", r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,})"),
    ("a GitLab token", r"(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{20,}"),
    ("a Slack token", r"(?<![A-Za-z0-9])xox[abprs]-[A-Za-z0-9-]{10,}"),
    ("a signed token (JWT)", r"(?<![A-Za-z0-9])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+"),
    ("a bearer token", r"[Bb]earer\s+[A-Za-z0-9._~+/-]{12,}"),
    ("a private key", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    ("a password in a URL", r"\w://[^/\s:@$]*:[^/\s@$<{]{3,}@"),
)
_SEARCHES = tuple((form, re.compile(pattern)) for form, pattern in _FORMS)
_MARKS: tuple[tuple[bytes, tuple[bytes, ...]], ...] = (
    (b"hf_", ()),
    (b"sk-", ()),
    (b"IA", (b"AKIA", b"ASIA")),
    (b"nvapi-", ()),
    (b"AIza", ()),
    (b"gh", (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_")),
    (b"glpat-", ()),
    (b"xox", ()),
    (b"eyJ", ()),
    (b"earer ", ()),
    (b"PRIVATE KEY-", ()),
    (b"://", (b"@",)),
)
"""What is in whatever has a form above, and what must be there as well; quick to look for, since
every workload is looked through."""
_PLACEHOLDER = re.compile(r"(?i)example|your|placeholder|change[-_]?me|replace|redacted|\*\*\*")
_FEW = 6
"""A key with fewer different characters than this stands for one: ``hf_xxxxxxxx``."""
_SKIPPED = frozenset({"managedFields", "kubectl.kubernetes.io/last-applied-configuration"})
"""What repeats the rest of the object."""

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:TOKEN|PASSWORD|PASSWD|(?:CLIENT|APP|JWT|WEBHOOK)_SECRET"
    r"|(?:API|ACCESS|SECRET|PRIVATE|AUTH)_?KEY|ACCESS_KEY_ID)$",
    re.IGNORECASE,
)
_FILE = re.compile(r"(?:file:/)?(?:\.{0,2}/[\w.-]+)+")
_EMPTY_WORDS = frozenset(
    {"", "empty", "none", "null", "dummy", "fake", "na", "n/a", "not-needed", "notneeded", "no-key"}
    | {"true", "false", "0", "1", "yes", "no"}
)


def names_a_secret(name: str) -> bool:
    """Tell whether a variable or a flag with this name holds a secret: ``HF_TOKEN``.

    ``MAX_TOKENS`` and ``TOKEN_PATH`` do not.
    """
    return bool(_SECRET_NAME.search(name.lstrip("-").replace("-", "_")))


def is_written_out(value: str) -> bool:
    """Tell whether a value is the secret itself: no reference, no file, no word for none."""
    bare = value.strip()
    if bare.startswith("$") or _FILE.fullmatch(bare):
        return False
    return bare.lower() not in _EMPTY_WORDS


def form_of(text: str) -> str:
    """Return which kind of key or token is in a text, in words; empty if there is none."""
    for form, search in _SEARCHES:
        for found in search.finditer(text):
            body = found[0]
            if form == "a private key" or not (
                _PLACEHOLDER.search(body) or len(set(body[3:])) < _FEW
            ):
                return form
    return ""


def secrets_in(obj: Raw) -> Iterator[tuple[str, str]]:
    """Yield the field path of each key or token in an object, and its kind in words.

    Nothing is yielded, and little time spent, where no part of the object looks like one.
    """
    if _may_hold_one(obj):
        yield from _walk(obj, "")


def _may_hold_one(obj: Raw) -> bool:
    try:
        written = orjson.dumps(obj, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return True  # a number or a text that JSON has no room for
    for mark, besides in _MARKS:
        if mark in written and (not besides or any(one in written for one in besides)):
            return True
    return False


def _walk(value: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any part of a manifest
    if isinstance(value, str):
        form = form_of(value) if len(value) > _FEW else ""
        if form:
            yield path, form
    elif isinstance(value, dict):
        for key, part in value.items():
            if key not in _SKIPPED:
                yield from _walk(part, join(path, str(key)))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _walk(part, f"{path}[{index}]")
