"""Knows what keys and tokens look like, and says where one stands without ever saying which."""

from __future__ import annotations

import re
from functools import lru_cache, partial
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
HIDDEN = "(hidden)"
"""What is written for a secret."""
_HIDDEN_IN_TEXT = "[hidden]"
"""The same within a command line, where parentheses would mean something."""
_HIDDEN_FORMS = {
    f"[hidden:{re.sub(r'[^A-Za-z]+', '-', form).strip('-')}]": form for form, _ in _FORMS
}
"""The same where only its form tells a secret, so that what is judged later, from a saved Snapshot,
still has it."""
_MARK_OF = {form: mark for mark, form in _HIDDEN_FORMS.items()}
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
    (b"[hidden:", ()),
)
"""What is in whatever has a form above, and what must be there as well; quick to look for, since
every workload is looked through."""
_TEXT_MARKS = tuple(
    mark.decode()
    for first, besides in _MARKS
    for mark in (besides if first != b"://" else ()) or (first,)
)
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
_NAMED = re.compile(
    r"(?<![\w-])((?:--?[A-Za-z][\w-]*(?:=|\s+)|[A-Za-z_]\w*=))(\"[^\"]*\"|'[^']*'|[^\s;&|\"']+)"
)
"""A flag or a variable, and its value, in a command line."""
_KEY_BODY = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----(?:.*?-----END (?:[A-Z]+ )*PRIVATE KEY-----|.*)",
    re.DOTALL,
)
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
            if _is_real(form, found[0]):
                return form
    if "[hidden:" in text:
        return next((form for mark, form in _HIDDEN_FORMS.items() if mark in text), "")
    return ""


def holds_one(value: Any) -> bool:  # noqa: ANN401 - any part of a manifest
    """Tell whether a secret is anywhere in a part of a manifest, by its form or by its name."""
    if isinstance(value, str):
        return redacted(value) != value
    if isinstance(value, dict):
        named = value.get("name")
        if isinstance(named, str) and names_a_secret(named):
            written = value.get("value")
            if isinstance(written, str) and is_written_out(written):
                return True
        return any(holds_one(part) for part in value.values())
    if isinstance(value, list):
        return any(
            holds_one(part) or (index > 0 and is_value_of_secret(value[index - 1], part))
            for index, part in enumerate(value)
        )
    return False


def is_value_of_secret(before: object, word: object) -> bool:
    """Tell whether a word of a command line is a secret because of the flag before it."""
    return (
        isinstance(before, str)
        and isinstance(word, str)
        and before.startswith("-")
        and "=" not in before
        and " " not in before
        and names_a_secret(before)
        and is_written_out(word)
    )


def _is_real(form: str, body: str) -> bool:
    """Tell whether what has the form of a secret is no word that stands for one."""
    return form == "a private key" or not (_PLACEHOLDER.search(body) or len(set(body[3:])) < _FEW)


def redacted(text: str) -> str:
    """Return a text, such as a command line, with the secrets in it hidden.

    Those are what has the form of one, and what a flag or a variable holds that is named like one.
    """
    text = without_forms(text)
    return _NAMED.sub(_hide_named, text) if "-" in text or "=" in text else text


def hidden(text: str) -> str:
    """Return what is written instead of a whole text that is, or holds, a secret."""
    return _MARK_OF.get(form_of(text), HIDDEN)


@lru_cache(maxsize=2048)  # thousands of workloads have the same messages
def without_forms(text: str) -> str:
    """Return a text, such as a finding's message, with what has the form of a secret hidden."""
    for mark in _TEXT_MARKS:
        if mark in text:
            break
    else:
        return text
    text = _KEY_BODY.sub(_MARK_OF["a private key"], text)
    for form, search in _SEARCHES:
        text = search.sub(partial(_hide, form), text)
    return text


def _hide(form: str, found: re.Match[str]) -> str:
    body = found[0]
    if not _is_real(form, body):
        return body
    if form == "a password in a URL":
        return f"{body[0]}://{_MARK_OF[form]}@"
    return _MARK_OF[form]


def _hide_named(found: re.Match[str]) -> str:
    name, value = found[1], found[2]
    quote = value[0] if value[0] in "\"'" else ""
    bare = value.strip("\"'")
    hides = names_a_secret(name.rstrip("= \t\n")) and is_written_out(bare)
    if not hides or bare.startswith(("-", HIDDEN, "[hidden")):
        return found[0]
    hidden = HIDDEN if found[0] == found.string else _HIDDEN_IN_TEXT
    return f"{name}{quote}{hidden}{quote}"


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
