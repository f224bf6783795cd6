"""Opens the way to a cluster by the name of a context; never by the current one."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kubernetes.client import ApiClient

_DEFAULT = Path("~/.kube/config")


def connect(context: str) -> ApiClient:
    """Return a client for a context in the user's kubeconfig, or for the embedded cluster.

    Nothing is sent yet, but a credential plugin that the context names is run.

    Raises:
        UserError: There is no such context, a kubeconfig can't be read, or its credentials can't.
    """
    own = _embedded(context)
    if own is not None:
        return _client(context, str(own))
    return of_kubeconfig(context)


def of_kubeconfig(context: str) -> ApiClient:
    """Do what :func:`connect` does, for a context in the user's kubeconfig only.

    The embedded cluster has a network of its own, which a thread enters and does not leave.

    Raises:
        UserError: As :func:`connect`.
    """
    files = _kubeconfigs()
    known = _contexts(files)
    if context not in known:
        raise _no_context(context, files, known)
    return _client(context, os.pathsep.join(str(file) for file in files))


def matching(patterns: Iterable[str]) -> list[str]:
    """Return the contexts in the user's kubeconfig that match any pattern, sorted.

    Args:
        patterns: Names, with ``*`` for anything; upper and lower case differ.

    Raises:
        UserError: A pattern matches none, or a kubeconfig can't be read.
    """
    files = _kubeconfigs()
    known = _contexts(files)
    found: set[str] = set()
    for pattern in patterns:
        meant = {name for name in known if fnmatchcase(name, pattern)}
        if not meant:
            raise _no_context(pattern, files, known)
        found |= meant
    return sorted(found)


def _no_context(context: str, files: list[Path], known: set[str]) -> UserError:
    where = os.pathsep.join(str(file) for file in files)
    return UserError(
        f"there is no context {context!r} in {where}",
        hint=f"There are: {', '.join(sorted(known))}." if known else "There is none at all.",
    )


def _embedded(context: str) -> Path | None:
    """Enter the network of the embedded cluster that a context means; return its kubeconfig."""
    from drainproof import clusters  # noqa: PLC0415 - only for a live cluster

    cluster = clusters.for_context(context)
    if cluster is None:
        return None
    cluster.enter()
    return cluster.kubeconfig


def _kubeconfigs() -> list[Path]:
    named = os.environ.get("KUBECONFIG", "")
    return [Path(part) for part in named.split(os.pathsep) if part] or [_DEFAULT.expanduser()]


def _contexts(files: list[Path]) -> set[str]:
    import yaml  # noqa: PLC0415 - slow to load, and only for a live cluster

    found: set[str] = set()
    for file in files:
        try:
            config = yaml.safe_load(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue  # as kubectl does: KUBECONFIG may name files that are not there yet
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UserError(f"{file}: cannot be read as a kubeconfig: {_one_line(error)}") from None
        contexts = config.get("contexts") if isinstance(config, dict) else None
        for item in contexts if isinstance(contexts, list) else ():
            if isinstance(item, dict) and isinstance(item.get("name"), str):
                found.add(item["name"])
    return found


def _client(context: str, files: str) -> ApiClient:
    from kubernetes import config  # noqa: PLC0415 - takes most of a second to load
    from kubernetes.client import Configuration  # noqa: PLC0415 - same

    configuration = Configuration()
    configuration.retries = False
    with _complaints() as complaints:
        try:
            client: ApiClient = config.new_client_from_config(  # type: ignore[no-untyped-call]
                config_file=files,
                context=context,
                client_configuration=configuration,
                persist_config=False,
            )
        except Exception as error:  # noqa: BLE001 - the loader raises whatever a wrong field leads to
            raise UserError(
                f"context {context}: its kubeconfig cannot be used: {_one_line(error)}",
                hint=f"Try: kubectl --context {context} version",
            ) from None
    if complaints:
        raise UserError(
            f"context {context}: its credential plugin failed: {complaints[0]}",
            hint=f"Try: kubectl --context {context} version",
        )
    return client


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what the loader only logs: that a credential plugin failed."""
    said: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(" ".join(record.getMessage().split())[:300])

    root = logging.getLogger()
    handler = Collect(logging.ERROR)
    before = root.handlers[:]
    root.handlers[:] = [handler]
    try:
        yield said
    finally:
        root.handlers[:] = before


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
