"""What a team settles once for all its audits, read from ``pyproject.toml`` or ``drainproof.toml``.

The command line and pytest both audit through :class:`Audit`, so that they say the same.
"""

from __future__ import annotations

import math
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from drainproof.errors import UserError
from drainproof.judge import audit as auditing
from drainproof.judge import registry
from drainproof.judge.profiles import PROFILES, Profile, profile
from drainproof.judge.verdict import Severity
from drainproof.model.quantity import quantity
from drainproof.model.shape import ShapeError, describe
from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from drainproof.judge.audit import AuditResult
    from drainproof.judge.registry import Check
    from drainproof.judge.waivers import Waiver
    from drainproof.model.snapshot import Snapshot

NAMES = ("drainproof.toml", "pyproject.toml")
"""Where settings are looked for in each folder, in order."""
WAIVERS = "drainproof-waivers.yaml"
"""The file of waivers that is looked for, where no other is named."""
KEYS = {
    "profile": "the name of a profile",
    "profiles": "tables of numbers by profile",
    "fail-on": "error or warning",
    "select": "a list of checks",
    "ignore": "a list of checks",
    "checks": "a list of folders",
    "waivers": "a file, or a list of waivers",
    "baseline": "a file",
}
"""What a config file may say."""

_OWN_TABLE = regex(
    r"""tool["']?\s*\.\s*["']?drainproof|^[ \t]*\[?[ \t]*["']?tool["']?[ \t]*[\]=]""", re.MULTILINE
)
"""What a ``pyproject.toml`` with a table ``tool.drainproof`` surely has in it."""
_DURATION = regex(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")


class Config(Struct, frozen=True, kw_only=True):
    """What holds for an audit, after the command line has had its say."""

    profile: Profile = PROFILES["production"]
    fail_on: Severity = Severity.ERROR
    """The least severity of a finding that fails."""
    select: tuple[str, ...] = ()
    """Slugs or ids of the checks to run, with ``*``; empty is all."""
    ignore: tuple[str, ...] = ()
    """Slugs or ids of checks not to run."""
    folders: tuple[Path, ...] = ()
    """Folders of checks beside drainproof's own."""
    waivers: tuple[Waiver, ...] = ()
    """Those of files."""
    baseline: Path | None = None
    partial: bool = False
    """Whether waivers may be for what is not audited now."""
    file: str = ""
    """The config file; empty if there is none."""

    def checks_for(self, snapshot: Snapshot) -> tuple[Check, ...]:
        """Return the checks that are to run on a Snapshot; those of live clusters on no file.

        Raises:
            UserError: ``select`` or ``ignore`` names no check that there is, or none is left.
        """
        kinds = {"manifest"} if snapshot.partial else {"manifest", "live"}
        only = "manifest" if snapshot.partial and not self.folders else ""
        loaded = [
            item for item in registry.load(self.folders, kind=only).checks if item.kind in kinds
        ]
        self.refuse_unknown(loaded)
        chosen = tuple(item for item in loaded if self.runs(item))
        if not chosen:
            raise UserError(
                f"no check is left to run: select {', '.join(self.select) or 'all'}, "
                f"ignore {', '.join(self.ignore) or 'none'}"
            )
        return chosen

    def runs(self, check: Check) -> bool:
        """Tell whether ``select`` and ``ignore`` leave a check."""
        return (not self.select or any(_named(item, check) for item in self.select)) and not any(
            _named(item, check) for item in self.ignore
        )

    def refuse_unknown(self, loaded: Iterable[Check] = ()) -> None:
        """Make sure that ``select`` and ``ignore`` name checks, of whatever kind.

        Args:
            loaded: Checks that are loaded already; others are loaded where these don't do.

        Raises:
            UserError: One names none.
        """
        left = [
            pattern
            for pattern in (*self.select, *self.ignore)
            if not any(_named(pattern, item) for item in loaded)
        ]
        if left:
            from drainproof.judge.waivers import IN_FORCE  # noqa: PLC0415 - a check that is in no file

            everything = registry.Registry((IN_FORCE, *registry.load(self.folders).checks))
            for pattern in left:
                if not any(_named(pattern, item) for item in everything.checks):
                    everything.get(pattern)


class Audit:
    """An audit of one Snapshot as a config wants it: judged, waived, less what is in the baseline.

    The command line runs all checks at once, pytest one at a time; both get the same.

    Args:
        snapshot: What was collected.
        config: What holds.
        today: The day, in UTC, by which waivers expire; now by default.

    Raises:
        UserError: A waiver names no check that there is, or the baseline can't be read.
    """

    def __init__(self, snapshot: Snapshot, config: Config, *, today: date | None = None) -> None:
        from drainproof.judge import waivers  # noqa: PLC0415 - they need the audit's types

        self.snapshot = snapshot
        self.config = config
        self.today = today
        everything: list[registry.Registry] = []

        def known(name: str) -> None:
            if not everything:
                everything.append(registry.load(config.folders))
            everything[0].get(name)

        self.waivers, self.misread = waivers.gather(snapshot, config.waivers, known)
        """The waivers of files and annotations, and annotations that can't be read."""
        self.baseline = None
        if config.baseline:
            from drainproof.judge import baseline  # noqa: PLC0415 - only where there is one

            self.baseline = baseline.read(config.baseline)

    def run(self, checks: Sequence[Check]) -> AuditResult:
        """Run some checks."""
        return self.settle(auditing.run(self.snapshot, self.config.profile, checks), checks)

    def settle(self, result: AuditResult, checks: Sequence[Check]) -> AuditResult:
        """Return what some checks said with its waivers, and less what is in the baseline."""
        from drainproof.judge import waivers  # noqa: PLC0415 - as above

        if self.waivers:
            held = not any(_named(item, waivers.IN_FORCE) for item in self.config.ignore)
            result = waivers.apply(
                result,
                self.waivers,
                checks,
                self.today,
                held=held,
                unused=not self.config.partial,
            )
        if self.baseline is not None:
            from drainproof.judge import baseline  # noqa: PLC0415 - only where there is one

            result = baseline.apply(result, self.baseline)
        return replace(result, fail_on=self.config.fail_on, misread=self.misread)


def load(  # noqa: PLR0913 - one argument an option
    folder: Path,
    *,
    file: Path | None = None,
    profile_name: str | None = None,
    fail_on: str | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    folders: Sequence[Path] = (),
    waivers: Path | None = None,
    baseline: Path | None = None,
) -> Config:
    """Return what holds: the config file's settings, and what the options say instead.

    Args:
        folder: Where the search for a config file begins; it goes upward.
        file: The config file itself, if one is named.
        profile_name: See :class:`Config`, as all others. ``folders`` add to those of the file.
        fail_on: Same.
        select: Same.
        ignore: Same.
        folders: Same.
        waivers: A file of waivers, instead of the one that the config file names.
        baseline: Same.

    Raises:
        UserError: A file can't be read, or a setting is unknown or of another form.
    """
    source, values = _values(folder, file)
    reader = _Reader(source, values)
    name = profile_name or reader.text("profile", "production", PROFILES)
    numbers = reader.profiles()
    return Config(
        profile=numbers.get(name) or profile(name),
        fail_on=Severity(fail_on or reader.text("fail-on", "error", tuple(Severity))),
        select=tuple(select) or reader.texts("select"),
        ignore=tuple(ignore) or reader.texts("ignore"),
        folders=(*(reader.base / part for part in reader.texts("checks")), *folders),
        waivers=reader.waivers(waivers, folder),
        baseline=baseline or reader.path("baseline"),
        file=str(source or ""),
    )


def _named(pattern: str, check: Check) -> bool:
    return fnmatchcase(check.slug, pattern) or fnmatchcase(check.id, pattern)


def _values(folder: Path, file: Path | None) -> tuple[Path | None, Mapping[str, Any]]:
    if file is not None:
        found = _table(file)
        if found is None:
            raise UserError(f"{file}: expected a table [tool.drainproof], found none")
        return file, found
    start = folder.resolve()
    for place in (start, *start.parents):
        for name in NAMES:
            candidate = place / name
            if candidate.is_file():
                found = _table(candidate)
                if found is not None:
                    return candidate, found
    return None, {}


def _table(file: Path) -> Mapping[str, Any] | None:
    """Return a file's settings; None if it is a ``pyproject.toml`` without any."""
    try:
        text = file.read_text(encoding="utf-8")
        if file.name == "pyproject.toml" and not _OWN_TABLE.search(text):
            return None

        import tomllib  # noqa: PLC0415 - only where there are settings

        found = tomllib.loads(text)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{file}: not TOML: {error}") from None
    tool = found.get("tool")
    own = tool.get("drainproof") if isinstance(tool, dict) else None
    if own is None:
        return None if file.name == "pyproject.toml" else found
    if not isinstance(own, dict):
        raise UserError(f"{file}: tool.drainproof: expected a table, found {describe(own)}")
    return own


class _Reader:
    """Reads settings by their types, and names the file and the key where one has another."""

    def __init__(self, file: Path | None, values: Mapping[str, Any]) -> None:
        self.file = file
        self.base = file.parent if file else Path()
        self._values = values
        for key in values:
            if key not in KEYS:
                raise self._error(key, f"there is no such setting{_near(key, KEYS)}", KEYS)

    def text(self, key: str, default: str, allowed: Iterable[str]) -> str:
        value = self._values.get(key, default)
        if value not in tuple(allowed):
            near = _near(value, allowed) if isinstance(value, str) else ""
            raise self._error(
                key, f"expected {' or '.join(allowed)}, found {describe(value)}{near}"
            )
        return str(value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._error(key, f"expected a list of strings, found {describe(value)}")
        return tuple(value)

    def path(self, key: str) -> Path | None:
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self._error(key, f"expected {KEYS[key]}, found {describe(value)}")
        return self.base / value

    def profiles(self) -> dict[str, Profile]:
        """Return the profiles whose numbers are changed."""
        tables = self._values.get("profiles", {})
        if not isinstance(tables, dict):
            raise self._error("profiles", f"expected tables, found {describe(tables)}")
        changed = {}
        for name, table in tables.items():
            key = f"profiles.{name}"
            if name not in PROFILES:
                raise self._error(key, f"there is no such profile{_near(name, PROFILES)}", PROFILES)
            if not isinstance(table, dict):
                raise self._error(key, f"expected a table of numbers, found {describe(table)}")
            changed[name] = self._profile(PROFILES[name], key, table)
        return changed

    def waivers(self, given: Path | None, folder: Path) -> tuple[Waiver, ...]:
        """Return the waivers of files: those in the config itself, and those of one YAML file."""
        value = self._values.get("waivers")
        entries = value if isinstance(value, list) else []
        file = given
        if file is None and isinstance(value, str):
            file = self.base / value
        if file is None and value is None:
            start = folder.resolve()
            places = (place / WAIVERS for place in (start, *start.parents))
            file = next((place for place in places if place.is_file()), None)
        if not entries and file is None:
            if value is None or value == []:
                return ()
            raise self._error("waivers", f"expected {KEYS['waivers']}, found {describe(value)}")
        from drainproof.judge import waivers  # noqa: PLC0415 - only where there are any

        found = [self._waiver(waivers, entry, index) for index, entry in enumerate(entries)]
        return (*found, *(waivers.read(_shown(file)) if file else ()))

    def _waiver(self, waivers: Any, entry: object, index: int) -> Waiver:  # noqa: ANN401 - the module
        from drainproof.model.finding import Origin  # noqa: PLC0415 - as above

        try:
            found: Waiver = waivers.waiver(entry, Origin(str(self.file), self._line(index), 0, 0))
        except waivers.WaiverError as error:
            key = f"waivers[{index}]" + (f".{error.field}" if error.field else "")
            raise self._error(key, error.message) from None
        return found

    def _line(self, index: int) -> int:
        """Return the line of the waiver with this number; 1 if it is not under ``[[waivers]]``."""
        text = self.file.read_text(encoding="utf-8") if self.file else ""
        heads = re.compile(r"^[ \t]*\[\[[^\]\n]*waivers[ \t]*\]\]", re.MULTILINE)
        starts = [found.start() for found in heads.finditer(text)]
        return text.count("\n", 0, starts[index]) + 1 if index < len(starts) else 1

    def _profile(self, base: Profile, key: str, table: Mapping[str, Any]) -> Profile:
        known = {name: kind for name, kind in Profile.__annotations__.items() if name != "name"}
        changes: dict[str, Any] = {}
        for name, value in table.items():
            where = f"{key}.{name}"
            if name not in known:
                raise self._error(where, f"there is no such number{_near(name, known)}")
            try:
                changes[name] = number(name, known[name], value, getattr(base, name))
            except ShapeError as error:
                raise self._error(where, error.message) from None
        made = replace(base, **changes)
        for name in changes:
            low, high = name.replace("_max", "_min"), name.replace("_min", "_max")
            if low != high and low in known and high in known:
                least, most = getattr(made, low), getattr(made, high)
                if least > most:
                    raise self._error(f"{key}.{name}", f"{low} would be over {high}")
        return made

    def _error(self, key: str, said: str, allowed: Iterable[str] = ()) -> UserError:
        hint = f"There are: {', '.join(allowed)}." if allowed else ""
        return UserError(f"{self.file}: {key}: {said}", hint=hint)


def number(name: str, kind: str, value: object, base: object) -> object:
    """Return a profile's number as a config file gives it, its unit checked.

    Args:
        name: The field; one that ends in ``_s`` is a time.
        kind: Its type, as annotated.
        value: A number, ``true`` or ``false``; a string with a unit, for times and sizes.
        base: What it is without the config. A share, between 0 and 1, stays one.

    Raises:
        ShapeError: It is of another type, in another unit, or below 0.
    """
    if kind == "bool":
        if not isinstance(value, bool):
            raise ShapeError(name, "true or false", value)
        return value
    found: float
    if kind == "Bytes":
        if not isinstance(value, str) or not value.endswith(("i", "k", "M", "G", "T")):
            raise ShapeError(name, 'a size with its unit, such as "8Gi"', value)
        found = quantity(value, name)
    elif name.endswith("_s"):
        found = _seconds(name, value)
    elif isinstance(value, bool) or not isinstance(value, int if kind == "int" else (int, float)):
        raise ShapeError(name, "a whole number" if kind == "int" else "a number", value)
    else:
        found = value
    if not math.isfinite(found):
        raise ShapeError(name, "a number", value)
    share = kind == "float" and isinstance(base, float) and 0 < base < 1 and not name.endswith("_s")
    if share and not 0 <= found <= 1:
        raise ShapeError(name, "a share between 0 and 1", value)
    if found < 0:
        raise ShapeError(name, "a number of at least 0", value)
    return int(found) if float(found).is_integer() and kind != "float" else found


def _seconds(name: str, value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    found = _DURATION.fullmatch(value) if isinstance(value, str) and value else None
    if found is None:
        raise ShapeError(name, 'seconds, or a time with its unit, such as "2m" or "90s"', value)
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _near(name: str, allowed: Iterable[str]) -> str:
    import difflib  # noqa: PLC0415 - only for a typing error

    near = difflib.get_close_matches(name, list(allowed), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _shown(file: Path) -> Path:
    """Return a file as people name it: from the working directory where it is in there."""
    try:
        return file.resolve().relative_to(Path.cwd())
    except ValueError:
        return file
