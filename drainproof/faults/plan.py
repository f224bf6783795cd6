"""What a chaos run is to do, from what the user gave: options, and a plan in YAML.

A plan holds settings under the names that they have on the command line, and the faults in order:

    rate: 2
    tokens: 600
    faults:
    - rollout
    - evict:pod=vllm-0
    - fault: rollout
      image: vllm/vllm-openai:v0.33.0
      timeout: 900

What is disturbed (context, namespace, target) is never in a plan: it is named each time.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drainproof.errors import UserError
from drainproof.faults.catalogue import FAULTS
from drainproof.faults.fault import Wanted
from drainproof.faults.load import CA_FILE, Runner, Secret
from drainproof.faults.options import SETTINGS, Setting
from drainproof.streams.prompts import read_prompts
from drainproof.streams.settings import Load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_KNOWN = {setting.name: setting for setting in SETTINGS}
_KINDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_LOAD_ERROR = re.compile(r"load setting '\w+': ")
_TOKEN = "DRAINPROOF_TOKEN"  # noqa: S105 - a variable's name
_MOST_TOKENS = 1_000_000
DEFAULT = (Wanted(name="rollout"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the user asked for."""

    context: str
    namespace: str
    target: str
    faults: tuple[Wanted, ...] = DEFAULT
    """In the order in which they are done."""
    service: str = ""
    port: int | None = None
    tls: bool = False
    model: str = ""
    url: str = ""
    """Where this machine sends the streams; empty is a Job in the cluster, through the Service."""
    load: Mapping[str, Any] = field(default_factory=dict)
    """Fields of :class:`Load`, those that follow from the target left out; without ``max_tokens``
    the streams' length does, too."""
    evidence: Path | None = None
    """None is a new folder under ``evidence/``."""
    timeout_s: float | None = None
    """For each fault; None is what the target itself allows."""
    steady_s: float = 300.0
    """How long the target may take to complete its first streams."""
    after_s: float = 10.0
    """How long load goes on after the last fault."""
    runner: Runner = field(default_factory=lambda: Runner(image=""))
    """Without an image: the embedded cluster's own, elsewhere that of this version."""
    yes_production: str = ""
    prometheus: str = ""
    """As :func:`drainproof.collect.prometheus.find` takes it; empty: none is asked."""

    @property
    def restore(self) -> str:
        """The command that undoes what this run may leave if it is killed."""
        return f"drainproof restore --context {self.context} -n {self.namespace}"

    @property
    def named(self) -> str:
        """Its faults' names."""
        return ",".join(fault.name for fault in self.faults)


class _WrongError(Exception):
    """A setting that is not what it must be.

    Args:
        path: Where it is: its name, and what is within it.
        message: What was expected and found.
        hint: What to do.
    """

    def __init__(self, path: tuple[str | int, ...], message: str, hint: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.message = message
        self.hint = hint


def plan_of(  # noqa: PLR0913 - what a command line names
    given: Mapping[str, Any],
    *,
    context: str,
    namespace: str,
    target: str,
    faults: Sequence[str] = (),
    file: Path | None = None,
    yes_production: str = "",
) -> Plan:
    """Return the plan that options and a plan's file amount to; an option goes before the file.

    Args:
        given: Settings of the command line by their names; None or empty is not given.
        context: Name of the kubeconfig context.
        namespace: The target's namespace.
        target: ``deployment/NAME``.
        faults: As on the command line: ``NAME`` or ``NAME:KEY=VALUE,…``.
        file: A plan in YAML.
        yes_production: The context again, if it looks like production.

    Raises:
        UserError: Something is not what it must be; for what is in the file, with the line.
    """
    base: dict[str, Any] = {}
    listed: tuple[Wanted, ...] = ()
    if file is not None:
        base, listed = _read(file)
    try:
        for name, value in given.items():
            if value is None or value is False or value in ("", (), []):
                continue  # not given
            _checked(name, value)
            base[name] = value
        wanted = tuple(parse(text) for text in faults) or listed or DEFAULT
        settings = _settings(base)
    except _WrongError as error:
        name = ".".join(map(str, error.path))
        raise UserError(f"--{name}: {error.message}", hint=error.hint) from None
    return Plan(
        context=context,
        namespace=namespace,
        target=target,
        faults=wanted,
        yes_production=yes_production,
        **settings,
    )


# ── faults ──


def parse(text: str) -> Wanted:
    """Read a fault as a command line has it.

    Raises:
        _WrongError: There is no such fault, or it has no such option.
    """
    name, _, rest = text.partition(":")
    options = {}
    for pair in re.split(r",(?=[a-z-]+=)", rest) if rest else ():
        key, equals, value = pair.partition("=")
        if not equals:
            raise _WrongError(("fault",), f"expected {name}:KEY=VALUE, found {text!r}")
        options[key] = value
    return _wanted(name, options, ("fault",))


def _wanted(name: object, given: Mapping[str, Any], path: tuple[str | int, ...]) -> Wanted:
    fault = FAULTS.get(name) if isinstance(name, str) else None
    if fault is None:
        hint = f"There are: {', '.join(FAULTS)}."
        raise _WrongError(path, f"no fault is called {name!r}", hint)
    options = {}
    timeout_s = None
    for key, value in given.items():
        where = (*path, key)
        if key == "timeout":
            timeout_s = _number(where, value)
            continue
        option = fault.options.get(key)
        if option is None:
            there = ", ".join((*fault.options, "timeout"))
            raise _WrongError(where, f"{name} has no option {key!r}", f"It has: {there}.")
        try:
            options[key] = option.read(value)
        except (ValueError, TypeError):
            raise _WrongError(where, f"expected {option.says}, found {value!r}") from None
    return Wanted(name=fault.name, options=options, timeout_s=timeout_s)


def _number(path: tuple[str | int, ...], value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type] # what it can't read is told below
    except (TypeError, ValueError):
        number = 0.0
    if number <= 0 or isinstance(value, bool):
        raise _WrongError(path, f"expected seconds, more than 0, found {value!r}")
    return number


# ── the file ──


def _read(file: Path) -> tuple[dict[str, Any], tuple[Wanted, ...]]:
    """Return the settings and the faults of a plan.

    Raises:
        UserError: It can't be read, or something in it is not what it must be.
    """
    from drainproof.collect import yaml_text  # noqa: PLC0415 - only where there is a plan

    try:
        text = file.read_text(encoding="utf-8")
        found = yaml_text.parse(text, is_plain=yaml_text.plain(text))
        node = yaml_text.compose(text)
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"{file}: cannot read the plan: {said}") from None
    except yaml_text.YamlError as error:
        raise UserError(f"{file}:{error.line or 1}: not YAML: {error.message}") from None
    try:
        settings, faults = _parts_of(found)
    except _WrongError as error:
        line = yaml_text.line_of(node, error.path) if node is not None else 1
        where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.path)
        key = f" {where[1:]}:" if where else ""
        raise UserError(f"{file}:{line}:{key} {error.message}", hint=error.hint) from None
    for name in ("prompts", "evidence", *(["ca"] if "url" in settings else ())):
        if name in settings:
            settings[name] = str(file.parent / settings[name])
    return settings, faults


def _parts_of(found: object) -> tuple[dict[str, Any], tuple[Wanted, ...]]:
    if not isinstance(found, dict):
        raise _WrongError((), "expected settings and a list of faults, found neither")
    settings = {str(name): value for name, value in found.items() if name != "faults"}
    for name, value in settings.items():
        _checked(name, value)
    return settings, tuple(_listed(found.get("faults")))


def _listed(faults: object) -> Iterator[Wanted]:
    if not isinstance(faults, list) or not faults:
        raise _WrongError(("faults",), "expected a list of faults, found none")
    for index, item in enumerate(faults):
        path = ("faults", index)
        if isinstance(item, str):
            try:
                yield parse(item)
            except _WrongError as error:
                raise _WrongError(path, error.message, error.hint) from None
        elif isinstance(item, dict) and "fault" in item:
            rest = {str(key): value for key, value in item.items() if key != "fault"}
            yield _wanted(item["fault"], rest, path)
        else:
            raise _WrongError(path, "expected a fault's name, or fault: NAME and its options")


def _checked(name: str, value: object) -> None:
    """See that a setting is known, and holds what it must.

    Raises:
        _WrongError: It isn't, or doesn't.
    """
    setting = _KNOWN.get(name)
    if setting is None:
        near = difflib.get_close_matches(str(name), [*_KNOWN, "faults"], 1)
        hint = f"Did you mean {near[0]}?" if near else f"There are: faults, {', '.join(_KNOWN)}."
        raise _WrongError((name,), "no setting has this name", hint)
    values = list(value) if setting.many and isinstance(value, list | tuple) else [value]
    for one in values:
        fits = isinstance(one, setting.kind) or (setting.kind is float and isinstance(one, int))
        if not fits or (isinstance(one, bool) and setting.kind is not bool):
            raise _WrongError((name,), f"expected {_KINDS[setting.kind]}, found {one!r}")
    if setting.load:
        try:
            Load(url="http://x", model="x", **_load_field(setting, value))
        except UserError as error:
            raise _WrongError((name,), _LOAD_ERROR.sub("", error.message), error.hint) from None


def _load_field(setting: Setting, value: object) -> dict[str, Any]:
    # a least length is compared with the length when both are known
    more = {"max_tokens": _MOST_TOKENS} if setting.load == "min_tokens" else {}
    return {**more, setting.load: value}


# ── what they amount to ──


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a :class:`Plan`.

    Raises:
        UserError, _WrongError: Settings don't go together, or a file can't be read.
    """
    values = {s.name: s.default for s in SETTINGS if s.default is not None} | dict(given)
    here = bool(values.get("url"))
    load = {s.load: values[s.name] for s in SETTINGS if s.load and s.name in values}
    if "prompts" in values:
        load["prompts"] = read_prompts(Path(values["prompts"]))
    _secrets_are(values, here=here)
    secrets = []
    headers_from = list(_pairs(values, "header-env"))
    if "token-env" in values:
        load["token_env"] = values["token-env"]
    if "token-secret" in values:
        name, key = _parts("token-secret", values["token-secret"], 2, "NAME/KEY")
        secrets.append(Secret(variable=_TOKEN, name=name, key=key))
        load["token_env"] = _TOKEN
    for index, (header, place) in enumerate(_pairs(values, "header-secret")):
        name, key = _parts("header-secret", place, 2, "HEADER=NAME/KEY")
        secrets.append(Secret(variable=f"DRAINPROOF_HEADER_{index}", name=name, key=key))
        headers_from.append((header, f"DRAINPROOF_HEADER_{index}"))
    load["headers"] = tuple(_pairs(values, "header"))
    load["headers_from"] = tuple(headers_from)
    ca = None
    if "ca" in values and here:
        load["ca_file"] = values["ca"]
    elif "ca" in values:
        kind, name, key = _parts("ca", values["ca"], 3, "secret/NAME/KEY or configmap/NAME/KEY")
        if kind not in {"secret", "configmap"}:
            raise _WrongError(("ca",), f"expected secret/… or configmap/…, found {kind}/…")
        ca = (kind, name, key)
        load["ca_file"] = CA_FILE
    # refused here, not in the middle; a length that nobody gave is chosen then
    Load(url=values.get("url") or "http://x", model="x", **{"max_tokens": _MOST_TOKENS} | load)
    return {
        "service": values.get("service", ""),
        "port": values.get("port"),
        "tls": values.get("tls", False),
        "model": values.get("model", ""),
        "url": values.get("url", ""),
        "load": {"stall_s": 60.0, "settle_s": 180.0} | load,
        "evidence": Path(values["evidence"]) if "evidence" in values else None,
        "timeout_s": values.get("fault-timeout"),
        "steady_s": values["steady"],
        "after_s": values["after"],
        "prometheus": values.get("prometheus", ""),
        "runner": Runner(
            image=values.get("image", ""),
            node_selector=tuple(_pairs(values, "node-selector")),
            limits=tuple(_pairs(values, "client-limit")),
            secrets=tuple(secrets),
            ca=ca,
        ),
    }


def _secrets_are(values: Mapping[str, Any], *, here: bool) -> None:
    """See that secrets are where the client finds them: on this machine, or in the cluster."""
    for env, secret in (("token-env", "token-secret"), ("header-env", "header-secret")):
        wrong, right = (secret, env) if here else (env, secret)
        if wrong in values:
            hint = (
                f"The client runs {'on this machine' if here else 'in the cluster'} and finds it "
                f"with --{right} {_KNOWN[right].metavar}."
            )
            raise _WrongError(
                (wrong,), f"expected {'without' if here else 'with'} --url only", hint
            )


def _pairs(values: Mapping[str, Any], name: str) -> Iterator[tuple[str, str]]:
    given = values.get(name, ())
    for pair in [given] if isinstance(given, str) else given:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            expected = _KNOWN[name].metavar
            found = "something else" if "header" in name else repr(pair)
            raise _WrongError((name,), f"expected {expected}, found {found}")
        yield key, value


def _parts(name: str, value: str, count: int, expected: str) -> list[str]:
    parts = value.split("/")
    if len(parts) != count or not all(parts):
        raise _WrongError((name,), f"expected {expected}, found {value!r}")
    return parts
