"""A Docker engine of our own, in namespaces of its own: with its first process, all of it goes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from drainproof.clusters import recipe
from drainproof.clusters.processes import Process
from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

_Found = TypeVar("_Found")

CGROUPS = Path("/sys/fs/cgroup")
_CAP_SYS_RESOURCE = 24
_LOG_LINES = 15
# Where a Unix socket's path ends, less one for its final zero: sun_path in sys/un.h.
_LONGEST_SOCKET_PATH = 107


def cgroup_name(state: Path) -> str:
    """Return the cgroup, below that of whoever brings it up, that a cluster's containers are in.

    Clusters of the same name may be up in two state folders at once.
    """
    return f"drainproof-{state.name}-{hashlib.sha256(bytes(state)).hexdigest()[:8]}"


def socket_path(state: Path) -> Path:
    """Return the engine's socket; raises a ``UserError`` if its path is too long for one."""
    path = state / "docker.sock"
    if len(str(path)) > _LONGEST_SOCKET_PATH:
        raise UserError(
            f"the path {path} is too long for a socket: {len(str(path))} characters, "
            f"at most {_LONGEST_SOCKET_PATH} are possible",
            "set XDG_STATE_HOME to a shorter path",
        )
    return path


def start(state: Path, record: Callable[[Process], None]) -> Process:
    """Start an engine that has the node image, and wait until it answers.

    Args:
        state: The folder of its cluster, for its data, its socket and its log.
        record: Is told the process that all others depend on, before it does anything: even if
            this program is killed at any point, ``stop`` finds what was started.

    Raises:
        UserError: It did not start; the message has the end of its log.
    """
    endpoint, log = socket_path(state), state / "engine.log"
    _link_store(recipe.node_image().path / "docker", state / "docker")
    script = recipe.folder()
    arguments = [
        "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
        # It waits for the word to start, and gives up if whoever should give it is gone.
        "sh", "-c", 'read -r go && exec sh "$@" < /dev/null', "engine",
        str(script / "on-root.sh"), str(recipe.system_root().path / "root"),
        "sh", str(script / "engine.sh"),
        str(state / "docker"), str(endpoint), cgroup_name(state), *_runtime_options(),
    ]  # fmt: skip
    unshare = shutil.which("unshare") or "/usr/bin/unshare"
    reader, writer = os.pipe()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        parent = os.posix_spawn(
            unshare,
            arguments,
            {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(state), "LANG": "C.UTF-8"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, reader, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
        )
        first = _wait_for(lambda: _only_child(parent), 10)
        if first is None:
            raise _failed(log, "its namespaces could not be made")
        record(first)
        os.write(writer, b"go\n")
    finally:
        for end in (reader, writer, output):
            os.close(end)
    answered = _wait_for(lambda: _answers(endpoint) or not first.alive, 60)
    if not answered or not first.alive:
        stop(state, first)
        raise _failed(log, "it did not come up")
    return first


def stop(state: Path, process: Process | None) -> list[str]:
    """End an engine and all that it started; return what could not be removed, which is nothing.

    The first process of a process namespace takes all others with it, and the mounts and the
    network of its namespaces go with the last process.
    """
    left = []
    if process is not None:
        parent = process.parent
        if not process.kill():
            left.append(f"process {process.pid}")
        if parent is not None:
            _reap(parent)
    if not _wait_for(lambda: not _remaining_cgroups(state), 20):
        left += [str(path) for path in _remaining_cgroups(state)]
    return left


def _link_store(kept: Path, data: Path) -> None:
    """Give an engine the images of a store, whose layers it may read and will not change."""
    shutil.copytree(kept / "image", data / "image")
    layers = data / "overlay2"
    layers.mkdir()
    # The short names in here are relative links to the layers beside it.
    shutil.copytree(kept / "overlay2" / "l", layers / "l", symlinks=True)
    for layer in (kept / "overlay2").iterdir():
        if layer.name != "l":
            (layers / layer.name).symlink_to(layer)


def _runtime_options() -> list[str]:
    if has_capability(_CAP_SYS_RESOURCE):
        return []
    wrapper = recipe.programs().path / "oci-runtime"
    return ["--add-runtime", f"drainproof={wrapper}", "--default-runtime", "drainproof"]


def has_capability(number: int) -> bool:
    """Say whether this process has a capability, by its number in ``linux/capability.h``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _only_child(parent: int) -> Process | None:
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:
        return None
    return Process.of(int(children[0])) if children else None


def _answers(endpoint: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(str(endpoint))
            client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in client.recv(64)
        except OSError:
            return False


def _remaining_cgroups(state: Path) -> list[Path]:
    """Remove the cluster's cgroups, deepest first, and return those that still have processes."""
    tops = list(CGROUPS.rglob(cgroup_name(state)))
    for top in tops:
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
    return [top for top in tops if top.exists()]


def _reap(pid: int) -> None:
    """Collect the exit status of ``unshare``, if this very process started it."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _failed(log: Path, what: str) -> UserError:
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    return UserError(f"the embedded Docker engine did not start: {what}\n" + "\n".join(lines))


def _wait_for(condition: Callable[[], _Found], timeout_s: float) -> _Found:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
