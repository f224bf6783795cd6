"""Rewrites a container's arguments, for repairs: a flag is taken out, the rest stays as written."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drainproof.model.container import Container


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
