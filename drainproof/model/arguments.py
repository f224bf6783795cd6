"""Finds settings that are no flags, and takes flags out of arguments, for repairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drainproof.model.container import Container
    from drainproof.model.engine import Engine


def setting(engine: Engine, container: Container, *names: str) -> str:
    """Return the value of the first of several flags that is set; empty if none is.

    TGI reads each flag from a variable too: ``--quantize`` from ``QUANTIZE``.
    """
    flags = engine.flags
    for name in names:
        if name in flags:
            return flags[name]
    if engine.name != "tgi":
        return ""
    env = container.env
    variables = (name[2:].replace("-", "_").upper() for name in names)
    return next((env[name] for name in variables if name in env), "")


def without(container: Container, flag: str, *, takes_value: bool = False) -> dict[str, object]:
    """Return the repair that takes a flag out of a container's ``args``.

    Args:
        container: The container.
        flag: Its name with dashes; underscores in the manifest match too.
        takes_value: Whether the word behind it, without ``=``, is its value.

    Returns:
        The new list by its field path; empty if the flag is not a word of ``args`` (it is in
        ``command``, in a shell's script or in a file).
    """
    kept: list[str] = []
    skip = found = False
    for word in container.args:
        if skip:
            skip = False
            continue
        name, equals, _ = word.partition("=")
        if name.replace("_", "-") == flag:
            found = True
            skip = takes_value and not equals
            continue
        kept.append(word)
    return {f"{container.path}.args": kept} if found and kept else {}
