"""Tokens and API keys come from a Secret.

What it checks
    Variables that name a secret (``HF_TOKEN``, ``NGC_API_KEY``, ``VLLM_API_KEY``, and whatever ends
    in ``_TOKEN``, ``_API_KEY``, ``_PASSWORD`` …), in all containers of the pod, are not written
    out, in ``env`` or in a script, and not read from a ConfigMap. Nor is a value of ``--api-key``
    or ``--hf-token``. What was found is never shown.

Why
    Whoever may read the repository, or look at a pod, reads the token: and with it gated models, or
    your engine past every limit. A token that is written out is also never changed, since that
    needs a rollout.

Fix
    Refer to a Secret: ``valueFrom: {secretKeyRef: {name: hf-token, key: token}}``. Pass a flag as
    ``--api-key=$(VLLM_API_KEY)`` with such a variable, or leave it out: vLLM reads ``VLLM_API_KEY``
    by itself.

Source
    Module 1.5 takes ``HUGGING_FACE_HUB_TOKEN`` from the Secret ``hf-token``. Kubernetes' good
    practices for Secrets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import shape, shell
from drainproof.model.secrets import is_written_out, names_a_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding, Located
    from drainproof.model.workload import Workload

_FLAGS = ("--api-key", "--admin-api-key", "--hf-token", "--auth-token")
"""Flags of engines, and of the proxies beside them, whose value is a secret."""


@check(
    "DP503",
    severity=Severity.ERROR,
    admission="what ConfigMaps that it reads from hold, and what scripts set",
)
def token_comes_from_secret(
    workload: Workload,
    engine: Engine,
    container: Container,
    config_maps: Sequence[Located],
) -> Iterator[Finding]:
    """Yield what is written where a reference to a Secret belongs; never the secret itself."""
    for path, said in workload.once(_variables):
        yield workload.finding(path, said)
    for flag in _FLAGS:
        if is_written_out(engine.flags.get(flag, "")):
            yield workload.finding(
                _where(container, flag),
                f"the value of {flag} is written out: it is in the repository, in the pod and in "
                "its list of processes",
            )
    for config_map in config_maps:
        data = config_map.object.get("data")
        for key, value in data.items() if isinstance(data, dict) else ():
            if isinstance(value, str) and names_a_secret(key) and is_written_out(value):
                yield config_map.finding(
                    f"data[{key}]",
                    f"{key} comes from a ConfigMap: whoever may look at the namespace reads it",
                )


def _variables(workload: Workload) -> list[tuple[str, str]]:
    """Return the field path of each variable that no Secret sets, and what is wrong with it."""
    found = []
    for container in (*workload.containers, *workload.init_containers):
        for index, item in enumerate(shape.mappings(container.raw, "env", container.path)):
            path = f"{container.path}.env[{index}]"
            name = shape.text(item, "name", path)
            if not names_a_secret(name):
                continue
            source = item.get("valueFrom")
            if isinstance(source, dict) and "configMapKeyRef" in source:
                said = f"{name} comes from a ConfigMap: whoever may look at the namespace reads it"
                found.append((f"{path}.valueFrom.configMapKeyRef", said))
            # as it is written: what refers to a variable that is a secret is none itself
            elif source is None and is_written_out(shape.text(item, "value", path)):
                found.append((f"{path}.value", _written_out(name)))
        found += _in_scripts(container)
    return found


def _in_scripts(container: Container) -> Iterator[tuple[str, str]]:
    """Yield the field path of each script that sets a secret, and what is wrong with it."""
    script = shell.script_of(container.argv)
    if script is None or "=" not in script:
        return
    field = "args" if script in container.args else "command"
    path = f"{container.path}.{field}[{getattr(container, field).index(script)}]"
    for name, value in dict(shell.assignments(script)).items():
        if names_a_secret(name) and is_written_out(value) and "`" not in value:
            yield path, _written_out(name)


def _written_out(name: str) -> str:
    return f"the value of {name} is written out: whoever may read the repository or the pods has it"


def _where(container: Container, flag: str) -> str:
    """Return the field path of the word that sets a flag."""
    for field, words in (("args", container.args), ("command", container.command)):
        for index, word in enumerate(words):
            if flag in word.replace("_", "-"):
                return f"{container.path}.{field}[{index}]"
    return f"{container.path}.args"
