"""What a finding says is to be done fits its engine, its kind and its cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from drainproof.collect import files
from drainproof.content import content
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.model.snapshot import Snapshot
from drainproof.report.rows import rows
from tests.manifests import CONTAINER, deployment, scaled_object

if TYPE_CHECKING:
    from pathlib import Path

FIXTURES = content("fixtures") / "manifests"
CHECKS = {check.slug: check for check in registry.load(kind="manifest").checks}
TGI = "ghcr.io/huggingface/text-generation-inference:3.3.4"


def fixes(snapshot: Snapshot, slug: str) -> list[str]:
    result = audit.run(snapshot, PROFILES["production"], [CHECKS[slug]])
    return [row.fix for row in rows(result).findings]


@pytest.mark.parametrize(
    ("fixture", "said", "never"),
    [
        ("max-model-len/bad-sglang", "Set --context-length to", "--max-model-len"),
        ("max-model-len/bad-not-set", "Set --max-model-len to", "--context-length"),
        ("rolling-update/bad-statefulset", "Use a Deployment", "maxSurge"),
        (
            "rolling-update/bad-leaderworkerset-default",
            "spec.rolloutStrategy.rollingUpdateConfiguration.maxSurge to 1",
            "spec.strategy",
        ),
        ("rolling-update/bad-daemonset-default", "spec.updateStrategy", "spec.strategy"),
        ("rolling-update/bad-rollout-default", "spec.strategy.canary.maxSurge", "rollingUpdate"),
        ("rolling-update/bad-one-unavailable", "maxSurge: 1 under spec.strategy", "canary"),
        ("one-scaler/bad-replicas-written", "Leave spec.replicas out", "ScaledObject"),
        ("one-scaler/bad-two-scaled-objects", "into one ScaledObject", "Leave spec.replicas"),
        ("one-scaler/bad-hpa-without-api-version", "Add apiVersion: apps/v1", "ScaledObject"),
    ],
)
def test_a_fix_names_what_there_is_to_change(fixture: str, said: str, never: str) -> None:
    (fix,) = fixes(files.read([FIXTURES / f"{fixture}.yaml"]), fixture.partition("/")[0])
    assert said in fix
    assert never not in fix


def test_the_queue_that_is_named_is_the_engines_own() -> None:
    scaler = scaled_object(triggers=[{"type": "cpu", "metadata": {"value": "80"}}])
    tgi = deployment(image=TGI, args=["--model-id=meta-llama/Llama-3.1-8B-Instruct"])
    for obj, metric in ((tgi, "tgi_queue_size"), (deployment(), "vllm:num_requests_waiting")):
        (fix,) = fixes(Snapshot.of([obj, scaler]), "scaling-signal")
        assert fix == f"Use a Prometheus trigger on {metric} or on a latency quantile."


@pytest.mark.parametrize("slug", ["startup-budget", "readiness-probe"])
def test_the_probe_to_add_asks_the_port_at_which_the_engine_listens(slug: str) -> None:
    obj = deployment(
        args=[*CONTAINER["args"], "--port=9000"], startupProbe=None, readinessProbe=None
    )
    (fix,) = fixes(Snapshot.of([obj]), slug)
    assert "{path: /health, port: 9000}" in fix


def test_workloads_that_differ_in_their_number_have_the_same_fix(tmp_path: Path) -> None:
    """Of a family, and of twins, the first are judged; what is said of them is said of the rest."""
    obj = deployment(image="lmsysorg/sglang:v0.5.2-cu126", args=["--model-path=Qwen/Qwen3-8B"])
    text = yaml.safe_dump(obj)
    documents = [text.replace("name: llama\n", f"name: llama-{number}\n") for number in range(5)]
    (tmp_path / "a.yaml").write_text("---\n".join(documents))
    said = fixes(files.read([tmp_path]), "max-model-len")
    assert len(said) == 5
    assert set(said) == {said[0]}
    assert "--context-length" in said[0]
