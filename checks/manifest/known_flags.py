"""The engine's version has every flag that is set, and no two contradict.

What it checks
    By the version in the image's tag: that no flag was removed before it, or was added after it,
    and that none is unknown to it, as a mistyped one is. That a flag and its value are two words of
    ``args``, or joined by ``=``: the list item ``- --port 8000`` is one word. That vLLM and SGLang
    get ``--config`` and its file as two words. And settings that refuse each other: TGI's
    ``--max-input-tokens`` not below ``--max-total-tokens``, or a batch that is smaller than what it
    has to hold; vLLM's ``--max-num-batched-tokens`` below ``--max-num-seqs``, or below
    ``--max-model-len`` without chunked prefill, and ``--enable-auto-tool-choice`` without
    ``--tool-call-parser``; Triton's ``--load-model`` without ``--model-control-mode=explicit``.
    Where the tag names no version, it says what it assumed.

Why
    An engine that meets a flag that it does not know prints its usage and exits. A change of the
    image's tag alone is enough for that: the new replicas never start, and with the next node that
    drains the old ones are gone too.

Fix
    Remove the flag, write what replaced it, or use an image that has it.

Source
    What each release's own source declares: 66 of vLLM from 0.4.3 to 0.33, 41 of SGLang from 0.3.0
    to 0.5.23, all 47 of Text Generation Inference from 1.0, 40 of Triton from 23.03. The
    contradictions are errors in their sources. That ``--config=FILE`` is accepted and not read is
    in the sources of vLLM 0.6.5 to 0.33 and of SGLang 0.5.3 to 0.5.9.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import arguments, shell
from drainproof.model.engine_facts import written
from drainproof.model.secrets import redacted
from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.engine_facts import FlagStatus
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload

_CHUNKED_BY_DEFAULT = (0, 8)
"""vLLM: V1, and with it chunked prefill. V0 turns it on over 32,768 tokens of context."""
_LONG_CONTEXT = 32_768
_FLAG = regex(r"--?[A-Za-z][\w.-]*")
_REFUSES = "refuses to start"


@check(
    "DP309",
    severity=Severity.ERROR,
    admission="which flags each of about 200 releases has is a table too large for a policy",
)
def flags_are_known(workload: Workload, engine: Engine, container: Container) -> Iterator[Finding]:
    """Yield the flags that keep the engine from starting, or have no effect."""
    yield from _in_one_word(workload, engine, container)
    if engine.facts.flag_table:
        yield from _by_version(workload, engine, container)
    if engine.ignored_config:
        flag, _, file = engine.ignored_config.partition("=")
        yield workload.finding(
            f"{engine.path}.args",
            f"{engine.title} accepts {engine.ignored_config} and never reads the file, so it runs "
            f"with its defaults; {flag} and {file} have to be two words",
            repair=_two_words(container, engine.ignored_config),
        )
    if engine.name == "vllm":
        yield from _vllm(workload, engine)
    elif engine.name == "tgi":
        yield from _tgi(workload, engine, container)
    elif engine.name == "triton":
        yield from _triton(workload, engine)


def _in_one_word(workload: Workload, engine: Engine, container: Container) -> Iterator[Finding]:
    """Yield a flag and its value that are one word, as ``- --port 8000`` in a list is."""
    if shell.shell_at(container.argv) is not None or (
        engine.name == "tgi" and not container.command
    ):
        return  # the entry point of TGI's images is a shell script that takes words apart
    sure = container.command or re.search(engine.facts.official, container.image)
    for index, word in enumerate(container.args):
        flag, space, value = word.partition(" ")
        if not space or not _FLAG.fullmatch(flag):
            continue
        values = [value.strip()] if " -" not in value else None  # several flags: no telling
        args = container.args
        yield workload.finding(
            f"{container.path}.args[{index}]",
            f"{redacted(word)[:80]!r} is one word, without a shell that takes it apart: "
            f"{engine.title} knows no such flag and {_REFUSES}",
            None if sure else Severity.WARNING,
            repair={f"{container.path}.args": [*args[:index], flag, *values, *args[index + 1 :]]}
            if values
            else None,
        )


def _by_version(workload: Workload, engine: Engine, container: Container) -> Iterator[Finding]:
    facts, version = engine.facts, engine.version
    doubtful = []
    for flag in engine.flags:
        status = facts.flag_status(flag, version)
        if status.state == "known":
            continue
        if status.state == "depends":
            doubtful.append(flag)
        elif status.state == "unknown":
            yield from _unknown(workload, engine, container, flag)
        else:
            removable = status.state == "removed" and flag in facts.flags_without_effect
            yield workload.finding(
                f"{engine.path}.args",
                _refused(engine, flag, status),
                repair=arguments.without(container, flag, takes_value=engine.flags[flag] != "true")
                if removable
                else None,
            )
    if doubtful:
        yield workload.assumption(
            f"{engine.path}.image",
            f"taken for a version of {engine.title} that has {', '.join(doubtful)}, since the "
            "image's tag names no version",
        )


def _refused(engine: Engine, flag: str, status: FlagStatus) -> str:
    if status.state == "removed":
        what = f"{flag} was removed in {engine.title} {written(status.version)}"
    else:
        what = f"{flag} came only with {engine.title} {written(status.version)}"
    instead = f" ({status.instead})" if status.instead else ""
    return f"{what}{instead}, so {engine.label} {_REFUSES} and no new replica ever becomes ready"


def _unknown(
    workload: Workload, engine: Engine, container: Container, flag: str
) -> Iterator[Finding]:
    """Yield a flag that no release has, where all of this one's flags are known."""
    facts, version = engine.facts, engine.version
    if version is None or not engine.flags_known or not _compared(engine):
        return
    near = facts.flags_like(flag, version)
    if not near and not re.search(facts.official, container.image):
        return  # forks add flags
    yield workload.finding(
        f"{engine.path}.args",
        f"{engine.label} has no flag {flag}"
        + (f" (but {near[0]})" if near else "")
        + f": unless this image adds it, the engine {_REFUSES}",
        Severity.WARNING,
    )


def _compared(engine: Engine) -> bool:
    """Tell whether the version is among those whose flags are known."""
    oldest, newest = engine.facts.compared
    return engine.version is not None and oldest <= engine.version <= newest


def _two_words(container: Container, word: str) -> dict[str, object]:
    flag, _, file = word.partition("=")
    if word not in container.args:
        return {}
    at = container.args.index(word)
    return {f"{container.path}.args": [*container.args[:at], flag, file, *container.args[at + 1 :]]}


def _vllm(workload: Workload, engine: Engine) -> Iterator[Finding]:
    batch = engine.flag_number("--max-num-batched-tokens")
    context = engine.flag_number("--max-model-len")
    if batch is not None and context is not None and batch < context and not _chunked(engine):
        yield workload.finding(
            f"{engine.path}.args",
            f"--max-num-batched-tokens {batch:g} is less than --max-model-len {context:g}, and "
            f"chunked prefill is off: vLLM {_REFUSES}",
        )
    together = engine.flag_number("--max-num-seqs")
    if batch is not None and together is not None and batch < together:
        yield workload.finding(
            f"{engine.path}.args",
            f"--max-num-batched-tokens {batch:g} is less than --max-num-seqs {together:g}: a step "
            f"could not give each request a token, so vLLM {_REFUSES}",
        )
    parser = "--tool-call-parser" in engine.flags or not engine.flags_known
    if engine.flag_on("--enable-auto-tool-choice") and not parser:
        yield workload.finding(
            f"{engine.path}.args",
            f"--enable-auto-tool-choice is set without --tool-call-parser: vLLM {_REFUSES}",
        )


def _chunked(engine: Engine) -> bool:
    """Tell whether long prompts are cut into pieces, as far as flags and version say."""
    on = engine.flag_on("--enable-chunked-prefill")
    if on is not None:
        return on
    context = engine.flag_number("--max-model-len") or 0
    return (
        engine.version is None or engine.version >= _CHUNKED_BY_DEFAULT or context > _LONG_CONTEXT
    )


def _tgi(workload: Workload, engine: Engine, container: Container) -> Iterator[Finding]:
    def number(*names: str) -> float | None:
        said = arguments.setting(engine, container, *names)
        return float(said) if said.isdecimal() else None

    asked = number("--max-input-tokens", "--max-input-length")
    total = number("--max-total-tokens")
    batch = number("--max-batch-total-tokens")
    prefill = number("--max-batch-prefill-tokens")
    for name, less, other, more, also in (
        ("--max-input-tokens", asked, "--max-total-tokens", total, False),
        ("--max-total-tokens", total, "--max-batch-total-tokens", batch, True),
        ("--max-batch-prefill-tokens", prefill, "--max-batch-total-tokens", batch, True),
    ):
        if less is None or more is None or less < more or (also and less == more):
            continue
        yield workload.finding(
            f"{engine.path}.args",
            f"{name} {less:g} has to be {'at most' if also else 'less than'} {other} {more:g}: "
            f"Text Generation Inference {_REFUSES}",
        )


def _triton(workload: Workload, engine: Engine) -> Iterator[Finding]:
    mode = engine.flag("--model-control-mode", default="none")
    if "--load-model" in engine.flags and mode != "explicit":
        yield workload.finding(
            f"{engine.path}.args",
            f"--load-model is set and --model-control-mode is {mode}, not explicit: Triton "
            f"{_REFUSES}",
        )
