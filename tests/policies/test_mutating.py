"""What adds a missing field, by Kyverno's own command line: as the check repairs it, and once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from drainproof.collect import files
from drainproof.content import content
from drainproof.errors import UserError
from drainproof.policies import folder, kyverno, mutating, reach, write
from drainproof.policies.command import policies
from tests.policies.judging import as_stored

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drainproof.judge.registry import Check
    from drainproof.model.shape import Raw

MENDED = [check for check in write.enforced() if mutating.mends(check)]
PRODUCTION = folder.SETTINGS.profile
FOLDERS = (*(check.slug for check in MENDED), "grace-period", "gpu-limits", "engine-drains")
"""Of whose manifests it is asked what would be added."""

each_check = pytest.mark.parametrize("check", MENDED, ids=lambda check: check.slug)


def said(*arguments: str) -> str:
    return CliRunner().invoke(policies, arguments, catch_exceptions=False).stdout


def manifests() -> list[Raw]:
    """Return objects of many kinds, each with a name of its own."""
    found = [
        as_stored(item.object)
        for slug in FOLDERS
        for file in sorted((content("fixtures") / "manifests" / slug).glob("*.yaml"))
        for item in files.read([file]).items
        if reach.is_matched(item.object) and not reach.unseen(item.object)
    ]
    found += kinds(next(obj for obj in found if obj["kind"] == "Deployment"))
    for number, obj in enumerate(found):
        obj["metadata"] = {**obj["metadata"], "name": f"one-{number}"}
    return found


def kinds(deployment: Raw) -> list[Raw]:
    """Return a Deployment's pods, without what is added to them, in an object of each kind."""
    template = json.loads(json.dumps(deployment["spec"]["template"]))
    (engine,) = template["spec"]["containers"]
    for field in ("lifecycle", "volumeMounts"):
        engine.pop(field, None)
    for field in ("volumes", "terminationGracePeriodSeconds"):
        template["spec"].pop(field, None)
    bare = {"metadata": {"namespace": "inference"}, "spec": {"template": template}}
    group = {"leaderTemplate": template, "workerTemplate": template, "size": 2}
    metadata = bare["metadata"]
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", **bare},
        {"apiVersion": "batch/v1", "kind": "Job", **bare},
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": metadata,
            "spec": {"schedule": "@daily", "jobTemplate": {"spec": bare["spec"]}},
        },
        {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", **bare},
        {
            "apiVersion": "leaderworkerset.x-k8s.io/v1",
            "kind": "LeaderWorkerSet",
            "metadata": metadata,
            "spec": {"replicas": 2, "leaderWorkerTemplate": group},
        },
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": metadata,
            "spec": {"predictor": template["spec"]},
        },
    ]


def mutated(program: Path, work: Path, checks: Sequence[Check], objects: list[Raw]) -> list[Raw]:
    """Return the objects as Kyverno changes them by the policies of some checks."""
    work.mkdir()
    files = []
    for check in checks:
        files.append(work / f"{check.slug}.yaml")
        files[-1].write_text(mutating.policy(check, folder.SETTINGS), encoding="utf-8")
    (work / "objects.yaml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    options = ("--resource", work / "objects.yaml", "--output", work / "out.yaml")
    ran = kyverno.run(program, "apply", *files, *options)
    assert ran.returncode == 0, ran.stderr
    by_name = {obj["metadata"]["name"]: obj for obj in objects}
    text = (work / "out.yaml").read_text(encoding="utf-8")
    by_name |= {obj["metadata"]["name"]: obj for obj in yaml.safe_load_all(text) if obj}
    return list(by_name.values())


@each_check
def test_what_stands_beside_a_rule_is_what_it_gives(check: Check) -> None:
    """``make policies`` writes them anew."""
    there = {path.name: path.read_text("utf-8") for path in mutating.folder(check).iterdir()}
    assert there.pop(write.RULE)
    assert there == folder.mutating_contents(check)


@each_check
def test_kyverno_adds_what_the_check_takes_for_a_repair(programs: Path, check: Check) -> None:
    ran = kyverno.tested(programs / "kubectl-kyverno", mutating.folder(check))
    assert ran.passed, ran.said


@each_check
def test_objects_of_all_kinds_are_mended_as_the_check_repairs_them_and_once(
    programs: Path, tmp_path: Path, check: Check
) -> None:
    """What is whole stays as it is; what was mended passes the audit, and is not mended again."""
    program, objects = programs / "kubectl-kyverno", manifests()
    once = mutated(program, tmp_path / "once", [check], objects)
    wanted = [folder.mended(obj, check, PRODUCTION) for obj in objects]
    expected = [obj if after is None else after for obj, after in zip(objects, wanted, strict=True)]
    assert {
        obj["metadata"]["name"]: (obj, after)
        for obj, after in zip(once, expected, strict=True)
        if obj != after
    } == {}
    changed = [after for after in wanted if after is not None]
    assert {"Deployment", "Pod", "CronJob", "LeaderWorkerSet"} <= {one["kind"] for one in changed}
    assert [folder.errors(obj, [check], PRODUCTION)[check.slug] for obj in changed] == [
        [] for _ in changed
    ]
    assert mutated(program, tmp_path / "twice", [check], once) == once


def test_both_together_add_both(programs: Path, tmp_path: Path) -> None:
    objects = manifests()[-7:]
    both = mutated(programs / "kubectl-kyverno", tmp_path / "both", MENDED, objects)
    for obj in both:
        found = folder.errors(obj, MENDED, PRODUCTION)
        assert found == {check.slug: [] for check in MENDED}, obj["kind"]


def test_export_writes_them_only_when_it_is_asked_to() -> None:
    assert "MutatingPolicy" not in said("export")
    found = list(yaml.safe_load_all(said("export", "--as", "MutatingPolicy")))
    assert [(obj["kind"], obj["metadata"]["name"]) for obj in found] == [
        ("MutatingPolicy", f"drainproof-mend-{check.slug}") for check in MENDED
    ]


def test_their_numbers_are_the_profiles_and_their_namespaces_are_chosen() -> None:
    options = ("--as", "MutatingPolicy", "--namespace-selector", "team=llm")
    found: dict[str, Any] = yaml.safe_load(said("export", "prestop-delay", *options))
    selector = found["spec"]["matchConstraints"]["namespaceSelector"]
    assert selector == {"matchLabels": {"team": "llm"}}
    assert f"int({PRODUCTION.prestop_good_s:g})" in found["spec"]["variables"][-1]["expression"]


def test_what_is_not_safe_to_add_has_no_such_policy() -> None:
    with pytest.raises(UserError, match="grace-period has no MutatingPolicy: what it wants is not"):
        said("export", "grace-period", "--as", "MutatingPolicy")
