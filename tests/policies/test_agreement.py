"""One truth: a policy and its check give the same verdict, in the same words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings

from drainproof.collect import files
from drainproof.content import content
from drainproof.judge.profiles import PROFILES
from drainproof.policies import reach, write
from drainproof.policies.folder import errors
from tests.policies.generated import workloads
from tests.policies.judging import Judge, as_stored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drainproof.model.shape import Raw

FIXTURES = content("fixtures") / "manifests"
FOLDERS = sorted(path for path in FIXTURES.iterdir() if path.is_dir())
PRODUCTION = PROFILES["production"]
_OFTEN = 3
"""How many of the generated workloads, at least, a policy has to find good, and bad."""


def matched(folder: Path) -> list[tuple[Path, Raw]]:
    """Return the objects below a folder that policies match, with their files."""
    return [
        (file, as_stored(item.object))
        for file in sorted(folder.rglob("*.yaml"))
        for item in files.read([file]).items
        if reach.is_matched(item.object) and isinstance(item.object.get("metadata"), dict)
    ]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_policies_judge_every_fixture_as_the_audit_does(judge: Judge, folder: Path) -> None:
    found = {
        f"{file.stem} {obj['kind']}": said
        for file, obj in matched(folder)
        if (said := judge.disagreements(obj))
    }
    assert found == {}


def test_few_fixtures_are_beyond_what_a_policy_sees() -> None:
    objects = [obj for _, obj in matched(FIXTURES)]
    assert len(objects) > 500
    assert sum(bool(reach.unseen(obj)) for obj in objects) < len(objects) / 10


@pytest.fixture(scope="module")
def production(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    found = Judge(
        programs / "judge", write.enforced(), PRODUCTION, tmp_path_factory.mktemp("policies")
    )
    yield found
    found.close()


_UNTOLD_HOOKS = (
    # one whose delay can't be told, one with a variable that is not there, which hides nothing
    ["sleep", "x"],
    ["sleep", "$(DELAY)"],
)


def with_a_flag_that_the_version_lacks(hook: list[str]) -> Raw:
    """Return a pod with such a flag beside a preStop hook."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "llama"},
        "spec": {
            "containers": [
                {
                    "name": "vllm",
                    "image": "vllm/vllm-openai:v0.17.0",
                    "args": ["--shutdown-timeout=120"],
                    "lifecycle": {"preStop": {"exec": {"command": hook}}},
                }
            ]
        },
    }


def test_policies_judge_generated_workloads_as_the_audit_does(production: Judge) -> None:
    """And each of them finds many to be good, and many to be bad."""

    @settings(max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
    @given(obj=workloads())
    @example(obj=with_a_flag_that_the_version_lacks(_UNTOLD_HOOKS[0]))
    @example(obj=with_a_flag_that_the_version_lacks(_UNTOLD_HOOKS[1]))
    def agrees(obj: Raw) -> None:
        assert production.disagreements(obj) == []

    production.given.clear()
    agrees()
    few = {
        f"{check.slug} {result}": times
        for check in production.checks
        for result in ("pass", "fail")
        if (times := production.given[check.slug, result]) < _OFTEN
    }
    assert few == {}


@pytest.mark.parametrize("slug", [check.slug for check in write.enforced()])
def test_what_one_kind_fails_for_all_kinds_fail_for(production: Judge, slug: str) -> None:
    """Kyverno's own rewriting of a rule for pods has no part in it."""
    bad = next(
        obj
        for _, obj in matched(FIXTURES / slug)
        if obj["kind"] == "Deployment"
        and errors(obj, production.checks, PRODUCTION)[slug]
        and not reach.unseen(obj)
    )
    template = bad["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "llama"}, **template}
    job = {"template": template}
    kinds = {
        "Pod": {**pod, "metadata": {**template.get("metadata", {}), "name": "llama"}},
        "StatefulSet": {**bad, "kind": "StatefulSet"},
        "DaemonSet": {**bad, "kind": "DaemonSet"},
        "ReplicaSet": {**bad, "kind": "ReplicaSet"},
        "ReplicationController": {**bad, "apiVersion": "v1", "kind": "ReplicationController"},
        "Rollout": {**bad, "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"},
        "Job": {**bad, "apiVersion": "batch/v1", "kind": "Job", "spec": job},
        "CronJob": {
            **bad,
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "spec": {"jobTemplate": {"spec": job}},
        },
    }
    found = {kind: production.disagreements(as_stored(obj)) for kind, obj in kinds.items()}
    assert {kind: said for kind, said in found.items() if said} == {}
    judged = {kind for kind, obj in kinds.items() if slug in production.verdicts(obj)}
    assert judged == set(kinds)


def test_a_statefulset_of_which_an_autoscaler_may_keep_more_is_let_in(production: Judge) -> None:
    """The API server writes 1 where no number is, and the audit only warns of 2 or more."""
    bad = next(
        obj
        for file, obj in matched(FIXTURES / "rolling-update")
        if file.stem == "bad-statefulset-alone"
    )
    assert errors(bad, production.checks, PRODUCTION)["rolling-update"]
    for spec in (bad["spec"], {**bad["spec"], "replicas": 1}):
        assert production.verdicts({**bad, "spec": spec})["rolling-update"][0] == "pass"


def test_what_a_controller_made_is_not_judged(production: Judge) -> None:
    bad = next(obj for _, obj in matched(FIXTURES / "grace-period") if obj["kind"] == "Deployment")
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "controller": True}
    owned = {**bad, "kind": "ReplicaSet"}
    owned["metadata"] = {**bad["metadata"], "ownerReferences": [owner]}
    assert {result for result, _ in production.verdicts(owned).values()} == {"skip"}


def test_a_policy_with_another_number_disagrees(
    programs: Path, tmp_path: Path, production: Judge
) -> None:
    """The comparison itself can fail: these policies hold to another profile than the audit."""
    lenient = Judge(programs / "judge", write.enforced(), PROFILES["dev"], tmp_path)
    lenient.profile = PRODUCTION
    obj = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "llama"},
        "spec": {
            "terminationGracePeriodSeconds": 90,
            "containers": [
                {
                    "name": "vllm",
                    "image": "vllm/vllm-openai:v0.32.0",
                    "args": ["--max-num-seqs=64"],
                }
            ],
        },
    }
    said = lenient.disagreements(json.loads(json.dumps(obj)))
    lenient.close()
    assert [item.partition(":")[0] for item in said] == ["grace-period"]
    assert production.disagreements(obj) == []
