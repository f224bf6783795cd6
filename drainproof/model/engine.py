"""Tells which LLM engine a container runs, and how it is set up."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drainproof.model import engines, shell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drainproof.model.container import Container
    from drainproof.model.engines import Drain, EngineFacts, Version

ENGINE_ANNOTATION = "drainproof.dev/engine"
"""Pod annotation that names the engine where neither command nor image tell it."""
VERSION_ANNOTATION = "drainproof.dev/engine-version"
"""Pod annotation that states the engine's version where the image's tag doesn't."""

_NUMBERS = r"(\d{1,4}(?:\.\d{1,4}){1,3})"
_PLAIN_VERSION = re.compile(rf"(?:^|[-_]v)v?{_NUMBERS}")
_FLAG = re.compile(r"--?[A-Za-z][\w.-]*")
_TRUE = frozenset({"1", "true", "yes", "on"})
_MAX_FLAGS = 2  # of a signature: one alone may be anybody's


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An LLM engine in a container, as its manifest starts it."""

    name: str
    """``vllm``, ``tgi``, ``sglang``, ``triton``, ``trtllm-serve`` or ``nim``."""
    title: str
    """Its name as its project writes it."""
    version: Version | None
    """None if it can't be told."""
    version_text: str
    """The version as it is written in the tag; empty if unknown."""
    container: str
    """Name of the container."""
    path: str
    """Field path of the container."""
    port: int | None
    """The port it listens on; None if it can't be told."""
    metrics_port: int | None
    flags: Mapping[str, str]
    """Flags by name, with dashes, to value: ``--shutdown-timeout`` to ``"120"``. A flag without a
    value is ``"true"``; ``--no-x`` is ``--x`` with ``"false"``."""
    flags_known: bool
    """Whether the manifest shows all flags: no wrapper script, no config file."""
    prestop_s: float | None
    """Seconds that the preStop hook surely delays SIGTERM; 0.0 if none; None if not to be told."""
    prestop_drains: bool
    """Whether the preStop hook waits until no request is running."""
    drain_s: float | None
    """Seconds the engine drains on SIGTERM at most; 0.0 = aborts; infinity = without bound;
    None = unknown."""
    drain_flag: str
    """The flag that sets it in this version; empty if there is none."""
    drain_abort_env: str
    """The variable that is set and makes it abort; empty if there is none."""
    unsupported_drain_flag: str
    """A drain flag that is set, and that this version does not have; empty if there is none."""
    tensor_parallel: int
    """GPUs that one replica spreads the model over, as far as flags say."""
    health_path: str
    metrics_path: str
    waiting_metric: str
    running_metric: str
    facts: EngineFacts = field(repr=False)

    @property
    def label(self) -> str:
        """Name and version as people write it: ``vLLM 0.32.0``."""
        return (
            f"{self.title} {self.version_text}"
            if self.version
            else f"{self.title} (version unknown)"
        )

    def metric_names(self, meaning: str) -> tuple[str, ...]:
        """Return the names of the metrics with a meaning that this version exports."""
        return tuple(
            metric.name
            for metric in self.facts.metrics
            if metric.meaning == meaning and metric.in_version(self.version)
        )


def recognise(container: Container, annotations: Mapping[str, str]) -> Engine | None:
    """Return the engine that a container runs; None if it runs none that is known.

    Command, arguments and image are looked at together: most real images come from forks and
    mirrors.
    """
    words, scripted = _command_line(container)
    facts, sure = _facts(container, words, annotations)
    if facts is None:
        return None
    flags = parse_flags(words)
    known = sure and not any(flag in flags for flag in facts.config_flags)
    version_text = annotations.get(VERSION_ANNOTATION) or _version_text(container.image, facts)
    version = _version(version_text)
    drain = _drain(facts, version)
    return Engine(
        name=facts.name,
        title=facts.title,
        version=version,
        version_text=version_text if version else "",
        container=container.name,
        path=container.path,
        port=_port(facts, flags, container, scripted=scripted),
        metrics_port=facts.metrics_port,
        flags=flags,
        flags_known=known,
        prestop_s=container.prestop.delay_s,
        prestop_drains=container.prestop.drains,
        drain_s=_drain_s(drain, flags, container),
        drain_flag=drain.flag,
        drain_abort_env=drain.abort_env if drain.abort_env in container.env_names else "",
        unsupported_drain_flag=_unsupported(facts, drain, flags),
        tensor_parallel=_parallel(facts, flags, container),
        health_path=facts.health_paths[0],
        metrics_path=facts.metrics_path,
        waiting_metric=_metric(facts, "waiting"),
        running_metric=_metric(facts, "running"),
        facts=facts,
    )


def parse_flags(words: Sequence[str]) -> dict[str, str]:
    """Return the flags in a command line: ``--a=1``, ``--a 1``, ``-a 1``, ``--a``, ``--no-a``.

    Underscores in names become dashes, as vLLM's own parser has it. The last of several wins.
    """
    flags: dict[str, str] = {}
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if not _FLAG.fullmatch(name):
            continue
        name = name.replace("_", "-")
        if equals:
            flags[name] = value
            continue
        following = words[index + 1] if index + 1 < len(words) else "-"
        if not following.startswith("-") or _is_number(following):
            flags[name] = following
        elif name.startswith("--no-"):
            flags[f"--{name[5:]}"] = "false"
        else:
            flags[name] = "true"
    return flags


def _command_line(container: Container) -> tuple[tuple[str, ...], bool]:
    """Return the words that start the engine, and whether they came out of a shell script."""
    argv = tuple(
        shell.expand_references(word, container.env)
        for word in (*container.command, *container.args)
    )
    script = shell.script_of(argv)
    if script is None:
        return argv, False
    found = shell.commands(script, container.env)
    for command in found:
        line = " ".join(command.words)
        if command.program != "echo" and any(one.is_started_by(line) for one in engines.ENGINES):
            return command.words, True
    return tuple(word for command in found for word in command.words), True


def _facts(
    container: Container, words: tuple[str, ...], annotations: Mapping[str, str]
) -> tuple[EngineFacts | None, bool]:
    """Return which engine it is, and whether its whole command line is in the manifest."""
    line = " ".join(words)
    for facts in engines.ENGINES:
        if facts.is_started_by(line):
            return facts, True
    annotated = engines.BY_NAME.get(annotations.get(ENGINE_ANNOTATION, ""))
    if annotated is not None:
        return annotated, not container.command
    only_flags = not words or words[0].startswith("-")  # for the image's own program
    if not only_flags and engines.NOT_ENGINES.search(line):
        return None, True
    repository = _repository(container.image)
    if not engines.NOT_ENGINE_IMAGES.search(repository):
        for facts in engines.ENGINES:
            if facts.image.search(repository) and (not container.command or container.serves):
                return facts, not container.command
    flags = parse_flags(words)
    for facts in engines.ENGINES:
        if len(facts.signature & flags.keys()) >= _MAX_FLAGS:
            return facts, True
    return None, True


def _repository(image: str) -> str:
    """Return an image's name without registry, tag and digest: ``nvcr.io/nim/a:1`` → ``nim/a``."""
    name = image.partition("@")[0]
    head, slash, rest = name.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost"):
        name = rest
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}"


def _version_text(image: str, facts: EngineFacts) -> str:
    repository = _repository(image)
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    named = re.search(rf"{facts.name}[-_]?v?{_NUMBERS}", tag)
    if named:
        return named[1]
    if engines.FOREIGN_TAGS.search(repository) or not facts.image.search(repository):
        return ""
    found = _PLAIN_VERSION.search(tag)
    return found[1] if found else ""


def _version(written: str) -> Version | None:
    found = re.match(rf"v?{_NUMBERS}", written)
    return tuple(int(part) for part in found[1].split(".")) if found else None


def _drain(facts: EngineFacts, version: Version | None) -> Drain:
    """Return what holds for a version; an unknown one counts as recent."""
    if version is None:
        return facts.drains[-1]
    return next(row for row in reversed(facts.drains) if row.since <= version)


def _drain_s(drain: Drain, flags: Mapping[str, str], container: Container) -> float | None:
    if drain.abort_env and drain.abort_env in container.env_names:
        value = container.env.get(drain.abort_env)
        if value is None:
            return None
        if value.lower() in _TRUE:
            return 0.0
    written = flags.get(drain.flag) if drain.flag else None
    if written is None and drain.env in container.env_names:
        written = container.env.get(drain.env, "")
    if written is None:
        return drain.default_s
    return max(0.0, float(written)) if _is_number(written) else None


def _unsupported(facts: EngineFacts, drain: Drain, flags: Mapping[str, str]) -> str:
    """Return a drain flag of another version that is set and that this one does not have."""
    others = (row.flag for row in facts.drains if row.flag and row.flag != drain.flag)
    return next((flag for flag in others if flag in flags), "")


def _port(
    facts: EngineFacts, flags: Mapping[str, str], container: Container, *, scripted: bool
) -> int | None:
    for flag in facts.port_flags:
        if flag in flags:
            return _whole(flags[flag])
    if facts.port_env and facts.port_env in container.env_names:
        return _whole(container.env.get(facts.port_env, ""))
    if scripted or facts.name != "tgi" or not container.command:
        return facts.port
    return 3000  # the launcher's own default, without the image's PORT


def _parallel(facts: EngineFacts, flags: Mapping[str, str], container: Container) -> int:
    written = [flags[flag] for flag in facts.parallel_flags if flag in flags]
    if facts.parallel_env in container.env:
        written.append(container.env[facts.parallel_env])
    if not written and facts.parallel_default_all:
        return max(1, container.gpus)
    return max((_whole(value) or 1 for value in written), default=1)


def _metric(facts: EngineFacts, meaning: str) -> str:
    return next((metric.name for metric in facts.metrics if metric.meaning == meaning), "")


def _whole(written: str) -> int | None:
    return int(written) if written.isdecimal() and len(written) < 10 else None  # noqa: PLR2004 - no port or GPU count is longer


def _is_number(written: str) -> bool:
    try:
        return math.isfinite(float(written))
    except ValueError:
        return False
