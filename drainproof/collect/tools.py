"""Runs helm and kustomize on folders that may be anybody's: offline, without plugins, bounded."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_S = 60.0
"""No chart or kustomization may take longer to render, in seconds."""
MAX_OUTPUT = 80 * 2**20
"""Bytes that one may render to; the largest file that is read is as large."""
_MAX_MEMORY = 4 * 2**30
"""Address space of a tool, in bytes. Usual charts take less than 1 GiB."""

_NOWHERE = "http://127.0.0.1:9"
"""A proxy that refuses: what is not in the folder is not fetched."""
_DROPPED = ("HELM_", "KUBE", "KUSTOMIZE_", "GIT_")
"""Settings of the user that could reach a cluster, add plugins or change what is rendered."""
_SECRET = re.compile(
    r"\b(?:hf|sk|nvapi|gh[pousr]|glpat|xox[abp]|AKIA|eyJ)[-_A-Za-z0-9][-_.A-Za-z0-9]{7,}"
    r"|(?<=://)[^/\s@]+(?=@)"
)
_SECRET_FIELD = re.compile(
    r"((?:token|passw\w*|secret|api[-_]?key|credential)\w*[\"']?\s*[:=]\s*)[\"']?[^\s\"',}]+",
    re.IGNORECASE,
)
_HIDDEN = "(hidden)"


class Rendered(Struct, frozen=True):
    """What a tool made of a folder."""

    text: str
    """The manifests; empty if it failed."""
    error: str
    """Why it failed, on one line and without secrets; empty if it did not."""


def which(*names: str) -> str | None:
    """Return the path of the first of these programs that is on the PATH."""
    return next((found for name in names if (found := shutil.which(name))), None)


def render(argv: Sequence[str]) -> Rendered:
    """Run a tool and return what it wrote.

    It gets no network as far as its own settings go, no kubeconfig, no plugins, and bounds on its
    time, its memory and its output.
    """
    with (
        tempfile.TemporaryDirectory(prefix="drainproof-") as empty,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=_environment(empty),
                start_new_session=True,
            )
        except OSError as error:
            return Rendered("", f"{argv[0]} cannot be run: {error.strerror}")
        try:
            _bound(process.pid)
            code = process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return Rendered("", f"not rendered within {TIMEOUT_S:g} s")
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it may have started
            process.wait()
        said = _read(err).decode(errors="replace")
        if os.fstat(out.fileno()).st_size >= MAX_OUTPUT:
            return Rendered("", f"renders to more than {MAX_OUTPUT // 2**20} MiB")
        if code != 0:
            if "out of memory" in said or "cannot allocate memory" in said:
                said = f"takes more than {_MAX_MEMORY // 2**30} GiB of memory to render"
            return Rendered("", one_line(said) or f"exit code {code}")
        return Rendered(_read(out).decode(errors="replace"), "")


def one_line(said: str) -> str:
    """Return a tool's complaint on one line, without its own prefixes and without secrets."""
    rows = [row.strip() for row in said.splitlines()]
    kept = [
        row.removeprefix("Error: ").removeprefix("error: ")
        for row in rows
        if row and not row.startswith(("level=", "walk.go", "WARNING", "# Warning", "Use --debug"))
    ]
    return without_secrets(" ".join(" ".join(kept).split())[:400])


def without_secrets(text: str) -> str:
    """Return a text in which what looks like a secret is hidden."""
    return _SECRET_FIELD.sub(rf"\1{_HIDDEN}", _SECRET.sub(_HIDDEN, text))


def _environment(empty: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_DROPPED)}
    for name in ("CONFIG", "CACHE", "DATA"):
        kept[f"HELM_{name}_HOME"] = empty
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        kept[name] = kept[name.lower()] = _NOWHERE
    return {
        **kept,
        "NO_PROXY": "",
        "no_proxy": "",
        "HELM_PLUGINS": empty,
        "KUBECONFIG": os.devnull,
        "KUBERC": "off",
        "GIT_ALLOW_PROTOCOL": "none",
    }


def _bound(pid: int) -> None:
    """Bound a process's memory and output, where the system can do that from outside."""
    if sys.platform == "linux":
        import resource  # noqa: PLC0415 - not on every system

        with contextlib.suppress(ProcessLookupError, PermissionError):
            resource.prlimit(pid, resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (MAX_OUTPUT, MAX_OUTPUT))


def _read(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(MAX_OUTPUT)
