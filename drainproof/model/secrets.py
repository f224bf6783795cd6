"""Knows what keys and tokens look like, and says where one stands without ever saying which."""

from __future__ import annotations

import re
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import orjson

from drainproof.model.shape import join
from drainproof.patterns import regex

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
    (
        "a password in an image name",
        r"(?<![\w.%+/:@\[-])[\w.%+-]+:[^/\s:@$<{\"']{3,}@(?=[\w-]+(?:\.[\w-]+)*(?::\d+)?/)",
    ),
    (
        "a password in a header",
        r"(?<![A-Za-z])[Bb]asic\s+[A-Za-z0-9+/]+[A-Z0-9+/][A-Za-z0-9+/]{5,}={0,2}",
    ),
    (
        "a key in a header",
        (
            r"(?:[Aa]uthorization:\s*(?:[Bb]asic|[Bb]earer|[Tt]oken)\s"
            r"|[Xx]-[A-Za-z-]{0,40}(?:[Kk]ey|KEY|[Tt]oken|TOKEN):)"
            r"\s*[^\s\"'$<{(\[\\][^\s\"'$]{2,}"
        ),
    ),
    (
        "a password for curl",
        (
            r"curl\s(?:[^|;&\n]{0,200}\s)?(?:-u|--user)[\s=]*"
            r"(?:[\"'][^:\"'$]*:[^\"'$]{3,}|[^\s:\"'$\[]+:[^\s\"'$]{3,})"
        ),
    ),
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
_SEARCHES = tuple((form, regex(pattern)) for form, pattern in _FORMS)
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
    (b"asic ", ()),
    (b"uthorization:", ()),
    (b"curl", (b" -u", b"--user")),
    (b"ey:", ()),
    (b"EY:", ()),
    (b"oken:", ()),
    (b"OKEN:", ()),
    (b"[hidden:", ()),
)
"""What is in whatever has a form above, and what must be there as well; quick to look for, since
every workload is looked through."""
_TEXT_MARKS = (
    *((mark.decode(), tuple(one.decode() for one in besides)) for mark, besides in _MARKS),
    ("@", (":",)),
)
_PLACEHOLDER = regex(r"(?i)example|your|placeholder|change[-_]?me|replace|redacted|\*\*\*")
_FEW = 6
"""A key with fewer different characters than this stands for one: ``hf_xxxxxxxx``."""
_SKIPPED = frozenset({"managedFields", "kubectl.kubernetes.io/last-applied-configuration"})
"""What repeats the rest of the object."""

_SECRET_NAME = regex(
    r"(?:^|_)(?:TOKEN|PASSWORD|PASSWD|AUTHORIZATION|CREDS?|(?:CLIENT|APP|JWT|WEBHOOK)_SECRET"
    r"|(?:API|ACCESS|SECRET|PRIVATE|AUTH)_?KEY|ACCESS_KEY_ID)$",
    re.IGNORECASE,
)
_COUNTS_TOKENS = regex(
    r"(?:^|_)(?:(?:MAX|MIN|NUM)_(?:[A-Z0-9]+_)*|(?:PER|BOS|EOS|PAD|UNK|SEP|CLS|MASK|STOP)_)TOKEN$",
    re.IGNORECASE,
)
"""Names whose ``TOKEN`` is a piece of a text: how many of them, or one that means something."""
_CAMEL = regex(r"(?<=[a-z\d])(?=[A-Z])")
_FILE = regex(r"(?:file:/)?(?:\.{0,2}/[\w.-]+)+")
_NAMED = regex(
    r"(?<![\w-])((?:--?[A-Za-z][\w-]*(?:=|\s+)|[A-Za-z_][\w-]*=))(\"[^\"]*\"|'[^']*'|[^\s;&|\"']+)"
)
"""A flag or a variable, and its value, in a command line."""
_HEADER = regex(
    r"(?<![\w-])([A-Za-z][\w-]*:\s*)"
    r"((?:(?:basic|bearer|token|digest|apikey)\s+)?[^\s\"'$<{(\[][^\s\"']*)",
    re.IGNORECASE,
)
"""An HTTP header, and its value, in a command line."""
_PASSWORD_OF = regex(r"[\"']?[^\s:\"'=]*:[^:]*$")
"""A user and its password at the end of what has the form of both for curl."""
_LOGINS = ("-u", "--user")
"""Flags whose value is a user and its password."""
_KEY_BODY = regex(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----(?:.*?-----END (?:[A-Z]+ )*PRIVATE KEY-----|.*)",
    re.DOTALL,
)
_EMPTY_WORDS = frozenset(
    {"", "empty", "none", "null", "dummy", "fake", "na", "n/a", "not-needed", "notneeded", "no-key"}
    | {"true", "false", "0", "1", "yes", "no"}
)


def names_a_secret(name: str) -> bool:
    """Tell whether a variable or a flag with this name holds a secret: ``HF_TOKEN``.

    ``MAX_TOKENS``, ``MAX_TOKEN`` and ``TOKEN_PATH`` do not.
    """
    name = name.lstrip("-").replace("-", "_")
    return bool(_SECRET_NAME.search(name)) and not _COUNTS_TOKENS.search(name)


def field_holds_a_secret(name: str) -> bool:
    """Tell whether a field of an object with this name holds a secret: ``password``, ``apiKey``."""
    return names_a_secret(_CAMEL.sub("_", name))


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
    if before in _LOGINS and isinstance(word, str):
        _, colon, password = word.partition(":")
        return bool(colon) and not password.isdecimal() and is_written_out(password)
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

    Those are what has the form of one, and what a flag, a variable or a header holds that is named
    like one.
    """
    text = without_forms(text)
    if ":" in text:
        text = _HEADER.sub(_hide_header, text)
    return _NAMED.sub(_hide_named, text) if "-" in text or "=" in text else text


def hidden(text: str) -> str:
    """Return what is written instead of a whole text that is, or holds, a secret."""
    return _MARK_OF.get(form_of(text), HIDDEN)


@lru_cache(maxsize=2048)  # thousands of workloads have the same messages
def without_forms(text: str) -> str:
    """Return a text, such as a finding's message, with what has the form of a secret hidden."""
    for mark, besides in _TEXT_MARKS:
        if mark in text and (not besides or any(one in text for one in besides)):
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
    if form == "a password in an image name":
        return f"{_MARK_OF[form]}@"
    if form == "a password for curl":
        return _PASSWORD_OF.sub(_MARK_OF[form], body)
    return _MARK_OF[form]


def _hide_header(found: re.Match[str]) -> str:
    written, value = found[1], found[2]
    name = written.rstrip()[:-1]
    # a rule of Prometheus has colons in its name, no hyphens and no blanks
    header = "-" in name or written[-1] != ":" or name.lower() == "authorization"
    hides = header and names_a_secret(name) and is_written_out(value)
    return f"{written}{_HIDDEN_IN_TEXT}" if hides else found[0]


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
    if may_hold_one(obj):
        yield from _walk(obj, "")


def may_hold_one(obj: Raw) -> bool:
    """Tell quickly whether any part of an object looks like a key or a token; false is certain."""
    try:
        written = orjson.dumps(obj, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return True  # a number or a text that JSON has no room for
    for mark, besides in _MARKS:
        if mark in written and (not besides or any(one in written for one in besides)):
            return True
    # most at signs stand before an image's digest
    return b"@" in written and written.count(b"@") > written.count(b"@sha256:")


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
