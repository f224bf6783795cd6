"""What the checks on images, weights and secrets leave open, and what they never say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.judge.verdict import Severity, Verdict
from drainproof.model.snapshot import Snapshot
from tests.manifests import deployment, scaled_object

if TYPE_CHECKING:
    from drainproof.judge.audit import Outcome

CHECKS = registry.load(kind="manifest")
WRITTEN = "hf_ThisIsNotARealTokenOnlyItsForm01234"


def outcome(slug: str, *objects: dict[str, Any], partial: bool = False) -> Outcome:
    snapshot = Snapshot.of(objects, partial=partial)
    (found,) = audit.run(snapshot, PROFILES["production"], [CHECKS.get(slug)]).outcomes
    return found


def pod(obj: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = obj["spec"]["template"]["spec"]
    return spec


def with_claim(*, at: str = "/root/.cache/huggingface", **container: object) -> dict[str, Any]:
    mounts = [{"name": "models", "mountPath": at}]
    obj = deployment(volumeMounts=mounts, **container)
    claim = {"name": "models", "persistentVolumeClaim": {"claimName": "models"}}
    pod(obj)["volumes"] = [claim]
    return obj


def claim(*modes: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models", "namespace": "inference"},
        "spec": {"accessModes": list(modes)},
    }


@pytest.mark.parametrize("image", ["${IMAGE}", "vllm/vllm-openai:<version>", "$(IMAGE)"])
def test_an_image_that_is_filled_in_later_is_no_pass(image: str) -> None:
    args = ["vllm", "serve", "m"]
    assert outcome("pinned-image", deployment(image=image, command=args)).verdict == "inconclusive"


def test_a_missing_claim_is_an_error_only_where_all_is_seen() -> None:
    seen = [
        outcome("model-cache", with_claim(), partial=partial).findings[0].severity
        for partial in (False, True)
    ]
    assert seen == [Severity.ERROR, Severity.WARNING]


def test_a_variable_that_is_elsewhere_may_move_the_cache() -> None:
    """The volume that is mounted may be where the variable says; that is said, not assumed away."""
    settings = [{"configMapRef": {"name": "settings"}}]
    found = outcome("model-cache", with_claim(at="/models", envFrom=settings), claim())
    assert found.verdict is Verdict.PASS
    assert "/models" in found.assumptions[0].message


def test_a_model_that_is_not_named_is_no_pass() -> None:
    assert outcome("model-cache", deployment(args=["--model=$(MODEL)"])).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("replicas", "most", "severity"),
    [(1, 1, Severity.WARNING), (2, 2, Severity.ERROR), (1, 3, Severity.ERROR)],
)
def test_a_claim_for_one_node_fails_by_the_most_replicas_there_may_be(
    replicas: int, most: int, severity: Severity
) -> None:
    obj = with_claim()
    obj["spec"]["replicas"] = replicas
    scaler = scaled_object(minReplicaCount=1, maxReplicaCount=most)
    found = outcome("model-cache", obj, claim("ReadWriteOnce"), scaler)
    assert [item.severity for item in found.findings] == [severity]


def test_a_claim_that_many_nodes_can_mount_passes_whatever_else_it_allows() -> None:
    found = outcome("model-cache", with_claim(), claim("ReadWriteOnce", "ReadOnlyMany"))
    assert found.verdict is Verdict.PASS


@pytest.mark.parametrize("slug", ["no-inline-secrets", "token-from-secret"])
def test_a_secret_is_named_by_its_place_and_never_shown(slug: str) -> None:
    obj = deployment(
        env=[{"name": "HF_TOKEN", "value": WRITTEN}], args=["--model=/m", f"--api-key={WRITTEN}"]
    )
    found = outcome(slug, obj)
    assert {item.path.rpartition("]")[0] + "]" for item in found.findings} == {
        "spec.template.spec.containers[0].env[0]",
        "spec.template.spec.containers[0].args[1]",
    }
    assert WRITTEN not in repr([(item.message, item.path, item.repair) for item in found.findings])


def test_secrets_of_other_containers_count_too() -> None:
    obj = deployment()
    pod(obj)["initContainers"] = [
        {"name": "fetch", "image": "a:1.0.0", "env": [{"name": "HF_TOKEN", "value": "written"}]}
    ]
    found = outcome("token-from-secret", obj)
    assert found.findings[0].path == "spec.template.spec.initContainers[0].env[0].value"


def test_a_variable_that_refers_to_a_secret_one_is_no_second_secret() -> None:
    env = [{"name": "HF_TOKEN", "value": WRITTEN}, {"name": "HUB_TOKEN", "value": "$(HF_TOKEN)"}]
    (found,) = outcome("token-from-secret", deployment(env=env)).findings
    assert found.path.endswith("env[0].value")


@pytest.mark.parametrize(
    ("script", "count"),
    [
        ("export HF_TOKEN=abcd1234; exec vllm serve m", 1),
        ("HF_TOKEN='abcd 1234' exec vllm serve m", 1),
        ("export HF_TOKEN=$(cat /run/token) API_KEY=$KEY MAX_TOKENS=12; exec vllm serve m", 0),
        ("HF_TOKEN= exec vllm serve m", 0),
    ],
)
def test_a_secret_that_a_script_sets_is_written_out(script: str, count: int) -> None:
    obj = deployment(command=["sh", "-c"], args=[script])
    found = outcome("token-from-secret", obj).findings
    assert [item.path for item in found] == ["spec.template.spec.containers[0].args[0]"] * count
    assert not any("1234" in item.message for item in found)
