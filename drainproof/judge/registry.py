"""Finds the checks: Python files in a folder, one check a file, the file's name its slug.

The project's own checks and a user's (``--checks DIR``) are found in the same way. A check is a
function that yields findings; it asks for what it needs by the names of its arguments.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from drainproof.content import content
from drainproof.errors import UserError
from drainproof.judge.verdict import Severity
from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from drainproof.model.finding import Finding

__all__ = ["Check", "Registry", "Severity", "check", "load"]

KINDS = ("manifest", "live", "chaos")
"""Folders of checks, by what they look at."""
SECTIONS = ("What it checks", "Why", "Fix", "Source")
"""Parts of a check's documentation, in order."""

Rule = TypeVar("Rule", bound="Callable[..., Iterator[Finding]]")
_ID = regex(r"[A-Z]{2,5}\d{3}")
_MARK = "__drainproof_check__"


class Check(Struct, frozen=True):
    """One rule."""

    slug: str
    """Its name for people, from the file's name: ``rolling-update``."""
    id: str
    """Its stable id: ``DP104``."""
    severity: Severity
    kind: str
    """``manifest``, ``live`` or ``chaos``."""
    rule: Callable[..., Iterator[Finding]]
    arguments: tuple[str, ...]
    """What the rule asks for, by name: ``workload``, ``engine``, ``scalers``, ``profile`` …"""
    applies_to: frozenset[str]
    """Kinds of workload that it looks at; empty is all of them."""
    file: Path
    doc: str
    admission: str = ""
    """What keeps a policy from judging as it does, or from judging at all, in words."""

    @property
    def title(self) -> str:
        """The first line of its documentation."""
        return self.doc.strip().partition("\n")[0]

    @property
    def fix(self) -> str:
        """The first sentence of what to do, on one line, without markup."""
        said = " ".join(self.section("Fix").split()).replace("``", "")
        return re.split(r"(?<=\.)\s", said, maxsplit=1)[0]

    def section(self, name: str) -> str:
        """Return a part of its documentation (``Why``, ``Fix`` …), dedented; empty if missing."""
        lines = iter(self.doc.splitlines())
        for line in lines:
            if line.strip() == name and not line.startswith(" "):
                break
        kept = []
        for line in lines:
            if line and not line.startswith(" "):
                break
            kept.append(line.removeprefix("    "))
        return "\n".join(kept).strip()


class Registry(Struct, frozen=True):
    """The checks of a run, by slug."""

    checks: tuple[Check, ...]

    def of(self, kind: str) -> tuple[Check, ...]:
        """Return the checks of one kind."""
        return tuple(found for found in self.checks if found.kind == kind)

    def get(self, slug: str) -> Check:
        """Return a check by slug or id.

        Raises:
            UserError: There is none of that name.
        """
        for found in self.checks:
            if slug in {found.slug, found.id}:
                return found
        import difflib  # noqa: PLC0415 - only for a typing error

        slugs, ids = ([getattr(found, name) for found in self.checks] for name in ("slug", "id"))
        near = difflib.get_close_matches(slug.lower(), slugs, 1)
        alike = difflib.get_close_matches(slug.upper(), ids, len(ids))
        # of those that are as near, the one with most letters in their places
        near = near or sorted(alike, key=lambda one: -sum(map(str.__eq__, one, slug.upper())))
        raise UserError(
            f"there is no check {slug!r}",
            hint=f"Did you mean {near[0]}?" if near else "See: drainproof rules",
        )


def check(
    check_id: str, *, severity: Severity, kinds: Iterable[str] = (), admission: str = ""
) -> Callable[[Rule], Rule]:
    """Mark a function as a check.

    Args:
        check_id: Stable id, letters and three digits; never used again for another rule.
        severity: Severity of its findings, unless a finding has its own.
        kinds: Kinds of workload that it applies to; all of them by default.
        admission: What a policy can't see of what it judges, or why it can have no policy: other
            objects that it joins, for one. Empty if a policy can judge the same.
    """

    def mark(rule: Rule) -> Rule:
        setattr(rule, _MARK, (check_id, severity, frozenset(kinds), admission))
        return rule

    return mark


def load(folders: Iterable[Path] = (), *, own: bool = True, kind: str = "") -> Registry:
    """Load the project's checks and those in a user's folders.

    Args:
        folders: Folders with check files, or with ``manifest/``, ``live/``, ``chaos/`` in them.
        own: Whether the project's own checks are wanted.
        kind: Only this kind of check; all by default.

    Raises:
        UserError: A folder holds no check, a file can't be loaded, or two share a slug or an id.
    """
    found: list[Check] = []
    if own:
        found += _in_folder(content("checks"), kind)
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: expected a folder of checks, found none")
        mine = _in_folder(folder, kind)
        if not mine:
            raise UserError(
                f"{folder}: expected files with a check in them, found none",
                hint="A check is a function under @check in a file of its own.",
            )
        found += mine
    for key in ("slug", "id"):
        seen: dict[str, Check] = {}
        for item in found:
            other = seen.setdefault(getattr(item, key), item)
            if other is not item:
                raise UserError(
                    f"{item.file}: its {key} {getattr(item, key)} is taken by {other.file}"
                )
    return Registry(tuple(sorted(found, key=lambda item: item.id)))


def _in_folder(folder: Path, kind: str) -> list[Check]:
    named = [name for name in KINDS if (folder / name).is_dir()]
    if not named:  # a flat folder, or checks/manifest itself
        own_kind = folder.name if folder.name in KINDS else "manifest"
        return _in_kind(folder, own_kind) if kind in {"", own_kind} else []
    return [item for name in named if kind in {"", name} for item in _in_kind(folder / name, name)]


def _in_kind(folder: Path, kind: str) -> list[Check]:
    files = sorted(folder.glob("*.py"))
    loaded = (load_file(file, kind) for file in files if not file.name.startswith("_"))
    return [item for item in loaded if item is not None]


def load_file(file: Path, kind: str) -> Check | None:
    """Load the check in a file; None if it holds none.

    Raises:
        UserError: The file can't be loaded, holds two checks, or its id has the wrong form.
    """
    name = f"drainproof._checks.{kind}.{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(f"{file}: cannot be loaded: {type(error).__name__}: {error}") from error
    rules = [
        value
        for value in vars(module).values()
        if hasattr(value, _MARK) and getattr(value, "__module__", "") == name
    ]
    if not rules:
        return None
    if len(rules) > 1:
        raise UserError(f"{file}: expected one check a file, found {len(rules)}")
    return _check(rules[0], file, kind, module.__doc__ or "")


def _check(rule: Any, file: Path, kind: str, doc: str) -> Check:  # noqa: ANN401 - a function of any signature
    check_id, severity, kinds, admission = getattr(rule, _MARK)
    if not _ID.fullmatch(check_id):
        raise UserError(f"{file}: expected an id such as DP104, found {check_id!r}")
    code = rule.__code__
    return Check(
        slug=file.stem.replace("_", "-"),
        id=check_id,
        severity=severity,
        kind=kind,
        rule=rule,
        arguments=code.co_varnames[: code.co_argcount + code.co_kwonlyargcount],
        applies_to=kinds,
        file=file,
        doc=doc,
        admission=admission,
    )
