"""Writes what stands beside each rule: its policy, and Kyverno's own test of it.

The test's resources are the check's own manifests in ``fixtures/``, each object named after its
file; what is expected of them is what the audit says. Run by ``make policies``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drainproof.collect import files
from drainproof.collect.lines import steps
from drainproof.content import content
from drainproof.fix.apply import put, unshared
from drainproof.judge import audit
from drainproof.judge.profiles import PROFILES
from drainproof.judge.verdict import Severity, Verdict
from drainproof.model.kinds import DEFAULT_GRACE_PERIOD_S, kind_of
from drainproof.model.snapshot import Snapshot, items_of
from drainproof.policies import mutating, reach, write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from drainproof.judge.profiles import Profile
    from drainproof.judge.registry import Check
    from drainproof.model.shape import Raw

SETTINGS = write.Settings(profile=PROFILES["production"], action="Audit")
"""What the policies in the repository are written with."""
TEST = "kyverno-test.yaml"
MISSING = {
    "shared-memory": "nothing is mounted at /dev/shm",
    "prestop-delay": "no preStop hook",
}
"""How the findings begin that a MutatingPolicy mends, by check."""
_GRACE = "terminationGracePeriodSeconds"
_RESULTS = {"good": "pass", "bad": "fail"}
_FROM = "# From fixtures/manifests/{slug}, by `make policies`.\n"


def contents(check: Check) -> dict[str, str]:
    """Return what stands beside a check's rule: text by the file's name."""
    sorts: dict[str, list[Raw]] = {"good": [], "bad": []}
    for obj in _fixtures(check.slug):
        found = errors(obj, [check], SETTINGS.profile)[check.slug]
        if not (found and (reach.unseen(obj) or reach.unseen_replicas(check.slug, obj))):
            sorts["bad" if found else "good"].append(obj)
    said = _FROM.format(slug=check.slug)
    return {
        "policy.yaml": write.policy(check, SETTINGS),
        TEST: said + write.dumped(_test(check, sorts)),
        **{
            f"{sort}.yaml": said + "---\n".join(map(write.dumped, objects))
            for sort, objects in sorts.items()
        },
    }


def mutating_contents(check: Check) -> dict[str, str]:
    """Return what stands beside the rule that adds what a check misses: text by the file's name.

    What is expected is what the check itself takes for a repair.
    """
    objects = list(_fixtures(check.slug))
    added = [(obj, mended(obj, check, SETTINGS.profile)) for obj in objects]
    changed = [(obj, after) for obj, after in added if after is not None]
    said = _FROM.format(slug=check.slug)
    return {
        "policy.yaml": mutating.policy(check, SETTINGS),
        TEST: said + write.dumped(_mutating_test(check, [obj for obj, _ in changed])),
        "resources.yaml": said + "---\n".join(write.dumped(obj) for obj, _ in changed),
        "patched.yaml": said + "---\n".join(write.dumped(after) for _, after in changed),
    }


def mended(obj: Raw, check: Check, profile: Profile) -> Raw | None:
    """Return an object with what a check misses in it; None if nothing is to be added.

    That is the check's own repair, if the check has no more to say then; and where a preStop hook
    takes its time out of the grace period, this is longer by as much. Knative, whose grace period
    is another field, takes no hook at all.
    """
    kind, hook = kind_of(obj), check.slug == "prestop-delay"
    if hook and (kind is None or kind.grace_field != _GRACE):
        return None
    result = audit.run(Snapshot(items_of(obj, None)), profile, [check])
    after = unshared(obj)
    for _, item in result.findings:
        if not item.message.startswith(MISSING[check.slug]) or not item.repair:
            continue
        for path, value in item.repair.items():
            put(after, steps(path), unshared(value))
        if hook:
            pod = item.path.partition(".containers[")[0]
            grace = [*map(str, steps(pod)), _GRACE]
            known = reach.at(obj, *grace)
            before = DEFAULT_GRACE_PERIOD_S if known is None else known
            put(after, grace, before + int(profile.prestop_good_s))
    return None if after == obj or errors(after, [check], profile)[check.slug] else after


def errors(obj: Raw, checks: Sequence[Check], profile: Profile) -> Mapping[str, list[str]]:
    """Return what the audit says of one object by itself that a policy says too, by check.

    That is the messages of errors, and of warnings where the check is one that warns. Nothing is
    said of an object that can't be read.
    """
    snapshot = Snapshot(items_of(obj, None))
    result = audit.run(snapshot, profile, checks)
    said: dict[str, list[str]] = {check.slug: [] for check in checks}
    for outcome, item in result.findings:
        counts = item.severity is Severity.ERROR or write.warns(outcome.check)
        if item.verdict is Verdict.FAIL and counts:
            said[outcome.check.slug].append(item.message)
    return said


def _fixtures(slug: str) -> Iterator[Raw]:
    """Yield the objects of a check's manifests that policies match, named after their files."""
    for file in sorted((content("fixtures") / "manifests" / slug).glob("*.yaml")):
        found = [item.object for item in files.read([file]).items if reach.is_matched(item.object)]
        for index, obj in enumerate(found):
            name = file.stem if index == 0 else f"{file.stem}-{index}"
            yield {**obj, "metadata": {**obj["metadata"], "name": name}}


def _test(check: Check, sorts: Mapping[str, Sequence[Raw]]) -> dict[str, Any]:
    results = [
        {
            "policy": write.PREFIX + check.slug,
            "isValidatingPolicy": True,
            "kind": kind,
            "result": _RESULTS[sort],
            "resources": [obj["metadata"]["name"] for obj in objects if obj["kind"] == kind],
        }
        for sort, objects in sorts.items()
        for kind in sorted({obj["kind"] for obj in objects})
    ]
    return {
        "apiVersion": "cli.kyverno.io/v1alpha1",
        "kind": "Test",
        "metadata": {"name": check.slug},
        "policies": ["policy.yaml"],
        "resources": [f"{sort}.yaml" for sort in sorts],
        "results": results,
    }


def _mutating_test(check: Check, objects: Sequence[Raw]) -> dict[str, Any]:
    results = [
        {
            "policy": mutating.PREFIX + check.slug,
            "isMutatingPolicy": True,
            "kind": kind,
            "result": "pass",
            "patchedResources": "patched.yaml",
            "resources": [obj["metadata"]["name"] for obj in objects if obj["kind"] == kind],
        }
        for kind in sorted({obj["kind"] for obj in objects})
    ]
    return {
        "apiVersion": "cli.kyverno.io/v1alpha1",
        "kind": "Test",
        "metadata": {"name": mutating.PREFIX.removeprefix(write.PREFIX) + check.slug},
        "policies": ["policy.yaml"],
        "resources": ["resources.yaml"],
        "results": results,
    }


def main() -> None:
    """Write the files of all checks that have a rule."""
    for check in write.enforced():
        _write(write.folder() / check.slug, contents(check))
        if mutating.mends(check):
            _write(mutating.folder(check), mutating_contents(check))


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
