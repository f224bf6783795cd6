"""Workloads that differ in nothing but names and labels are judged once, and alike."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.collect import files
from drainproof.content import content
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.model.snapshot import Snapshot
from tests.manifests import deployment

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.model.workload import Workload

CHECKS = registry.load(kind="manifest").checks
ALONE = [check for check in CHECKS if audit.ALONE.issuperset(check.arguments)]
FIXTURES = content("fixtures") / "manifests"
FILES = sorted(path for check in ALONE for path in (FIXTURES / check.slug).glob("*.yaml"))
Said = list[tuple[str, str, str, str, str]]


def said(objects: list[dict[str, Any]], name: str) -> Said:
    """Return what the checks say of the workload of a name, all that a user would read."""
    result = audit.run(Snapshot.of(objects), PROFILES["production"], ALONE)
    return [
        (outcome.check.slug, item.verdict, item.path, item.message, str(sorted(item.repair)))
        for outcome in result.notable
        if outcome.subject.name == name
        for item in (*outcome.findings, *outcome.assumptions)
    ]


def renamed(obj: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of another name, other labels, and another namespace."""
    made = copy.deepcopy(obj)
    made["metadata"] |= {"name": "twin", "namespace": "elsewhere", "labels": {"app": "twin"}}
    spec = made.get("spec")
    template = spec.get("template") if isinstance(spec, dict) else None
    if isinstance(template, dict):
        template.setdefault("metadata", {})["labels"] = {"app": "twin"}
    return made


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_twin_gets_the_same_verdicts_as_on_its_own(path: Path) -> None:
    objects = list(files.read([path]).objects)
    twins = [renamed(obj) for obj in objects if obj.get("kind") in audit.TEMPLATED]
    if not twins:
        assert not any(obj.get("kind") in audit.TEMPLATED for obj in objects)
        return
    others = [obj for obj in objects if obj.get("kind") not in audit.TEMPLATED]
    assert said([*objects, *twins], "twin") == said([*others, *twins], "twin")


def test_a_check_that_asks_for_the_workload_alone_runs_once_for_all_twins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[tuple[str, str]] = []
    judge = audit.judge

    def counted(check: Any, offered: Any) -> Any:  # noqa: ANN401 - passed on
        ran.append((check.id, offered["workload"].name))
        return judge(check, offered)

    monkeypatch.setattr(audit, "judge", counted)
    objects = [deployment(), renamed(deployment())]
    result = audit.run(Snapshot.of(objects), PROFILES["production"], CHECKS)
    once = {check.id for check in ALONE}
    assert {name for _, name in ran} == {"llama", "twin"}
    assert {check_id for check_id, name in ran if name == "twin"}.isdisjoint(once)
    assert [subject.name for subject, _ in result.judged] == ["llama", "twin"]


def test_what_is_said_of_a_twin_points_into_the_twin() -> None:
    objects = [deployment(volumeMounts=None), renamed(deployment(volumeMounts=None))]
    result = audit.run(Snapshot.of(objects), PROFILES["production"], ALONE)
    places = {item.object for outcome, item in result.findings if outcome.check.id == "DP301"}
    assert places == {"Deployment/inference/llama", "Deployment/elsewhere/twin"}


def test_a_difference_anywhere_in_the_pods_makes_no_twin() -> None:
    other = renamed(deployment(volumeMounts=None))
    objects = [deployment(), other]
    assert said(objects, "twin") != said(objects, "llama")


def test_what_is_made_of_a_pod_template_is_made_once_for_all_twins() -> None:
    made: list[str] = []

    def note(workload: Workload) -> int:
        made.append(workload.name)
        return len(made)

    other = renamed(deployment())
    other["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 77
    first, twin, different = Snapshot.of([deployment(), renamed(deployment()), other]).workloads
    assert (first.once(note), twin.once(note), different.once(note)) == (1, 1, 2)
    assert made == ["llama", "twin"]
