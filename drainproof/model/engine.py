"""Tells which LLM engine a container runs, and how it is set up."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.model import engines, polling, shell

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from drainproof.model.container import Container
    from drainproof.model.engines import Drain, EngineFacts, Version
    from drainproof.model.polling import Polling

ENGINE_ANNOTATION = "drainproof.dev/engine"
"""Pod annotation that names the engine where neither command nor image tell it."""
VERSION_ANNOTATION = "drainproof.dev/engine-version"
"""Pod annotation that states the engine's version where the image's tag doesn't."""
ONE_RANK = frozenset({"--data-parallel-rank", "-dpn", "--data-parallel-external-lb", "-dpe"})
"""Flags with which a pod holds one rank of a data-parallel group."""

_NUMBERS = r"(\d{1,4}(?:\.\d{1,4}){1,3})"
_PLAIN_VERSION = re.compile(rf"(?:^|[-_]v)v?{_NUMBERS}")
_VERSION = re.compile(rf"v?{_NUMBERS}")
_FLAG = re.compile(r"--?[A-Za-z][\w.-]*")
_UNRESOLVED = re.compile(r"\$[({]?(\w+|[@*])[^\s]*")
"""A word that is a variable, as it is written where its value is not known."""
_MAY_HOLD_FLAGS = re.compile(r"(?i)arg|flag|opt|extra|param|\$[@*]|[@*]\]")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_MAX_FLAGS = 2  # of a signature: one alone may be anybody's
_MAX_NESTED = 3  # shells in shells that are looked into

_HINTS = tuple(hint for facts in engines.ENGINES for hint in facts.hints)
_SIGNATURES = tuple(
    flag
    for facts in engines.ENGINES
    for name in facts.signature
    for flag in (name, f"--{name[2:].replace('-', '_')}")
)

# How sure it is that a container runs an engine: the surest of a pod's containers is the engine's.
_STARTED = 5
_NAMED_WITH_GPU = 4
_NAMED = 3
_IMAGE_WITH_GPU = 2
_IMAGE = 1
_FLAGS = 0


class Engine(Struct, frozen=True, kw_only=True):
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
    """The port of its metrics where that is another one; None if it is the same."""
    words: tuple[str, ...]
    """Its command line, from the program that starts it on; without that where the image brings
    it."""
    flags: Mapping[str, str]
    """Flags by name, with dashes, to value: ``--shutdown-timeout`` to ``"120"``. A flag without a
    value is ``"true"``; ``--no-x`` is ``--x`` with ``"false"``. Those of a config file count, too,
    as far as it is in the input."""
    flags_known: bool
    """Whether the manifests show all flags: no script and no config file that is elsewhere."""
    config_flags: frozenset[str]
    """Names in ``flags`` that a config file sets."""
    ignored_config: str
    """A flag that names a config file in a form that the engine ignores; empty if there is none."""
    prestop_s: float | None
    """Seconds that the preStop hook surely delays SIGTERM; 0.0 if none; None if not to be told."""
    prestop_drains: bool
    """Whether the preStop hook waits until no request is running."""
    polling: Polling
    """What the preStop hook's loop over the engine's metrics does, if it has one."""
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
    """GPUs that one replica spreads each layer over, as far as flags say."""
    pipeline_parallel: int
    """Stages of layers that one replica is cut into."""
    data_parallel: int
    """Replicas of the model inside one server."""
    data_parallel_local: int | None
    """How many of those run in this pod; None if no flag says."""
    nodes: int
    """Pods that form one server."""
    health_path: str
    metrics_path: str
    waiting_metric: str
    running_metric: str
    tokens_metric: str
    """Counts the tokens that it generated."""
    facts: EngineFacts

    @property
    def label(self) -> str:
        """Name and version as people write it: ``vLLM 0.32.0``."""
        return (
            f"{self.title} {self.version_text}"
            if self.version
            else f"{self.title} (version unknown)"
        )

    def flag(self, *names: str, default: str = "") -> str:
        """Return the value of the first of several spellings that is set."""
        return next((self.flags[name] for name in names if name in self.flags), default)

    def flag_number(self, *names: str) -> float | None:
        """Return a flag's value as a number; None if it is not set, or is no number."""
        value = self.flag(*names)
        return float(value) if _is_number(value) else None

    def flag_on(self, *names: str) -> bool | None:
        """Tell whether a flag is set and not false; None if it is not set."""
        value = self.flag(*names, default="\0")
        return None if value == "\0" else value.lower() not in _FALSE

    def metric_names(self, meaning: str) -> tuple[str, ...]:
        """Return the names of the metrics with a meaning that this version exports, best first.

        Meanings: ``waiting`` and ``running`` requests; ``kv_cache`` in use; ``latency`` per output
        token, ``ttft``, ``e2e``, ``queue_time``; ``success``, ``prompt_tokens``,
        ``generation_tokens``, ``preemptions``. Histograms come without ``_bucket``.
        """
        return tuple(
            name for name in self.facts.meanings.get(meaning, ()) if self.exports(name) is not False
        )

    def exports(self, name: str) -> bool | None:
        """Tell whether this version exports a metric; None if that can't be told."""
        hidden = "--show-hidden-metrics-for-version" in self.flags
        return self.facts.exports(name, self.version, hidden=hidden)

    @property
    def metrics_enabled(self) -> bool | None:
        """Whether it exports metrics at all; None if that can't be told from here."""
        for flag, value in self.facts.metrics_off.items():
            on = self.flag_on(flag)
            if on is not None and on is (value == "true"):
                return False
        if not self.facts.metrics_flag:
            return True
        on = self.flag_on(self.facts.metrics_flag)
        return on if on is not None else (False if self.flags_known else None)


def likely(spec: Mapping[str, object], annotations: object) -> bool:
    """Tell quickly whether a raw pod spec may run an engine; false is certain.

    What has a wrong type may: only reading it in full says what is wrong.
    """
    if isinstance(annotations, dict) and ENGINE_ANNOTATION in annotations:
        return True
    containers = spec.get("containers")
    return not isinstance(containers, list) or any(map(_shows_engine, containers))


def _shows_engine(container: object) -> bool:
    if not isinstance(container, dict):
        return True
    words = [container.get("image")]
    for key in ("command", "args"):
        more = container.get(key)
        if isinstance(more, list):
            words += more
        elif more is not None:
            return True
    try:
        text = "\n".join(words)  # type: ignore[arg-type]  # that they are strings is what is tried
    except TypeError:
        return True
    if "$" in text:
        text += str(container.get("env"))
    return any(hint in text for hint in _HINTS) or (
        "--" in text and any(flag in text for flag in _SIGNATURES)
    )


def recognise(container: Container, annotations: Mapping[str, str]) -> Engine | None:
    """Return the engine that a container runs; None if it runs none that is known."""
    return engine_of((container,), annotations)[0]


def others_beside(
    found: Iterable[Container], chosen: Container
) -> tuple[tuple[Container, EngineFacts], ...]:
    """Return the containers of a pod that surely run an engine, too, beside the chosen one."""
    others = []
    for container in found:
        if container.name == chosen.name:
            continue
        words, _ = _command_line(container)
        facts, _, rank = _facts(container, words, None)
        if facts is not None and (rank == _STARTED or container.gpus):
            others.append((container, facts))
    return tuple(others)


def engine_of(
    found: Sequence[Container], annotations: Mapping[str, str], *, in_ray: bool = False
) -> tuple[Engine | None, Container | None]:
    """Return the engine that a pod runs, and its container; None if it runs none that is known.

    Command, arguments and image are looked at together: most real images come from forks and
    mirrors. Of several containers the one counts that shows it best, so that a sidecar of the same
    image, or of one named after the engine, is not taken for it.
    """
    named = engines.BY_NAME.get(annotations.get(ENGINE_ANNOTATION, ""))
    best: tuple[int, EngineFacts, bool, tuple[str, ...], bool] | None = None
    chosen = None
    for container in found:
        words, scripted = _command_line(container)
        facts, known, rank = _facts(container, words, named)
        if in_ray and rank <= _IMAGE_WITH_GPU and not _flagged(words):
            continue
        if facts is not None and (best is None or rank > best[0]):
            best, chosen = (rank, facts, known, words, scripted), container
            if rank == _STARTED:
                break
    if best is None or chosen is None:
        return None, None
    _, facts, known, words, scripted = best
    return _engine(chosen, annotations, facts, words, known=known, scripted=scripted), chosen


def _engine(  # noqa: PLR0913 - what was told of the container
    container: Container,
    annotations: Mapping[str, str],
    facts: EngineFacts,
    words: tuple[str, ...],
    *,
    known: bool,
    scripted: bool,
) -> Engine:
    behind = _own(facts, words)
    own = parse_flags(behind)
    known = known and not _hides_flags(behind, facts)
    for name in facts.args_env:
        if name in container.env:
            own = {**own, **parse_flags(_split(container.env[name]))}
        elif name in container.env_names:
            known = False
    file, ignored = _config(facts, words, own, container)
    if file is None:
        known, config = False, {}
    else:
        config = file
    if config:
        own = {**own, **config} if facts.config_is_api else {**config, **own}
    flags = own
    version_text = annotations.get(VERSION_ANNOTATION) or _version_text(container.image, facts)
    version = _version(version_text)
    drain = facts.drain(version)
    running = _metric(facts, "running")
    data = _count(flags, facts.data_flags) or 1
    several = data > 1 and ONE_RANK.isdisjoint(flags)
    argv = container.prestop.argv
    polled = polling.read(argv, running, facts.metrics_path, parallel=several)
    return Engine(
        name=facts.name,
        title=facts.title,
        version=version,
        version_text=version_text if version else "",
        container=container.name,
        path=container.path,
        port=_port(facts, flags, container, scripted=scripted),
        metrics_port=_whole(flags.get(facts.metrics_port_flag, "")) or facts.metrics_port,
        words=tuple(behind),
        flags=flags,
        flags_known=known,
        config_flags=frozenset(config),
        ignored_config=ignored,
        prestop_s=container.prestop.delay_s,
        prestop_drains=polled.drains,
        polling=polled,
        drain_s=_drain_s(drain, flags, container),
        drain_flag=drain.flag,
        drain_abort_env=drain.abort_env if drain.abort_env in container.env_names else "",
        unsupported_drain_flag=_unsupported(facts, drain, flags),
        tensor_parallel=_parallel(facts, flags, container),
        pipeline_parallel=_count(flags, facts.pipeline_flags) or 1,
        data_parallel=data,
        data_parallel_local=_count(flags, facts.data_local_flags),
        nodes=_count(flags, facts.nodes_flags) or 1,
        health_path=facts.health_paths[0],
        metrics_path=facts.metrics_path,
        waiting_metric=_metric(facts, "waiting"),
        running_metric=running,
        tokens_metric=_metric(facts, "generation_tokens"),
        facts=facts,
    )


def parse_flags(words: Sequence[str]) -> dict[str, str]:
    """Return the flags in a command line: ``--a=1``, ``--a 1``, ``-a 1``, ``--a``, ``--no-a``.

    Underscores in names become dashes, as vLLM's own parser has it. The last of several wins.
    """
    flags: dict[str, str] = {}
    last = len(words) - 1
    for index, word in enumerate(words):
        if not word.startswith("-"):
            continue
        name, equals, value = word.partition("=")
        if not _FLAG.fullmatch(name):
            continue
        name = name.replace("_", "-")
        if equals:
            flags[name] = value
            continue
        following = words[index + 1] if index < last else "-"
        if not following.startswith("-") or _is_number(following):
            flags[name] = following
        elif name.startswith("--no-"):
            flags[f"--{name[5:]}"] = "false"
        else:
            flags[name] = "true"
    return flags


def _command_line(container: Container) -> tuple[tuple[str, ...], bool]:
    """Return the words that start the engine, and whether they came out of a shell script."""
    argv = container.command_line
    script = _script(argv, container)
    if script is None:
        return argv, False
    started, said = _in_script(script, _arguments(argv), container, _MAX_NESTED)
    return started or said, True


def _in_script(
    script: str, arguments: Sequence[str], container: Container, deepest: int
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return the words in a script that start the engine, None if none do; and all its words."""
    said: list[str] = []
    for command in shell.commands(script, container.env, arguments):
        inner = _script(command.words, container)
        if inner is not None and inner != script and deepest > 1:
            more = _arguments(command.words)
            started, words = _in_script(inner, more, container, deepest - 1)
            if started is not None:
                return started, ()
            said += words
        elif command.program != "echo" and _starts_engine(command.words):
            return command.words, ()
        else:
            said += command.words
    return None, tuple(said)


def _starts_engine(words: Sequence[str]) -> bool:
    line = " ".join(words)
    return any(facts.is_started_by(line) for facts in engines.ENGINES)


def _script(argv: Sequence[str], container: Container) -> str | None:
    """Return the script that a command line runs: in ``sh -c``, or in a file of a ConfigMap."""
    if argv[:1] == ("eval",):
        return " ".join(argv[1:])
    script = shell.script_of(argv)
    if script is not None or container.seen is None or not container.seen.files:
        return script
    at = _file_at(argv)
    return None if at is None else container.seen.file(argv[at])


def _file_at(argv: Sequence[str]) -> int | None:
    """Return which word names the file that a command line runs; None if none does."""
    at = shell.shell_at(argv)
    behind = range(len(argv))[:1] if at is None else range(at + 1, len(argv))
    found = next((index for index in behind if argv[index][:1] != "-"), None)
    return found if found is not None and "/" in argv[found] else None


def _arguments(argv: Sequence[str]) -> tuple[str, ...]:
    """Return what the script that a command line runs knows as ``$@``."""
    if shell.script_of(argv) is not None:
        return shell.arguments_of(argv)
    at = _file_at(argv)
    return () if at is None else tuple(argv[at + 1 :])


def _facts(
    container: Container, words: tuple[str, ...], named: EngineFacts | None
) -> tuple[EngineFacts | None, bool, int]:
    """Return which engine it is, whether its whole command line is in sight, and how sure it is."""
    only_flags = not words or words[0].startswith("-")  # for the image's own program
    line = "" if only_flags else " ".join(words)
    for started in () if only_flags else engines.ENGINES:
        if started.is_started_by(line):
            return started, not any(name in line for name in started.launchers), _STARTED
    folder, name = _repository(container.image)
    project = folder.partition("/")[2]  # without the organisation, which may be called anything
    foreign = bool(engines.NOT_ENGINE_IMAGES.search(project + name))
    if named is not None and not foreign:
        return named, not container.command, _NAMED_WITH_GPU if container.gpus else _NAMED
    if not only_flags and re.search(engines.NOT_ENGINES, line):
        return None, True, 0
    if not foreign and (not container.command or container.serves):
        facts = _by_image(folder + name)
        if facts is not None:
            return facts, not container.command, _IMAGE_WITH_GPU if container.gpus else _IMAGE
    flags = parse_flags(words).keys()
    by_flags = (facts for facts in engines.ENGINES if len(facts.signature & flags) >= _MAX_FLAGS)
    return next(by_flags, None), True, _FLAGS


def _flagged(words: Sequence[str]) -> bool:
    """Tell whether there are flags that only an engine has."""
    flags = parse_flags(words).keys()
    return any(facts.signature & flags for facts in engines.ENGINES) or "--model" in flags


@lru_cache(maxsize=1024)
def _by_image(repository: str) -> EngineFacts | None:
    return next((facts for facts in engines.ENGINES if facts.image.search(repository)), None)


def _own(facts: EngineFacts, words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words behind the engine's program, without those of a launcher in front of it."""
    if not words or words[0].startswith("-"):
        return words
    line = " ".join(words)
    found = facts.start_in(line)
    return words[line.count(" ", 0, found.start() + 1) :] if found else words


def _hides_flags(words: Sequence[str], facts: EngineFacts) -> bool:
    """Tell whether one of the words is a variable without a known value that may hold flags."""
    flagged = False
    for index, word in enumerate(words):
        found = _UNRESOLVED.fullmatch(word)
        if found is None:
            flagged = flagged or word.startswith("-")
            continue
        before = words[index - 1] if index else ""
        value = before.startswith("-") and "=" not in before
        if found[1] not in facts.args_env and (
            _MAY_HOLD_FLAGS.search(word) or (flagged and not value)
        ):
            return True
    return False


def _split(line: str) -> tuple[str, ...]:
    return tuple(word for command in shell.commands(line) for word in command.words)


def _config(
    facts: EngineFacts, words: Sequence[str], flags: Mapping[str, str], container: Container
) -> tuple[dict[str, str] | None, str]:
    """Return the flags in a config file, None if it can't be seen; and a flag that is ignored."""
    if flags.keys().isdisjoint(facts.config_flags):
        return {}, ""
    flag = next(name for name in facts.config_flags if name in flags)
    if facts.config_flags_alone and flag not in words:
        return {}, f"{flag}={flags[flag]}"
    text = container.seen.file(flags[flag]) if container.seen is not None else None
    return (None if text is None else _settings(text)), ""


@lru_cache(maxsize=256)
def _settings(text: str) -> dict[str, str] | None:
    """Return the settings in a YAML file as flags; None if it can't be read."""
    from drainproof.collect import yaml_text  # noqa: PLC0415 - few deployments have such a file

    try:
        found = yaml_text.parse(text, is_plain=yaml_text.plain(text))
    except yaml_text.YamlError:
        return None
    if found is None:
        return {}
    return dict(_flattened("--", found)) if isinstance(found, dict) else None


def _flattened(prefix: str, settings: Mapping[str, object]) -> list[tuple[str, str]]:
    flags: list[tuple[str, str]] = []
    for key, value in settings.items():
        name = f"{prefix}{str(key).replace('_', '-')}"
        if isinstance(value, dict):
            flags += [(name, "true"), *_flattened(f"{name}.", value)]
        elif isinstance(value, list):
            flags.append((name, " ".join(str(item) for item in value)))
        elif isinstance(value, bool):
            flags.append((name, "true" if value else "false"))
        elif value is not None:
            flags.append((name, str(value)))
    return flags


@lru_cache(maxsize=1024)
def _repository(image: str) -> tuple[str, str]:
    """Return an image's folder and name without registry, tag and digest.

    ``nvcr.io/nim/meta/llama:1`` → ``nim/meta/`` and ``llama``.
    """
    name = image.partition("@")[0]
    head, slash, rest = name.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost"):
        name = rest
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}", last.partition(":")[0]


@lru_cache(maxsize=1024)
def _version_text(image: str, facts: EngineFacts) -> str:
    repository = "".join(_repository(image))
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    named = re.search(rf"{facts.name}[-_]?v?{_NUMBERS}", tag)
    if named:
        return named[1]
    if engines.FOREIGN_TAGS.search(repository) or not facts.image.search(repository):
        return ""
    found = _PLAIN_VERSION.search(tag)
    if found is None:
        return ""
    major = int(found[1].partition(".")[0])
    if not facts.oldest_major <= major <= facts.newest_major:
        return ""
    return found[1]


@lru_cache(maxsize=1024)
def _version(written: str) -> Version | None:
    found = _VERSION.match(written)
    return tuple(int(part) for part in found[1].split(".")) if found else None


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
    for row in facts.drains:
        if row.flag and row.flag != drain.flag and row.flag in flags:
            return row.flag
    return ""


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
    found = 0
    for flag in facts.parallel_flags:
        if flag in flags:
            found = max(found, _whole(flags[flag]) or 1)
    if facts.parallel_env and facts.parallel_env in container.env:
        found = max(found, _whole(container.env[facts.parallel_env]) or 1)
    if not found and facts.parallel_default_all:
        return max(1, container.gpus)
    return found or 1


def _count(flags: Mapping[str, str], names: Sequence[str]) -> int | None:
    for name in names:
        if name in flags:
            return _whole(flags[name])
    return None


def _metric(facts: EngineFacts, meaning: str) -> str:
    names = facts.meanings.get(meaning)
    return names[0] if names else ""


def _whole(written: str) -> int | None:
    return int(written) if written.isdecimal() and len(written) < 10 else None  # noqa: PLR2004 - no port or GPU count is longer


def _is_number(written: str) -> bool:
    try:
        return math.isfinite(float(written))
    except ValueError:
        return False
