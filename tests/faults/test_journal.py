"""What a journal must survive."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
import pytest

from drainproof.errors import UserError
from drainproof.faults.journal import FILE, VERSION, Entry, Journal, load
from drainproof.faults.undo import Change, created, digest, template_annotation, undo
from tests.faults.fake import NAMESPACE, FakeCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENTRY = Entry(
    version=VERSION,
    run="r",
    context="c",
    namespace=NAMESPACE,
    target="deployment/vllm",
    lease="l",
    created=0.0,
)
JOB = created("Job", "j")


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as running:
        yield running


def test_a_journal_on_disk_reads_back_as_it_was(cluster: FakeCluster, tmp_path: Path) -> None:
    journal = Journal(cluster.api, tmp_path, ENTRY)
    journal.open()
    journal.plan(JOB)
    assert load((tmp_path / FILE).read_bytes(), "x") == journal.entry


def test_a_change_stands_in_the_cluster_as_it_stands_on_disk(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    journal = Journal(cluster.api, tmp_path, ENTRY)
    journal.open()
    journal.plan(JOB)
    stored = cluster.objects["ConfigMap", NAMESPACE, "drainproof-journal-r"]["data"][FILE]
    assert stored == (tmp_path / FILE).read_text()


def test_a_folder_that_is_a_file_stops_the_run_before_the_cluster_is_written_to(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    (tmp_path / "evidence").touch()
    with pytest.raises(UserError, match="cannot write the journal"):
        Journal(cluster.api, tmp_path / "evidence", ENTRY).open()
    assert cluster.writes == []


def test_what_was_planned_but_never_made_undoes_as_nothing(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    journal = Journal(cluster.api, tmp_path, ENTRY)
    journal.open()
    journal.plan(JOB)
    said: list[str] = []
    assert journal.undo(said.append)
    assert said == ["job/j: not there"]
    assert cluster.residue() == []


def test_what_cannot_be_undone_keeps_the_journal_and_says_so(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    journal = Journal(cluster.api, tmp_path, ENTRY)
    journal.open()
    journal.plan(Change(undo="unheard-of", kind="Job", name="j"))
    said: list[str] = []
    assert not journal.undo(said.append)
    assert "could not undo job/j" in said[0]
    assert cluster.names("ConfigMap") == ["drainproof-journal-r"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version": 1}',
        orjson.dumps({"version": 1, "changes": [{"x": 1}]}).decode(),
    ],
)
def test_what_is_no_journal_is_a_clear_error(text: str) -> None:
    with pytest.raises(UserError, match="journal"):
        load(text, "some.json")


def test_a_newer_journal_is_refused() -> None:
    with pytest.raises(UserError, match="journal version 99"):
        load('{"version": 99}', "some.json")


def annotated(cluster: FakeCluster, key: str = "k") -> Change:
    item = cluster.api.get("Deployment", NAMESPACE, "vllm")
    origin = cluster.objects["ReplicaSet", NAMESPACE, "vllm-1"]["metadata"]["uid"]
    return template_annotation(item, key, "now", origin)


def test_an_annotation_that_was_there_before_gets_its_old_value_back(cluster: FakeCluster) -> None:
    cluster.stuck = True
    change = annotated(cluster, "team")
    patch = {"spec": {"template": {"metadata": {"annotations": {"team": "now"}}}}}
    cluster.api.patch("Deployment", NAMESPACE, "vllm", patch)
    undo(cluster.api, NAMESPACE, change)
    assert cluster.template["metadata"]["annotations"] == {"team": "search"}


def test_a_deployment_that_was_made_anew_under_the_name_is_left_alone(cluster: FakeCluster) -> None:
    said = undo(cluster.api, NAMESPACE, replace(annotated(cluster), uid="another"))
    assert "left alone" in said
    assert cluster.writes == []


def test_a_deployment_that_is_gone_needs_no_undoing(cluster: FakeCluster) -> None:
    change = annotated(cluster)
    cluster.drop("Deployment", NAMESPACE, "vllm")
    assert "gone" in undo(cluster.api, NAMESPACE, change)


def test_absent_and_empty_maps_are_the_same_template() -> None:
    bare = {"metadata": {"labels": {"a": "b"}}, "spec": {"x": [1]}}
    full = {"metadata": {"labels": {"a": "b"}, "annotations": {}}, "spec": {"x": [1], "y": None}}
    assert digest(bare) == digest(full)


def test_another_value_is_another_template() -> None:
    assert digest({"spec": {"x": 1}}) != digest({"spec": {"x": 2}})
