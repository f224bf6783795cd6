"""Prompts that begin alike are read once, and long ones don't hold up the others.

What it checks
    Prefix caching and chunked prefill are on. vLLM from 0.8 has both on by default, so
    ``--no-enable-prefix-caching`` and ``--no-enable-chunked-prefill`` are findings; older versions
    need ``--enable-prefix-caching`` and ``--enable-chunked-prefill`` (in the production profile).
    SGLang's ``--disable-radix-cache`` and ``--chunked-prefill-size -1``, and TGI's
    ``PREFIX_CACHING=0``, switch them off too. Pooling models are left alone.

Why
    Without chunked prefill one user's long prompt stops everybody's tokens until it is read.
    Without prefix caching every turn of a conversation reads all of it again, so first tokens come
    later.

Fix
    Remove the flag that switches it off, or move to vLLM 0.8 or later.

Source
    Module 1.5, "Key vLLM Parameters" ("enable for mixed-length traffic"). vLLM's V1 engine, the
    default since 0.8, has both on, and so has TGI 3, though the module's comparison says that TGI
    has no prefix caching. That prefix caching shortens the start, as the module's war story has it,
    is not so: the cache starts empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import arguments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload

_ON_BY_DEFAULT = (0, 8)  # vLLM's V1 engine
_PREFIX, _CHUNKS = "--enable-prefix-caching", "--enable-chunked-prefill"
_POOLING = frozenset({"embed", "embedding", "score", "classify", "reward"})
_OFF = frozenset({"0", "false", "False"})
_AGAIN = "every turn of a conversation is read from its beginning, so first tokens come later"
_STOPS = "one user's long prompt stops everybody's tokens until it is read"


@check("DP312", severity=Severity.WARNING)
def prefixes_and_chunks_are_used(
    workload: Workload, engine: Engine, container: Container, profile: Profile
) -> Iterator[Finding]:
    """Yield what is computed twice, or what long prompts hold up."""
    if engine.name == "vllm":
        yield from _vllm(workload, engine, container, profile)
    elif engine.name == "sglang":
        yield from _sglang(workload, engine, container)
    elif engine.name == "tgi":
        for name in ("PREFIX_CACHING", "USE_PREFIX_CACHING"):
            if container.env.get(name) in _OFF:
                path = f"{container.path}.env"
                yield workload.finding(path, f"{name} is {container.env[name]}: {_AGAIN}")


def _vllm(
    workload: Workload, engine: Engine, container: Container, profile: Profile
) -> Iterator[Finding]:
    flags = engine.flags
    old = engine.version is not None and engine.version < _ON_BY_DEFAULT
    old = old or container.env.get("VLLM_USE_V1") == "0"
    if not old and _PREFIX not in flags and _CHUNKS not in flags:
        return
    if flags.get("--runner") == "pooling" or flags.get("--task") in _POOLING:
        return
    path = f"{engine.path}.args"
    missing = []
    for flag, happens in ((_PREFIX, _AGAIN), (_CHUNKS, _STOPS)):
        on = engine.flag_on(flag)
        if on is False:
            off = flag.replace("--", "--no-", 1)
            repair = arguments.without(container, off)
            yield workload.finding(path, f"{off} is set: {happens}", repair=repair)
        elif on is None:
            missing.append((flag, happens))
    if missing and old and engine.flags_known and profile.wants_prefixes_and_chunks:
        unset = " and ".join(flag for flag, _ in missing)
        costs = "; ".join(happens for _, happens in missing)
        are = "are" if len(missing) > 1 else "is"
        yield workload.finding(path, f"{engine.label} has it off unless {unset} {are} set: {costs}")


def _sglang(workload: Workload, engine: Engine, container: Container) -> Iterator[Finding]:
    path = f"{engine.path}.args"
    off = "--disable-radix-cache"
    if engine.flag_on(off):
        repair = arguments.without(container, off)
        yield workload.finding(path, f"{off} is set: {_AGAIN}", repair=repair)
    if engine.flag("--chunked-prefill-size") == "-1":
        yield workload.finding(path, f"--chunked-prefill-size is -1: {_STOPS}")
