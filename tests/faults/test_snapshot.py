"""No secret gets into the evidence."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from drainproof.faults.snapshot import snapshot

SECRET = "hunter2hunter2"  # noqa: S105 - what must not be found


def manifest(**container: object) -> dict[str, Any]:
    spec = {"containers": [{"name": "vllm", "image": "vllm:1", **container}]}
    return {"kind": "Deployment", "metadata": {"name": "a"}, "spec": {"template": {"spec": spec}}}


@pytest.mark.parametrize(
    "container",
    [
        {"env": [{"name": "HF_TOKEN", "value": SECRET}]},
        {"env": [{"name": "HARMLESS_LOOKING", "value": SECRET}]},
        {"args": [f"--api-key={SECRET}"]},
        {"args": ["--api-key", SECRET]},
        {"command": ["sh", "-c", f"exec vllm serve m --api-key {SECRET} --port 8000"]},
        {"command": ["sh", "-c", f"HF_TOKEN={SECRET} exec vllm serve m"]},
    ],
)
def test_a_secret_in_a_container_is_not_kept(container: dict[str, object]) -> None:
    assert SECRET not in snapshot(manifest(**container)).decode()


@pytest.mark.parametrize("key", ["managedFields", "annotations"])
def test_repeats_of_the_manifest_are_not_kept(key: str) -> None:
    item = manifest()
    item["metadata"][key] = {"kubectl.kubernetes.io/last-applied-configuration": SECRET}
    assert SECRET not in snapshot(item).decode()


def test_what_checks_look_at_is_kept() -> None:
    args = ["--model=m", "--max-num-batched-tokens", "4096", "--shutdown-timeout=60"]
    reference = {"name": "T", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}}
    kept = orjson.loads(snapshot(manifest(args=args, env=[reference])))
    (container,) = kept["items"][0]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == args
    assert container["env"] == [reference]
