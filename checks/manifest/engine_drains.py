"""The engine finishes its streams when it gets SIGTERM.

What it checks
    By engine and version, that SIGTERM makes the engine finish the streams in flight, for at least
    30 s, or that a preStop hook waits until none is running, for at least 30 s: its condition is
    tried on metrics with and without running requests, and one that can't be read is inconclusive.
    vLLM from 0.18 on drains only with ``--shutdown-timeout``; older vLLM can't drain at all; TGI,
    SGLang, Triton and trtllm-serve drain unless they are told not to. Of several engines in a pod
    one is judged, and each other one is inconclusive.

Why
    An engine that stops at once cuts off every answer in flight, however long the grace period is.
    vLLM does so by default: each client got HTTP 200, an error inside the stream, then ``[DONE]``
    and a clean end, which most clients take for a whole answer. That vLLM "handles SIGTERM
    gracefully by default", as the module has it, is not what it does.

Fix
    vLLM 0.18 and later: add ``--shutdown-timeout=120``; older vLLM: a preStop hook that polls
    ``/metrics`` until ``vllm:num_requests_running`` is 0, or a newer version. A hook that reads 1.0
    and no comment is ``sleep 15; while curl -s localhost:8000/metrics | grep -q
    '^vllm:num_requests_running.* [1-9]'; do sleep 1; done``.
    TGI: leave ``--graceful-termination-timeout`` at 90 s or raise it. SGLang: don't set
    ``SGL_FORCE_SHUTDOWN``. Triton: raise ``--exit-timeout-secs``.

Source
    Measured on vLLM 0.32; vllm-project/vllm pull request 36666 (``--shutdown-timeout``, 0.18);
    huggingface/text-generation-inference issue 2035 and pull request 3126; sgl-project/sglang pull
    request 1838; the sources of Triton and trtllm-serve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import shell
from drainproof.model.engine import others_beside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload


@check("DP102", severity=Severity.ERROR)
def engine_drains_on_sigterm(
    workload: Workload, engine: Engine, container: Container, profile: Profile
) -> Iterator[Finding]:
    """Yield what makes the engine drop its streams."""
    path = f"{engine.path}.args"
    flag = engine.drain_flag
    if workload.serves:
        for beside, facts in others_beside(workload.containers, container):
            yield workload.inconclusive(
                beside.path,
                f"container {beside.name} runs an engine, too ({facts.title}): only the one in "
                f"container {container.name} is judged, so whether this one drains can't be told",
            )
    waits = engine.prestop_drains and engine.polling.most_s >= profile.drain_min_s
    if waits or not workload.serves:
        return
    unsupported = engine.unsupported_drain_flag
    if unsupported:
        yield workload.finding(
            path,
            f"{engine.label} does not know {unsupported} and refuses to start with it"
            + ("; without it, it cuts off every stream at SIGTERM" if engine.drain_s == 0 else ""),
        )
    elif engine.drain_s is None and flag in engine.flags:
        yield workload.inconclusive(
            path, f"{flag} is {engine.flags[flag]!r}: whether that drains can't be told from here"
        )
    elif engine.drain_s is None:
        yield workload.inconclusive(
            engine.path, f"what {engine.label} does with its streams on SIGTERM is not known"
        )
    elif engine.drain_s == 0:
        yield _aborts(workload, engine, container, profile)
    else:
        if engine.drain_s < profile.drain_min_s:
            yield workload.finding(
                path,
                f"{engine.label} drains for {engine.drain_s:g} s, then cuts off what still "
                f"streams; expected at least {profile.drain_min_s} s",
                Severity.WARNING,
                repair=_repair(workload, engine, container, profile),
            )
        if engine.version is None:
            yield workload.assumption(
                f"{engine.path}.image",
                f"taken for a recent {engine.title}, since the image's tag names no version",
            )


def _aborts(workload: Workload, engine: Engine, container: Container, profile: Profile) -> Finding:
    flag = engine.drain_flag
    if flag and flag not in engine.flags:
        if not (engine.flags_known and workload.complete):
            return workload.inconclusive(
                engine.path,
                f"{engine.label} cuts off every stream at SIGTERM unless {flag} is set, and more "
                "flags may be in a file, a script or an object that this audit does not see",
            )
        if any(flag in word for word in (*container.command, *container.args)):
            return workload.inconclusive(
                engine.path,
                f"{engine.label} cuts off every stream at SIGTERM unless {flag} is set, and the "
                "script sets it only under a condition",
            )
    hook = engine.polling
    if engine.prestop_s is None and not hook.why:
        return workload.inconclusive(
            f"{engine.path}.lifecycle.preStop",
            f"{_why_not(engine)}; whether the preStop hook waits for them can't be told",
        )
    if hook.why and not hook.ends and hook.most_s >= profile.drain_min_s:
        return workload.inconclusive(
            f"{engine.path}.lifecycle.preStop",
            f"{_why_not(engine)}; as to the preStop hook, {hook.why}",
        )
    waits = engine.prestop_s or 0.0
    outlasts = waits >= profile.drain_min_s + profile.prestop_good_s
    return workload.finding(
        f"{engine.path}.args",
        _why_not(engine)
        + (f" that outlasts the preStop delay of {waits:g} s" if outlasts else _hook_fails(engine)),
        Severity.WARNING if outlasts else None,
        repair=_repair(workload, engine, container, profile),
    )


def _hook_fails(engine: Engine) -> str:
    """Say why the preStop hook's loop is no help; nothing if there is none."""
    hook = engine.polling
    if hook.ends:
        return f"; the preStop hook is no help: {hook.why}"
    if hook.most_s:
        return f"; the preStop hook waits for them for {hook.most_s:g} s at most"
    return ""


def _why_not(engine: Engine) -> str:
    cut = f"{engine.label} cuts off every stream in flight at SIGTERM"
    if engine.drain_flag in engine.flags:
        return f"{cut}: {engine.drain_flag} is {engine.flags[engine.drain_flag]}"
    if engine.drain_abort_env:
        return f"{cut}: {engine.drain_abort_env} is set"
    if not engine.drain_flag:
        return (
            f"{cut}, and this version has no flag for it; only a preStop hook that waits can help"
        )
    if engine.version is None:
        return (
            f"{cut}: {engine.drain_flag} is not set, and versions that don't have it can't drain "
            "at all"
        )
    return f"{cut}: {engine.drain_flag} is not set, and its default is 0"


def _repair(
    workload: Workload, engine: Engine, container: Container, profile: Profile
) -> dict[str, object]:
    """Return the arguments with a drain time that fits the grace period, where both are known."""
    if engine.drain_abort_env:
        known = engine.drain_abort_env in container.env
        path = f"{container.path}.env[name={engine.drain_abort_env}].value"
        return {path: "false"} if known else {}
    argv = (*container.command, *container.args)
    scripted = any(shell.basename(word) in shell.SHELLS for word in argv)
    if not argv or scripted or not engine.drain_flag or engine.version is None:
        return {}
    if engine.drain_flag in engine.flags and not _among(container.args, engine.drain_flag):
        return {}  # in the command, or in a file
    prestop = max(engine.prestop_s or 0.0, profile.prestop_good_s)
    seconds = int(workload.grace_period_s - prestop - profile.teardown_s)
    if workload.grace_period_s < profile.grace_period_min_s or seconds < profile.drain_min_s:
        seconds = profile.drain_good_s  # grace-period's repair makes room for it
    return {f"{container.path}.args": _with_flag(container.args, engine.drain_flag, seconds)}


def _among(words: tuple[str, ...], flag: str) -> bool:
    return any(word.partition("=")[0].replace("_", "-") == flag for word in words)


def _with_flag(words: tuple[str, ...], flag: str, seconds: int) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        name, equals, _ = word.partition("=")
        if skip:
            skip = False
        elif name.replace("_", "-") == flag:
            skip = not equals
        else:
            kept.append(word)
    return [*kept, f"{flag}={seconds}"]
