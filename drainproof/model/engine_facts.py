"""What can be known of an engine by its version: the form that facts have, and how they are asked.

The facts themselves are in :mod:`drainproof.model.facts`, one file an engine.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Mapping

Version = tuple[int, ...]

UNBOUNDED = math.inf

_PARTS = 3
"""Numbers of a full version; a tag with fewer (``3.2``) floats over all patches."""
_NEWEST_PATCH = 9999
_CHILDREN = {
    "_bucket": frozenset({"histogram", "any"}),
    "_sum": frozenset({"histogram", "summary", "any"}),
    "_count": frozenset({"histogram", "summary", "any"}),
    "_created": frozenset({"histogram", "summary", "counter", "any"}),
    "_total": frozenset({"any"}),
}
"""What Prometheus appends to the names of metrics, and for which kinds."""


class Drain(Struct, frozen=True, kw_only=True):
    """What an engine does with streams in flight on SIGTERM, from a version on."""

    since: Version
    default_s: float | None
    """Seconds that it drains by itself: 0 aborts, infinity has no bound, None is unknown."""
    flag: str = ""
    """The flag that sets the seconds."""
    env: str = ""
    """The environment variable that sets the seconds."""
    abort_env: str = ""
    """The environment variable that makes it abort when it is true."""
    source: str


class Metric(Struct, frozen=True):
    """A metric, and the versions that export it."""

    name: str
    """As it is exported, without ``_bucket``, ``_sum`` and ``_count``."""
    kind: str
    """``gauge``, ``counter``, ``histogram``, ``summary``, or ``any`` where that isn't known."""
    since: Version
    """Empty: for as long as is known."""
    until: Version | None
    """The first version that no longer exports it by default; None if it is still there."""
    gone: Version | None
    """The first version that can't export it at all, where that is a later one: until then a flag
    brings it back."""

    def in_version(self, version: Version | None) -> bool:
        """Tell whether a version exports it; an unknown version may."""
        return version is None or _within(self.since, self.until, version)


class FlagStatus(Struct, frozen=True):
    """Whether a version has a flag."""

    state: str
    """``known``; ``removed`` since ``version``; ``too-new``: added in ``version``; ``depends`` on
    the version, and that is not known; ``unknown``: no version that was looked at has it."""
    version: Version = ()
    instead: str = ""
    """What to do without a removed flag, as words; empty if there is nothing to say."""


class EngineFacts(Struct, frozen=True, kw_only=True, eq=False):
    """One engine."""

    name: str
    title: str
    """As its project writes it."""
    image: re.Pattern[str]
    """Found in the image's repository without its tag."""
    official: str
    """A pattern that is found in the names of images that its own project builds."""
    hints: tuple[str, ...]
    """One of them is in any command line that starts it, and in any name that ``image`` is found
    in; quick to look for."""
    starts: tuple[str, ...]
    """Patterns, one of which is found as whole words in the command line that starts the server."""
    launchers: tuple[str, ...] = ()
    """Programs that start the server and have flags of their own."""
    signature: frozenset[str] = frozenset()
    """Flags that only this engine has; two of them tell it when the image's name doesn't."""
    args_env: tuple[str, ...] = ()
    """Environment variables that operators append to the command line."""
    port: int
    """The port it listens on unless told otherwise."""
    host: str = ""
    """The host that it listens on unless told otherwise; empty: all."""
    port_flags: tuple[str, ...] = ("--port",)
    port_env: str = ""
    health_paths: tuple[str, ...]
    """Paths that answer 200 when it can serve, the usual one first."""
    live_paths: frozenset[str] = frozenset()
    """More paths that answer a GET with 200 while it runs; rather one too many, since a liveness
    probe of a path that is neither here nor above is a finding."""
    keyed_paths: tuple[str, ...] = ()
    """What paths begin with that answer 401 without the API key, where ``--api-key`` sets one."""
    unkeyed_paths: tuple[str, ...] = ()
    """What those paths of them begin with that answer without it all the same."""
    key_env: str = ""
    """The environment variable that sets the API key, too."""
    busy_paths: tuple[str, ...] = ()
    """Paths that run or wait for inference, so that a busy engine answers late."""
    metrics_path: str = "/metrics"
    metrics_port: int | None = None
    """None if metrics are on the same port."""
    metrics_port_flag: str = ""
    metrics_flag: str = ""
    """The flag without which it exports no metrics; empty if it always does."""
    metrics_off: Mapping[str, str] = field(default_factory=dict)
    """Flags that turn metrics off, and the value that does."""
    prefix: str
    """What its metrics' names begin with."""
    meanings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of metrics by what they mean, the best first, of all versions: ``waiting`` and
    ``running`` requests, ``kv_cache`` in use, ``latency`` per output token in seconds …"""
    metric_table: str = ""
    """A metric a line: name, kind, first version, first one without it, first one that has not even
    a hidden one; ``-`` is *always*."""
    metric_instead: Mapping[str, str] = field(default_factory=dict)
    """What to ask for instead of a metric that was removed."""
    flag_table: str = ""
    """A flag a line: name, first version, first version without it; ``-`` is *always*."""
    flag_instead: Mapping[str, str] = field(default_factory=dict)
    """What to do without a flag that was removed."""
    flags_without_effect: frozenset[str] = frozenset()
    """Removed flags that can be left out, and everything stays as it was meant."""
    loose_flags: tuple[str, ...] = ()
    """Beginnings of flags that take the rest of the word as their value: ``-O`` in ``-O3``."""
    compared: tuple[Version, ...] = ()
    """Versions that both tables were read from: the oldest and the newest."""
    parallel_flags: tuple[str, ...] = ()
    """Flags that set the number of GPUs for tensor parallelism."""
    parallel_env: str = ""
    parallel_default_all: bool = False
    """Whether it takes all GPUs that it sees unless told otherwise."""
    pipeline_flags: tuple[str, ...] = ()
    data_flags: tuple[str, ...] = ()
    """Flags that set the number of replicas inside one server (data parallelism)."""
    data_local_flags: tuple[str, ...] = ()
    """Flags that set how many of those run in this pod."""
    nodes_flags: tuple[str, ...] = ()
    """Flags that set the number of pods that form one server."""
    config_flags: tuple[str, ...] = ()
    """Flags that name a file with more settings."""
    config_flags_alone: bool = False
    """Whether it reads the file only if flag and name are two words: ``--flag=FILE`` does
    nothing."""
    config_is_api: bool = False
    """Whether the file holds settings of its Python API, which need not be flags."""
    oldest_major: int = 0
    newest_major: int = 99
    """The first numbers that its versions have; a tag with others counts something else."""
    drains: tuple[Drain, ...]
    """Oldest first."""

    def is_started_by(self, line: str) -> bool:
        """Tell whether a command line starts this engine's server."""
        return self.start_in(line) is not None

    def start_in(self, line: str) -> re.Match[str] | None:
        """Return where a command line starts this engine's server; None if it doesn't."""
        if not any(hint in line for hint in self.hints):
            return None
        return re.search(rf"(?:^|[\s/])(?:{'|'.join(self.starts)})(?=\s|$)", line)

    def drain(self, version: Version | None) -> Drain:
        """Return what holds for a version; an unknown one counts as recent."""
        return _drain(self, version)

    def metric(self, name: str) -> Metric | None:
        """Return a metric by the name of one of its series; None if no version has it.

        ``_bucket``, ``_sum`` and ``_count`` belong to their histogram; labels in braces are left
        out; ``vllm_x`` counts as ``vllm:x``, since some adapters write no colons.
        """
        table = _metrics(self.metric_table)
        name = name.partition("{")[0].strip()
        found = table.get(name)
        if found is None and self.prefix.endswith(":"):
            flat = self.prefix[:-1] + "_"
            if name.startswith(flat):
                name = self.prefix + name[len(flat) :]
                found = table.get(name)
        if found is not None:
            return found
        base, underscore, child = name.rpartition("_")
        found = table.get(base)
        if found is not None and found.kind in _CHILDREN.get(underscore + child, ()):
            return found
        return None

    def knows_metric(self, name: str) -> bool:
        """Tell whether any version exports a metric."""
        return self.metric(name) is not None

    def exports(self, name: str, version: Version | None, *, hidden: bool = False) -> bool | None:
        """Tell whether a version exports a metric; None if that can't be told.

        It can't be told of a name that no version has (another exporter may), nor of a version
        that is unknown, unless all versions agree.

        Args:
            name: Name of a series, with or without ``_bucket``, ``_sum``, ``_count`` and labels.
            version: The engine's version; None is unknown.
            hidden: Whether metrics that are being phased out are shown.
        """
        found = self.metric(name)
        if found is None:
            return None
        until = (found.gone or None) if hidden and found.gone else found.until
        if version is None:
            return True if not found.since and until is None else None
        return _within(found.since, until, version)

    def flag_status(self, flag: str, version: Version | None) -> FlagStatus:
        """Tell whether a version has a flag.

        Dots and what follows them belong to the flag's value (``--compilation-config.mode``). An
        abbreviation that only one flag of that version begins with counts as that flag, as argparse
        takes it.
        """
        return _flag_status(self, flag, version)

    def flags_like(self, flag: str, version: Version | None) -> tuple[str, ...]:
        """Return a version's flags whose names are close to one that it does not have."""
        import difflib  # noqa: PLC0415 - only for what is wrong

        have = [
            name
            for name, span in _flags(self.flag_table).items()
            if _status(self, name, span, version).state == "known"
        ]
        return tuple(difflib.get_close_matches(flag, have, 1, cutoff=0.8))


_UNKNOWN = FlagStatus("unknown")
_KNOWN = FlagStatus("known")


@lru_cache(maxsize=1024)
def _drain(facts: EngineFacts, version: Version | None) -> Drain:
    if version is None:
        return facts.drains[-1]
    return next(row for row in reversed(facts.drains) if row.since <= _padded(version))


@lru_cache(maxsize=4096)
def _flag_status(facts: EngineFacts, flag: str, version: Version | None) -> FlagStatus:
    flag = flag.partition("=")[0].partition(".")[0].replace("_", "-")
    table = _flags(facts.flag_table)
    span = table.get(flag)
    found = _status(facts, flag, span, version) if span is not None else _UNKNOWN
    if found.state in {"known", "depends"}:
        return found
    if facts.loose_flags and flag.startswith(facts.loose_flags):
        return _KNOWN
    if flag.startswith("--"):
        longer = [
            status
            for name, others in table.items()
            if name.startswith(flag) and name != flag
            for status in (_status(facts, name, others, version),)
            if status.state in {"known", "depends"}
        ]
        if len(longer) == 1:
            return longer[0]
    return found


def _status(
    facts: EngineFacts, flag: str, span: tuple[Version, Version | None], version: Version | None
) -> FlagStatus:
    since, until = span
    if version is None:
        return _KNOWN if not since and until is None else FlagStatus("depends")
    if until is not None and until <= _padded(version):
        return FlagStatus("removed", until, facts.flag_instead.get(flag, ""))
    if _padded(version) < since:
        return FlagStatus("too-new", since)
    return _KNOWN


def written(version: Version) -> str:
    """Write a version as people do: ``0.10.1``."""
    return ".".join(str(part) for part in version)


def _padded(version: Version) -> Version:
    missing = _PARTS - len(version)
    return version if missing <= 0 else version + (_NEWEST_PATCH,) * missing


def _within(since: Version, until: Version | None, version: Version) -> bool:
    version = _padded(version)
    return since <= version and (until is None or version < until)


def _parsed(text: str) -> Version | None:
    return None if text == "-" else tuple(int(part) for part in text.split("."))


@lru_cache(maxsize=32)
def _metrics(table: str) -> dict[str, Metric]:
    found = {}
    for line in table.splitlines():
        if not line:
            continue
        name, kind, *versions = line.split()
        since, until, gone = (*map(_parsed, versions), None, None, None)[:3]
        found[name] = Metric(name, kind, since or (), until, gone)
    return found


@lru_cache(maxsize=32)
def _flags(table: str) -> dict[str, tuple[Version, Version | None]]:
    found: dict[str, tuple[Version, Version | None]] = {}
    for line in table.splitlines():
        if not line:
            continue
        name, *versions = line.split()
        since, until = (*map(_parsed, versions), None, None)[:2]
        found[name] = (since or (), until)
    return found
