"""The value that stands where a finding points, with whatever may be a secret hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drainproof.collect.lines import steps
from drainproof.model.secrets import HIDDEN, form_of, is_value_of_secret, names_a_secret, redacted

if TYPE_CHECKING:
    from drainproof.model.finding import Finding

MAX_LENGTH = 200
"""Longest value that is written, in characters as Python writes it. Messages say the rest."""

_MAX_INTEGER = 2**53 - 1
"""Largest number that every reader of JSON reads exactly."""


def found(finding: Finding) -> Any:  # noqa: ANN401 - any part of a manifest
    """Return the value at a finding's path; None if there is none, or if it is long."""
    if not finding.path:
        return None
    at: Any = finding.where.object
    secret = finding.where.kind == "Secret"
    for step in steps(finding.path):
        if isinstance(at, dict) and isinstance(step, str) and step in at:
            named = at.get("name")
            hides = names_a_secret(step) and isinstance(at[step], str)
            hides |= step == "value" and isinstance(named, str) and names_a_secret(named)
            secret = secret or hides
            at = at[step]
        elif isinstance(at, list) and isinstance(step, int) and step < len(at):
            secret = secret or (step > 0 and _takes_a_secret(at[step - 1], at[step]))
            at = at[step]
        else:
            return None
    if secret:
        return HIDDEN
    value = _exact(shown(at))
    return value if len(str(value)) <= MAX_LENGTH else None


def shown(value: Any) -> Any:  # noqa: ANN401 - any part of a manifest
    """Return a value with the secrets in it hidden."""
    if isinstance(value, str):
        return HIDDEN if form_of(value) else redacted(value)
    if isinstance(value, list):
        return [
            HIDDEN if isinstance(part, str) and _takes_a_secret(before, part) else shown(part)
            for before, part in zip(("", *value), value, strict=False)
        ]
    if isinstance(value, dict):
        named = value.get("name")
        secret = isinstance(named, str) and names_a_secret(named)
        return {
            key: HIDDEN
            if isinstance(part, str)
            and ((secret and key == "value") or (names_a_secret(str(key)) and key != "name"))
            else shown(part)
            for key, part in value.items()
        }
    return value


def _exact(value: Any) -> Any:  # noqa: ANN401 - any part of a manifest
    """Return a value with the numbers that not every reader of JSON reads exactly as strings."""
    if isinstance(value, dict):
        return {key: _exact(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_exact(part) for part in value]
    return str(value) if isinstance(value, int) and abs(value) > _MAX_INTEGER else value


def _takes_a_secret(word: object, then: object) -> bool:
    """Tell whether a word is a flag whose value, a secret, is the next word."""
    return is_value_of_secret(word, then) or (
        isinstance(word, str)
        and word.startswith("-")
        and "=" not in word
        and " " not in word
        and names_a_secret(word)
    )
