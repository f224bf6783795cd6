"""What the checks on lifecycle and probes leave open, and how loud they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.judge.verdict import Severity, Verdict
from drainproof.model.snapshot import Snapshot
from tests.manifests import deployment

if TYPE_CHECKING:
    from drainproof.judge.audit import Outcome

CHECKS = registry.load(kind="manifest")


def outcome(slug: str, *objects: dict[str, Any], partial: bool = False) -> Outcome:
    snapshot = Snapshot.of(objects, partial=partial)
    (found,) = audit.run(snapshot, PROFILES["production"], [CHECKS.get(slug)]).outcomes
    return found


def script(text: str) -> dict[str, Any]:
    return deployment(command=["bash", "-c", text], args=None)


def hook(**form: object) -> dict[str, Any]:
    return deployment(lifecycle={"preStop": form})


def budget(**spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "llama", "namespace": "inference"},
        "spec": {"selector": {"matchLabels": {"app": "llama"}}, **spec},
    }


@pytest.mark.parametrize(
    ("slug", "obj"),
    [
        ("grace-period", hook(exec={"command": ["/scripts/stop.sh"]})),
        ("prestop-delay", hook(exec={"command": ["/scripts/stop.sh"]})),
        ("prestop-delay", hook(httpGet={"path": "/wait-for-drain", "port": 8022})),
        ("signal-reaches-engine", deployment(command=["/scripts/start.sh"])),
        ("signal-reaches-engine", script("exec /scripts/start.sh")),
        ("engine-drains", deployment(args=["--model=m", "--shutdown-timeout=$(SECONDS)"])),
        ("engine-drains", script('[ $A ] && B="--shutdown-timeout 90"; exec vllm serve m $B')),
        ("engine-drains", deployment(image="nvcr.io/nim/meta/llama3-8b-instruct:1.8.0", args=None)),
        ("readiness-probe", deployment(readinessProbe={"exec": {"command": ["/probe.sh"]}})),
    ],
)
def test_what_cannot_be_told_is_no_pass(slug: str, obj: dict[str, Any]) -> None:
    assert outcome(slug, obj).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("partial", "expected"), [(True, Severity.WARNING), (False, Severity.ERROR)]
)
def test_a_missing_budget_is_an_error_only_where_all_is_seen(
    partial: bool,  # noqa: FBT001 - a case
    expected: Severity,
) -> None:
    (finding,) = outcome("disruption-budget", deployment(), partial=partial).findings
    assert finding.severity is expected


def test_a_budget_points_at_its_own_field() -> None:
    (finding,) = outcome("disruption-budget", deployment(), budget(maxUnavailable=0)).findings
    assert (finding.object, finding.path) == (
        "PodDisruptionBudget/inference/llama",
        "spec.maxUnavailable",
    )


@pytest.mark.parametrize(("policy", "assumptions"), [("IfHealthyBudget", 1), ("AlwaysAllow", 0)])
def test_a_budget_that_waits_for_unhealthy_replicas_rests_on_an_assumption(
    policy: str, assumptions: int
) -> None:
    found = outcome(
        "disruption-budget",
        deployment(),
        budget(maxUnavailable=1, unhealthyPodEvictionPolicy=policy),
    )
    assert found.verdict is Verdict.PASS
    assert len(found.assumptions) == assumptions


@pytest.mark.parametrize(
    ("update", "severity"),
    [({"replicas": 3}, Severity.WARNING), ({"replicas": 1}, Severity.ERROR)],
)
def test_a_stateful_set_is_an_error_where_nothing_else_answers(
    update: dict[str, Any], severity: Severity
) -> None:
    obj = {**deployment(), "kind": "StatefulSet"}
    del obj["spec"]["strategy"]
    obj["spec"] |= update
    (finding,) = outcome("rolling-update", obj).findings
    assert finding.severity is severity


def test_bash_with_a_single_command_only_warns() -> None:
    (finding,) = outcome("signal-reaches-engine", script("vllm serve m")).findings
    assert finding.severity is Severity.WARNING
