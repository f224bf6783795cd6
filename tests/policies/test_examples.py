"""The example policies do what they say, by Kyverno's own command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from drainproof.policies import kyverno, write
from tests.policies.images import Key, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SIGNED = write.folder() / write.EXAMPLES / "signed-engines"
EXAMPLES = sorted(path.name for path in SIGNED.parent.iterdir())


@pytest.fixture
def registry() -> Iterator[Registry]:
    found = Registry()
    yield found
    found.close()


def policy(key: Key, registry: Registry) -> dict[str, Any]:
    """Return the example for another key, and for a registry that is there."""
    found: dict[str, Any] = yaml.safe_load((SIGNED / "policy.yaml").read_text(encoding="utf-8"))
    found["spec"]["attestors"][0]["cosign"]["key"]["data"] = key.public
    found["spec"]["matchImageReferences"] = [{"glob": f"{registry.address}/engines/*"}]
    return found


def pod(*images: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "llama", "namespace": "inference"},
        "spec": {
            "containers": [
                {"name": f"one-{number}", "image": image} for number, image in enumerate(images)
            ]
        },
    }


def deployment(*images: str) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "llama"}}, "spec": pod(*images)["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "llama", "namespace": "inference"},
        "spec": {"selector": {"matchLabels": {"app": "llama"}}, "template": template},
    }


def judged(program: Path, folder: Path, policy: dict[str, Any], obj: dict[str, Any]) -> str:
    """Return what Kyverno counts for one object: `pass`, `fail` or another of its words."""
    for name, item in (("policy", policy), ("object", obj)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(item), encoding="utf-8")
    words = ("apply", folder / "policy.yaml", "--resource", folder / "object.yaml")
    ran = kyverno.run(program, *words, "--remove-color")
    counts = ran.stdout.strip().splitlines()[-1].split(", ")
    said = [one.split(":")[0] for one in counts if not one.strip().endswith(": 0")]
    assert len(said) == 1, ran.stdout + ran.stderr
    return said[0]


@pytest.mark.parametrize("name", EXAMPLES)
def test_kyvernos_own_test_of_an_example_passes(programs: Path, name: str) -> None:
    ran = kyverno.tested(programs / "kubectl-kyverno", SIGNED.parent / name)
    assert ran.passed, ran.said


@pytest.mark.parametrize("made", [pod, deployment])
def test_an_engine_that_is_signed_is_let_in_and_no_other(
    programs: Path, tmp_path: Path, registry: Registry, made: Callable[..., dict[str, Any]]
) -> None:
    program = programs / "kubectl-kyverno"
    ours, theirs = Key(tmp_path, "ours"), Key(tmp_path, "theirs")
    wanted = policy(ours, registry)
    signed = registry.add("engines/vllm", ours)
    images = {
        "signed by the team": [signed],
        "signed by somebody else": [registry.add("engines/other", theirs)],
        "not signed": [registry.add("engines/bare")],
        "not there": [f"{registry.address}/engines/none:v1"],
        "signed, beside one that is not": [signed, f"{registry.address}/engines/bare:v1"],
        "signed, beside one from elsewhere": [signed, "docker.io/library/busybox:1.36"],
    }
    found = {
        how: judged(program, tmp_path, wanted, made(*used)) == "pass"
        for how, used in images.items()
    }
    assert found == {how: how in _LET_IN for how in images}


_LET_IN = {"signed by the team", "signed, beside one from elsewhere"}
