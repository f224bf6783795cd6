"""The number of requests that run at once is chosen, and large enough.

What it checks
    vLLM's ``--max-num-seqs`` is set, at least 8, and not over ``--max-num-batched-tokens``. TGI and
    SGLang bound the batch by the GPU's memory; TGI's ``--max-concurrent-requests`` has to be at
    least 8 too, since it refuses what is over.

Why
    All requests of a batch share the GPU: the more run, the slower each user's tokens come. By
    default vLLM takes up to 256, and newer versions 1,024 on an H100 or larger. Too few, and users
    queue while the GPU idles. A batch of tokens that is smaller than the number of requests is
    refused at start.

Fix
    Start with ``--max-num-seqs=64`` and tune it by the time per output token.

Source
    Module 1.5, "Key vLLM Parameters" (start with 64; its 70B deployment has 32). vLLM 0.32's
    defaults by GPU, and "max_num_batched_tokens must be greater than or equal to max_num_seqs".
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

_FLAGS = {"vllm": "--max-num-seqs", "tgi": "--max-concurrent-requests"}


@check("DP307", severity=Severity.WARNING)
def batch_size_is_chosen(
    workload: Workload, engine: Engine, container: Container, profile: Profile
) -> Iterator[Finding]:
    """Yield a batch that nobody chose, or one that starves users."""
    flag = _FLAGS.get(engine.name)
    if flag is None or not workload.serves or engine.flags.get("--runner") == "pooling":
        return
    path = f"{engine.path}.args"
    written = arguments.setting(engine, container, flag)
    if not written:
        if engine.name != "vllm" or not profile.wants_max_num_seqs:
            return
        if not engine.flags_known:
            yield workload.inconclusive(
                path, f"whether {flag} is set can't be told: flags are in a file or a script"
            )
            return
        yield workload.finding(
            path,
            f"{flag} is not set, so up to 256 requests run at once (newer versions: 1,024 on an "
            "H100 or larger): each user's tokens come the slower the more there are",
        )
        return
    if not written.lstrip("-").isdecimal():
        yield workload.inconclusive(path, f"{flag} is {written!r}, which can't be told from here")
        return
    size = int(written)
    tokens = engine.flag_number("--max-num-batched-tokens")
    if size < 1 or (tokens is not None and tokens < size):
        limit = f" and --max-num-batched-tokens {tokens:g}" if size >= 1 and tokens else ""
        yield workload.finding(
            path,
            f"{flag} is {written}{limit}: {engine.title} exits at start, so no replica ever serves",
            Severity.ERROR,
        )
    elif size < profile.max_num_seqs_min:
        happens = "get an error" if engine.name == "tgi" else "queue while the GPU idles"
        yield workload.finding(
            path,
            f"{flag} is {written}: requests over it {happens}; expected at least "
            f"{profile.max_num_seqs_min}",
            fix=f"Set {flag} to {profile.max_num_seqs_min} or more.",
        )
