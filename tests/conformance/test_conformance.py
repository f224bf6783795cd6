from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib.resources import files as resources
from typing import TYPE_CHECKING

import msgspec
import orjson
import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from drainproof.conformance import evidence, form, levels
from drainproof.conformance.compare import compare
from drainproof.conformance.results import report
from drainproof.faults.snapshot import snapshot as manifest
from drainproof.judge import registry
from drainproof.judge.profiles import PROFILES
from drainproof.model.snapshot import Item, Snapshot
from drainproof.report import conformance
from drainproof.streams.history import Header, Pod, to_line
from tests.judge.climb import Climb
from tests.judge.story import Story
from tests.manifests import deployment, service
from tests.report.audits import HOSTILE
from tests.report.runs import cut

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drainproof.conformance.form import Report
    from drainproof.streams.history import Record
    from tests.commands import Done
    from tests.manifests import Raw

SCHEMA = orjson.loads((resources("drainproof.report") / "conformance.schema.json").read_bytes())
DIGEST = "sha256:" + "a1" * 32
OTHER = "sha256:" + "b2" * 32
CHECKS = {item.slug: item for item in registry.load().checks}


def named(name: str = "vllm", **container: object) -> Raw:
    """Return the deployment under the name that the runs' target has."""
    obj = deployment(**container)
    obj["metadata"]["name"] = name
    return obj


def reached() -> Raw:
    """Return the Service that sends requests to it."""
    obj = service()
    obj["spec"]["ports"][0]["targetPort"] = 8000
    return obj


def pod(name: str, digest: str = "", owner: str = "vllm") -> Raw:
    """Return a running pod of the deployment."""
    owned = {"kind": "Deployment", "name": owner, "controller": True}
    state = {"name": "vllm", "ready": True, "imageID": f"docker.io/vllm/vllm-openai@{digest}"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "inference", "ownerReferences": [owned]},
        "spec": {"containers": [{"name": "vllm"}]},
        "status": {"phase": "Running", "containerStatuses": [state] if digest else []},
    }


def saved(folder: Path, *objects: Raw, partial: bool = False, version: str = "v1.34.1") -> Path:
    """Save a Snapshot as an audit does."""
    path = folder / "snapshot.json"
    found = Snapshot(
        [Item(obj) for obj in objects or (named(), reached(), pod("a", DIGEST))],
        partial=partial,
        taken_at=1_790_000_000.0,
        source="context prod, all namespaces",
        cluster_version=version,
    )
    path.write_bytes(found.to_json())
    return path


def ran(folder: Path, story: Story, *, digest: str = DIGEST, own: Raw | None = None) -> Path:
    """Write the evidence folder of a run."""
    folder.mkdir(exist_ok=True)
    (folder / "history.jsonl").write_bytes(
        b"".join(to_line(seen(record, digest)) for record in story.records())
    )
    if own is not None:
        (folder / "snapshot.json").write_bytes(manifest(own))
    return folder


def seen(record: Record, digest: str) -> Record:
    """Return a record with what an observer notes of images and of the cluster."""
    if isinstance(record, Header):
        return replace(record, target={**record.target, "cluster_version": "v1.34.1"})
    if isinstance(record, Pod) and digest:
        more = {"image": "vllm/vllm-openai:v0.32.0", "image_id": f"docker.io/vllm@{digest}"}
        return replace(record, containers=[{**one, **more} for one in record.containers])
    return record


def made(*paths: Path, profile: str = "production", wanted: str = "") -> Report:
    return report(evidence.gather(paths), PROFILES[profile], wanted)


def results(found: Report) -> dict[str, str]:
    return {one.check: one.result for one in found.checks}


# What the evidence shows


def test_a_run_and_a_snapshot_show_each_what_they_can(tmp_path: Path) -> None:
    said = results(made(saved(tmp_path), ran(tmp_path / "run", Story())))
    shown = ("engine-drains", "service-selects-pods", "rollout", "evict", "metric-is-fresh")
    assert [said[slug] for slug in shown] == ["passed", "passed", "passed", "not_run", "not_run"]
    assert said["has-scaler"] == "failed"


def test_every_check_that_applies_is_listed_once_with_its_level(tmp_path: Path) -> None:
    found = made(saved(tmp_path)).checks
    assert [one.check for one in found] == list(CHECKS)
    core = {one.check for one in found if one.level == "core"}
    assert {"rollout", "evict", "grace-period"} < core
    assert core.isdisjoint({"scale-out", "node-loss", "has-scaler", "max-num-seqs"})


def test_a_run_that_cut_streams_fails_and_says_why(tmp_path: Path) -> None:
    (rollout,) = [one for one in made(ran(tmp_path / "a", cut())).checks if one.check == "rollout"]
    assert rollout.result == "failed"
    assert "4 of 110 streams were cut off" in rollout.reasons


def test_a_run_that_proves_nothing_is_inconclusive(tmp_path: Path) -> None:
    found = made(ran(tmp_path / "a", Story(begin=None, end=None)))
    assert results(found)["rollout"] == "inconclusive"


def test_of_two_runs_of_a_fault_the_worse_holds(tmp_path: Path) -> None:
    found = made(ran(tmp_path / "a", cut()), ran(tmp_path / "b", Story()))
    assert results(found)["rollout"] == "failed"


def test_a_manifest_alone_does_not_fail_for_what_it_does_not_hold(tmp_path: Path) -> None:
    said = results(made(ran(tmp_path / "run", Story(), own=named())))
    assert (said["engine-drains"], said["disruption-budget"]) == ("passed", "not_run")
    assert said["endpoints-ready"] == "not_run"


def test_a_manifest_with_values_taken_out_is_not_judged(tmp_path: Path) -> None:
    """A secret that was redacted would pass for none."""
    obj = named(env=[{"name": "HF_TOKEN", "value": "hf_abcdefghijklmnopqrstuvwx"}])
    folder = ran(tmp_path / "run", Story(), own=obj)
    found = made(folder)
    said = results(found)
    assert (said["no-inline-secrets"], said["engine-drains"]) == ("not_run", "not_run")
    assert found.deployment.images[0].image == "vllm/vllm-openai:v0.32.0"
    assert results(made(folder, saved(tmp_path, obj)))["no-inline-secrets"] == "failed"


def test_a_snapshot_of_files_does_neither(tmp_path: Path) -> None:
    said = results(made(saved(tmp_path, named(), partial=True)))
    assert (said["engine-drains"], said["service-selects-pods"]) == ("passed", "not_run")


def test_a_waiver_does_not_count(tmp_path: Path) -> None:
    obj = named(lifecycle=None)
    waived = "{reason: short answers, owner: team-batch, expires: 2099-01-31}"
    obj["metadata"]["annotations"] = {"waive.drainproof.dev/prestop-delay": waived}
    assert results(made(saved(tmp_path, obj)))["prestop-delay"] == "failed"


def test_a_field_that_cannot_be_read_is_inconclusive(tmp_path: Path) -> None:
    obj = named()
    obj["spec"]["progressDeadlineSeconds"] = "soon"
    assert results(made(saved(tmp_path, obj)))["progress-deadline"] == "inconclusive"


def test_the_profile_is_what_was_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert results(made(path))["disruption-budget"] == "failed"
    found = made(path, profile="dev")
    assert (found.profile, results(found)["disruption-budget"]) == ("dev", "passed")


# What it is about


@pytest.mark.parametrize(
    ("image", "digest", "expected"),
    [
        ("vllm/vllm-openai:v0.32.0", DIGEST, DIGEST),
        (f"vllm/vllm-openai@{OTHER}", "", OTHER),
        (f"vllm/vllm-openai@{OTHER}", DIGEST, DIGEST),
        ("vllm/vllm-openai:v0.32.0", "", ""),
    ],
)
def test_an_image_is_named_by_what_runs_or_else_as_it_is_written(
    tmp_path: Path, image: str, digest: str, expected: str
) -> None:
    found = made(saved(tmp_path, named(image=image), pod("a", digest))).deployment.images
    assert [(one.container, one.image, one.digest) for one in found] == [("vllm", image, expected)]


def test_pods_that_run_two_images_are_seen(tmp_path: Path) -> None:
    found = made(saved(tmp_path, named(), pod("a", DIGEST), pod("b", OTHER)))
    assert [one.digest for one in found.deployment.images] == [DIGEST, OTHER]


def test_a_run_tells_of_images_and_cluster_by_itself(tmp_path: Path) -> None:
    found = made(ran(tmp_path / "run", Story()))
    (image,) = found.deployment.images
    assert (image.image, image.digest) == ("vllm/vllm-openai:v0.32.0", DIGEST)
    assert found.cluster == form.Cluster(sources=("context c",), version="v1.34.1")


def test_every_file_is_hashed(tmp_path: Path) -> None:
    path, folder = saved(tmp_path), ran(tmp_path / "run", Story(), own=named())
    found = made(path, folder)
    assert [one.file for one in found.evidence] == [
        "snapshot.json", "run/snapshot.json", "run/history.jsonl"
    ]  # fmt: skip
    for proof, file in zip(
        found.evidence, (path, folder / "snapshot.json", folder / "history.jsonl"), strict=True
    ):
        assert proof.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_another_byte_is_another_hash(tmp_path: Path) -> None:
    before = made(saved(tmp_path)).evidence
    path = tmp_path / "snapshot.json"
    path.write_bytes(path.read_bytes() + b" ")
    assert made(path).evidence != before


def test_the_same_evidence_gives_the_same_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert conformance.to_yaml(made(path)) == conformance.to_yaml(made(path))


# Features and requirements


def test_features_and_requirements_name_checks_that_there_are() -> None:
    named_there = {slug for slugs in levels.FEATURES.values() for slug in slugs}
    named_there |= {slug for one in levels.REQUIREMENTS for slug in one.checks}
    assert named_there <= CHECKS.keys()


@pytest.mark.parametrize(
    ("story", "word"),
    [
        (Climb(), "supported"),
        (Climb(replicas=((50, 1),)), "unsupported"),
        (Climb(begin=None, end=None), "unknown"),
        (Story(), "unknown"),
    ],
)
def test_a_feature_is_supported_only_if_it_was_shown(
    tmp_path: Path, story: Story, word: str
) -> None:
    found = msgspec.structs.asdict(made(ran(tmp_path / "run", story)).features)
    assert [name for name, features in found.items() if "scales-out" in features] == [word]


def test_a_requirement_is_evidence_and_never_a_certification(tmp_path: Path) -> None:
    scaling, metrics = made(saved(tmp_path)).kubernetes_ai_conformance
    assert (scaling.id, scaling.shown) == ("pod_autoscaling", "no")
    assert (metrics.id, metrics.shown) == ("ai_service_metrics", "no")
    assert all("no certification" in one.note for one in (scaling, metrics))


@pytest.mark.parametrize(
    ("gpus", "results_", "shown"),
    [
        (1, ("passed", "passed"), "yes"),
        (0, ("passed", "passed"), "partly"),
        (None, ("passed", "passed"), "partly"),
        (1, ("passed", "not_run"), "partly"),
        (1, ("passed", "failed"), "no"),
        (1, ("inconclusive", "not_run"), "not_shown"),
    ],
)
def test_autoscaling_is_shown_for_pods_with_accelerators_only(
    gpus: int | None, results_: tuple[form.Passed, form.Passed], shown: str
) -> None:
    from drainproof.conformance.results import _requirement  # noqa: PLC0415 - its own rule

    asked = levels.REQUIREMENTS[0]
    said = dict.fromkeys(asked.checks, results_[0]) | {asked.checks[-1]: results_[1]}
    assert _requirement(asked, said, gpus).shown == shown


# The form


@pytest.mark.parametrize("text", ["yaml", "json"])
def test_a_report_is_as_its_schema_says_and_is_read_back(tmp_path: Path, text: str) -> None:
    found = made(saved(tmp_path), ran(tmp_path / "run", cut(), own=named()))
    path = tmp_path / f"report.{text}"
    path.write_text(conformance.WRITERS[text](found), encoding="utf-8")
    Draft202012Validator(SCHEMA).validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert conformance.read(path) == found


@pytest.mark.parametrize(
    ("field", "value"),
    [("result", "certified"), ("level", "gold"), ("score", 5)],
)
def test_what_is_not_in_the_schema_is_refused(tmp_path: Path, field: str, value: object) -> None:
    found = msgspec.to_builtins(made(saved(tmp_path)))
    found["checks"][0][field] = value
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate(orjson.loads(orjson.dumps(found)))


def test_the_schema_has_each_field_of_the_form() -> None:
    parts = [part for part in vars(form).values() if isinstance(part, type)]
    structs = {
        part.__name__: part for part in parts if issubclass(part, msgspec.Struct)
    }.items() - {("Struct", msgspec.Struct)}
    assert {name for name, _ in structs} == set(SCHEMA["$defs"])
    for name, struct in structs:
        assert set(SCHEMA["$defs"][name]["properties"]) == set(struct.__struct_fields__)
    assert SCHEMA["$id"].endswith(f":{form.VERSION}")


@pytest.mark.parametrize("text", list(conformance.WRITERS))
def test_names_in_evidence_do_not_act_on_what_shows_them(tmp_path: Path, text: str) -> None:
    obj = named(HOSTILE, image=f"vllm/vllm-openai:{HOSTILE}")
    found = conformance.WRITERS[text](made(saved(tmp_path, obj)))
    assert "\x1b" not in found
    assert "##[" not in found
    assert not any(line.lstrip().startswith("::") for line in found.splitlines())


def test_a_report_for_people_says_what_did_not_pass(tmp_path: Path) -> None:
    said = conformance.to_terminal(made(saved(tmp_path), ran(tmp_path / "run", cut())))
    assert "  failed  rollout DP901\n      4 of 110 streams were cut off" in said
    assert f"vllm: vllm/vllm-openai:v0.32.0 {DIGEST}" in said
    assert "no certification" in said


# Two of them


def changed(tmp_path: Path, before: Story | None, after: Story | None) -> dict[str, str]:
    """Return what the comparison of two runs says, by check."""
    found = []
    for name, story in (("a", before), ("b", after)):
        folder = tmp_path / name
        folder.mkdir()
        paths = [saved(folder)]
        paths += [ran(folder / "run", story)] if story else []
        found.append(made(*paths))
    difference = compare(*found)
    return {one.check: f"{one.word}{', worse' * one.worsens}" for one in difference.changes} | {
        "": str(difference.worsens)
    }


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (Story(), Story(), None),
        (cut(), Story(), "better"),
        (Story(), cut(), "worse, worse"),
        (Story(), Story(begin=None, end=None), "worse, worse"),
        (None, Story(), "new"),
        (None, cut(), "new, worse"),
        (cut(), None, "gone"),
        (Story(), None, "gone, worse"),
    ],
)
def test_two_reports_compare(
    tmp_path: Path, before: Story | None, after: Story | None, said: str | None
) -> None:
    found = changed(tmp_path, before, after)
    assert found.get("rollout") == said
    assert found[""] == str(bool(said) and "worse" in str(said))


def test_another_image_is_a_change_and_nothing_worse(tmp_path: Path) -> None:
    before = made(saved(tmp_path, named(), pod("a", DIGEST)))
    after = made(saved(tmp_path, named(), pod("a", OTHER), pod("b", OTHER), partial=False))
    found = compare(before, after)
    assert not found.worsens
    assert [(one.what, DIGEST in one.before, OTHER in one.after) for one in found.others] == [
        ("image of vllm", True, True)
    ]


# The commands


def test_the_exit_code_is_that_of_the_core(tmp_path: Path, run: Callable[..., Done]) -> None:
    failed = run("conformance", ran(tmp_path / "a", cut()))
    open_ = run("conformance", ran(tmp_path / "b", Story()))
    assert (failed.code, open_.code) == (1, 3)


def test_a_worse_report_is_an_exit_code(tmp_path: Path, run: Callable[..., Done]) -> None:
    for name, story in (("good", Story()), ("bad", cut())):
        folder = ran(tmp_path / name, story)
        run("conformance", folder, "--format", f"yaml={tmp_path / name}.yaml")
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    worse, better, same = run("diff", good, bad), run("diff", bad, good), run("diff", good, good)
    assert (worse.code, better.code, same.code) == (1, 0, 0)
    assert worse.out.startswith("worse   rollout: passed → failed\n          4 of 110 streams")
    assert same.out == "The two say the same.\n"


def _no_report(tmp_path: Path) -> list[object]:
    path = tmp_path / "other.yaml"
    path.write_text("kind: Deployment\n", encoding="utf-8")
    return ["diff", path, path]


def _newer(tmp_path: Path) -> list[object]:
    path = tmp_path / "newer.yaml"
    path.write_text("kind: drainproof-conformance\nversion: 2\n", encoding="utf-8")
    return ["diff", path, path]


def _damaged(tmp_path: Path) -> list[object]:
    path = tmp_path / "damaged.yaml"
    path.write_text("kind: drainproof-conformance\nversion: 1\n", encoding="utf-8")
    return ["diff", path, path]


def _bomb(tmp_path: Path) -> list[object]:
    path = tmp_path / "bomb.yaml"
    rows = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(12)]
    path.write_text("\n".join(rows), encoding="utf-8")
    return ["diff", path, path]


def _not_yaml(tmp_path: Path) -> list[object]:
    path = tmp_path / "broken.yaml"
    path.write_text("kind: [\n", encoding="utf-8")
    return ["diff", path, path]


def _manifest(tmp_path: Path) -> list[object]:
    path = tmp_path / "deployment.yaml"
    path.write_text(yaml.safe_dump(named()), encoding="utf-8")
    return ["conformance", path]


def _two_targets(tmp_path: Path) -> list[object]:
    one = ran(tmp_path / "a", Story())
    two = ran(tmp_path / "b", Story())
    history = two / "history.jsonl"
    history.write_bytes(history.read_bytes().replace(b'"name":"vllm"', b'"name":"other"', 1))
    return ["conformance", one, two]


def _two_workloads(tmp_path: Path) -> list[object]:
    return ["conformance", saved(tmp_path, named("a"), named("b"))]


def _other_target(tmp_path: Path) -> list[object]:
    return ["conformance", ran(tmp_path / "a", Story()), "--workload", "deployment/else"]


def _not_there(tmp_path: Path) -> list[object]:
    return ["conformance", ran(tmp_path / "a", Story()), saved(tmp_path, named("else"))]


def _two_versions(tmp_path: Path) -> list[object]:
    return ["conformance", ran(tmp_path / "a", Story()), saved(tmp_path, version="v1.35.0")]


def _over_evidence(tmp_path: Path) -> list[object]:
    folder = ran(tmp_path / "a", Story())
    return ["conformance", folder, "--format", f"yaml={folder / 'history.jsonl'}"]


def _no_history(tmp_path: Path) -> list[object]:
    return ["conformance", tmp_path]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (_no_report, "other.yaml: expected a conformance report, found something else"),
        (_newer, "a conformance report of version 2; this drainproof reads version 1"),
        (_damaged, "a damaged conformance report: Object missing required field"),
        (_bomb, "bomb.yaml:"),
        (_not_yaml, "broken.yaml:2: not YAML or JSON"),
        (_manifest, "expected a Snapshot or the evidence folder of a chaos run, found neither"),
        (_two_targets, "expected chaos runs of one deployment, found Deployment/inference/other"),
        (_two_workloads, "expected one workload, found 2"),
        (_other_target, "expected evidence of deployment/else, found a chaos run of Deployment"),
        (_not_there, "expected the workload Deployment/vllm in inference, found"),
        (_two_versions, "expected evidence of one cluster, found versions v1.35.0, v1.34.1"),
        (_over_evidence, "the evidence itself, which would be overwritten"),
        (_no_history, "cannot read the History"),
    ],
)
def test_bad_input_is_one_clear_error(
    tmp_path: Path,
    run: Callable[..., Done],
    words: Callable[[Path], list[object]],
    said: str,
) -> None:
    done = run(*words(tmp_path))
    assert (done.code, done.out) == (2, "")
    assert said in done.errors
    assert "Traceback" not in done.errors


# Signatures

FAKE = """#!/bin/sh
printf '%s\\n' "$@" > "{said}"
[ -n "$FAKE_FAILS" ] && echo "Error: no identity token=abc123secret" >&2 && exit 1
touch "$(printf '%s\\n' "$@" | sed -n '/^--bundle$/{{n;p}}')"
"""


@pytest.fixture
def fake_cosign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a cosign on the PATH that writes down what it is called with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "cosign"
    program.write_text(FAKE.format(said=tmp_path / "called"), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return tmp_path / "called"


@pytest.mark.parametrize("key", [(), ("--sign-key", "cosign.key")])
def test_cosign_signs_each_file(
    tmp_path: Path, run: Callable[..., Done], fake_cosign: Path, key: tuple[str, ...]
) -> None:
    file = tmp_path / "report.yaml"
    done = run("conformance", saved(tmp_path), "--format", f"yaml={file}", "--sign", *key)
    assert done.code == 1
    with_key = ["--key", "cosign.key"] if key else []
    bundle = f"{file}.sigstore.json"
    called = fake_cosign.read_text(encoding="utf-8").splitlines()
    assert called == ["sign-blob", "--yes", *with_key, "--bundle", bundle, str(file)]
    assert done.errors == f"{file}: signed, {bundle}\n"


def test_a_signature_that_fails_is_an_error_without_secrets(
    tmp_path: Path,
    run: Callable[..., Done],
    fake_cosign: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_FAILS", "1")
    file = tmp_path / "report.yaml"
    done = run("conformance", saved(tmp_path), "--format", f"yaml={file}", "--sign")
    assert fake_cosign.exists()
    assert done.code == 2
    assert "cosign did not sign it: no identity token=(hidden)" in done.errors


def test_without_cosign_nothing_is_written(
    tmp_path: Path, run: Callable[..., Done], no_path: None
) -> None:
    file = tmp_path / "report.yaml"
    done = run("conformance", saved(tmp_path), "--format", f"yaml={file}", "--sign")
    assert (done.code, no_path, file.exists()) == (2, None, False)
    assert "expected cosign on the PATH for --sign, found none" in done.errors


@pytest.fixture
def no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sign",), "--sign signs files: expected one"),
        (("--sign-key", "k"), "--sign-key is for --sign"),
    ],
)
def test_a_signature_needs_a_file(
    tmp_path: Path, run: Callable[..., Done], words: tuple[str, ...], said: str
) -> None:
    done = run("conformance", saved(tmp_path), *words)
    assert done.code == 2
    assert said in done.errors
