"""SIGTERM reaches the engine, not a shell in front of it.

What it checks
    No shell stays between the kubelet and the engine: a script starts it with ``exec``, in the
    foreground and not in a pipe, or else traps TERM, passes it on and waits for the engine to end.
    ``tini`` and ``dumb-init`` are fine in front of the engine, but no help in front of such a
    shell. What other programs make of the signal can't be told. A ``stopSignal`` is SIGTERM or
    SIGINT.

Why
    Kubernetes sends SIGTERM to the container's first process. A shell there neither passes it on
    nor stops, so the engine never drains: it runs until the grace period is over, and is then
    killed with what still streams. Each replica takes the whole grace period, and its GPU, to stop.
    Where the shell is not the first process (``shareProcessNamespace``, ``tini``), it dies at once,
    and the engine is killed with it, streams and all.

Fix
    Write ``exec`` before the command that starts the engine, or start the engine without a shell.
    ``bash -c`` with a single command replaces itself, other shells don't: say so with ``exec``.

Source
    kserve/kserve pull request 5496 (``exec vllm serve``). Measured with bash 5.2 and dash 0.5.12:
    ``sh -c`` stays in front of even a single command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import shape, shell
from drainproof.model.secrets import redacted
from drainproof.model.signals import Path, follow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.signals import Signalled
    from drainproof.model.workload import Workload

_HOW = {
    Path.WITHOUT_EXEC: "without exec",
    Path.PIPED: "in a pipe",
    Path.BACKGROUND: "in the background",
}
_TRAPS = {
    Path.TRAP_ENDS: "ends at SIGTERM by its own trap, and the container with it: every stream is "
    "cut off",
    Path.TRAP_KILLS: "kills the engine at SIGTERM instead of passing it on: every stream is cut "
    "off",
    Path.TRAP_LEAVES: "passes SIGTERM on, but then ends without waiting for the engine, and the "
    "container ends with it: streams are cut off while the engine drains",
}


@check("DP105", severity=Severity.ERROR)
def signal_reaches_engine(
    workload: Workload, engine: Engine, container: Container
) -> Iterator[Finding]:
    """Yield what keeps SIGTERM from the engine."""
    if not workload.serves:
        return
    if "lifecycle" in container.raw:
        yield from _stop_signal(workload, container)
    found = follow(
        container.argv,
        container.env,
        engine.facts,
        own=bool(container.command),
        file=container.seen.file if container.seen is not None else lambda _: None,
    )
    if found.path is Path.REACHES:
        return
    path = f"{container.path}.{'command' if container.command else 'args'}"
    if found.path is Path.UNSEEN:
        what = found.script if found.script and "\n" not in found.script else "this script"
        yield workload.inconclusive(
            path,
            f"whether {redacted(what)[:80]} starts {engine.title} with exec can't be told; without "
            "it, SIGTERM never reaches the engine, and streams are cut off after the grace period",
        )
        return
    yield _finding(workload, engine, container, found, path)


def _finding(
    workload: Workload, engine: Engine, container: Container, found: Signalled, path: str
) -> Finding:
    repair = _with_exec(container, found)
    if found.path is Path.BY_BASH:
        return workload.finding(
            path,
            f"SIGTERM reaches {engine.title} only because bash replaces itself with a single "
            "command: with a second command, a redirection or another shell, the engine is killed "
            "with what it streams",
            Severity.WARNING,
            repair=repair,
        )
    if found.path in _TRAPS:
        return workload.finding(path, f"{found.shell} {_TRAPS[found.path]}")
    how = f"starts {engine.title} {_HOW[found.path]}"
    spec = workload.pod_spec
    shared = spec.get("shareProcessNamespace") is True or spec.get("hostPID") is True
    if shared or not found.first:
        return workload.finding(
            path,
            f"{found.shell} {how}: SIGTERM ends the shell at once, the engine is killed with it, "
            "and every stream is cut off",
            repair=repair,
        )
    grace = workload.grace_period_s
    if engine.prestop_drains and engine.polling.most_s >= grace:
        return workload.finding(
            path,
            f"{found.shell} is the first process and {how}, so SIGTERM never reaches the engine: "
            f"its streams end in the preStop hook, but each stop takes all of {grace} s",
            Severity.WARNING,
            repair=repair,
        )
    return workload.finding(
        path,
        f"{found.shell} is the first process and {how}, so SIGTERM never reaches the engine: it "
        f"runs on until it is killed after {grace} s, with what it streams then",
        repair=repair,
    )


def _with_exec(container: Container, found: Signalled) -> dict[str, list[str]]:
    """Return the command or the arguments with ``exec``, where adding it is all there is to do."""
    if found.start is None:
        return {}
    argv = (*container.command, *container.args)
    at = next((i for i, word in enumerate(argv) if shell.basename(word) in shell.SHELLS), 0)
    script = shell.script_of(argv[at:])
    if script is None or len(found.start.findall(script)) != 1:
        return {}  # a variable hides where the command begins
    written = found.start.sub("exec ", script)
    in_command = script in container.command
    words = container.command if in_command else container.args
    return {
        f"{container.path}.{'command' if in_command else 'args'}": [
            written if word == script else word for word in words
        ]
    }


def _stop_signal(workload: Workload, container: Container) -> Iterator[Finding]:
    lifecycle = shape.mapping(container.raw, "lifecycle", container.path)
    sent = shape.text(lifecycle, "stopSignal", f"{container.path}.lifecycle")
    if sent and sent not in {"SIGTERM", "SIGINT"}:
        yield workload.finding(
            f"{container.path}.lifecycle.stopSignal",
            f"Kubernetes sends {sent} instead of SIGTERM, which engines don't drain on: every "
            "stream in flight is cut off",
            repair={f"{container.path}.lifecycle.stopSignal": "SIGTERM"},
        )
