"""Says which checks have policies, and what of an object the audit reads and a policy can't."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from drainproof.model import shell
from drainproof.model.engines import ENGINES
from drainproof.model.kinds import kind_of
from drainproof.model.templates import raw_specs
from drainproof.policies import mutating, native, write
from drainproof.policies.facts import KEYWORDS, OUT_OF_REACH, PLAIN, RESOURCES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.judge.registry import Check
    from drainproof.model.shape import Raw

REFERENCE = "a reference $(NAME) to a variable whose value is written beside it"
SCRIPT = "a shell script with quotes, variables, pipes or conditions in it"
ARGUMENTS = "arguments in a variable that the image appends to its command line"
LIMITS = (
    "what other objects say: a ConfigMap, a ServingRuntime, an autoscaler that is one of its own",
    "whatever runs an engine by " + SCRIPT,
    REFERENCE,
    ARGUMENTS,
)
"""What admission does not see, in words; where one of them matters, a policy admits."""

_PLAIN = re.compile(PLAIN)
_KEYWORD = re.compile(rf"(?:^|[\s;&])(?:{'|'.join(KEYWORDS)})(?=[\s;&]|$)|[A-Za-z_]\w*=\S*\s")
_WITH_SCRIPT = re.compile(r"-([^-].*)?c")
_SPLIT = re.compile(r"\\\n|&&")


def at_admission(check: Check) -> str:
    """Say whether a check has a policy, and what that does not see; or why it has none."""
    if not write.has_rule(check):
        return f"none: {check.admission}" if check.admission else "none"
    said = f"policy, without {check.admission}" if check.admission else "policy"
    why = native.reason(check)
    if why:
        said += f"; no {native.KIND}: {why}"
    return said + (f"; a {mutating.KIND} adds what is missing" if mutating.mends(check) else "")


def group_of(obj: Raw) -> tuple[str, str]:
    """Return the API group and the kind of an object."""
    group, slash, _ = str(obj.get("apiVersion", "")).rpartition("/")
    return (group if slash else "", str(obj.get("kind", "")))


def is_matched(obj: Raw) -> bool:
    """Tell whether the policies match an object's kind."""
    return group_of(obj) in RESOURCES


def unseen(obj: Raw) -> str:
    """Return what keeps a policy from telling what an object runs, in words; empty if nothing."""
    out = OUT_OF_REACH.get(group_of(obj))
    if out is not None:
        return out
    return next(
        (said for argv, names, known in _commands(obj) if (said := _why(argv, names, known))), ""
    )


def unseen_replicas(slug: str, obj: Raw) -> bool:
    """Tell whether a check rests on replicas of which an autoscaler may keep more.

    Admission sees 1 where none are written, as the API server fills that in.
    """
    found = at(obj, "spec", "replicas")
    alone = found is None or (isinstance(found, int) and found <= 1)
    return slug == "rolling-update" and obj.get("kind") == "StatefulSet" and alone


def _commands(obj: Raw) -> Iterator[tuple[list[str], set[str], set[str]]]:
    """Yield the commands of containers and of their hooks, with the variables beside them."""
    facts = kind_of(obj)
    if facts is None:
        return
    for spec, _ in raw_specs(obj, facts):
        for item in _list(at(spec, "containers")):
            env = [one for one in _list(at(item, "env")) if isinstance(one, dict)]
            names = {str(one.get("name")) for one in env}
            known = {str(one.get("name")) for one in env if "valueFrom" not in one}
            yield _list(at(item, "command")) + _list(at(item, "args")), names, known
            yield _list(at(item, "lifecycle", "preStop", "exec", "command")), set(), known


def _why(argv: Sequence[Any], names: set[str], known: set[str]) -> str:
    if any(name in names for facts in ENGINES for name in facts.args_env):
        return ARGUMENTS
    words = [word for word in argv if isinstance(word, str)]
    if any("$$(" in word or any(f"$({name})" in word for name in known) for word in words):
        return REFERENCE
    script = shell.script_of(words)
    if script is None:
        program = shell.basename(words[0]) if words else ""
        return SCRIPT if program == "timeout" or program.startswith("python") else ""
    if shell.shell_at(words) or any(
        _WITH_SCRIPT.match(word) and words[index + 1 : index + 2] != [script]
        for index, word in enumerate(words)
    ):
        return SCRIPT  # behind another program, or behind more options
    bare = _SPLIT.sub(" ", script)
    nested = any(shell.basename(word) in shell.SHELLS for word in bare.split())
    stops = re.search(r"\b(?:kill|pkill|killall|exit|timeout|python\S*)\b", script)
    plain = _PLAIN.match(_SPLIT.sub(";", script)) and not _KEYWORD.search(bare)
    return "" if plain and not nested and not stops else SCRIPT


def at(node: Any, *steps: str) -> Any:  # noqa: ANN401 - any part of an object
    """Return the field of an object at these keys; None if it is not there."""
    for step in steps:
        node = node.get(step) if isinstance(node, dict) else None
    return node


def _list(value: Any) -> list[Any]:  # noqa: ANN401 - as it was written
    return value if isinstance(value, list) else []
