"""What a change knows, what it leaves alone, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from drainproof.errors import UserError
from drainproof.faults.undo import (
    MANAGED,
    PAUSED,
    PAUSED_REPLICAS,
    Change,
    Field,
    annotation,
    change_of,
    cordon,
    created,
    find_scalers,
    hold,
    label,
    make,
    preview,
    replicas,
    template,
    undo,
    value_at,
    verbs,
)
from tests.faults.fake import NAMESPACE
from tests.faults.fake_undo import HPA, NODE, POD, SCALED, TARGET, MemoryCluster

if TYPE_CHECKING:
    from drainproof.faults.api import Object

SECRET = "hunter2hunter2"  # noqa: S105 - what must not be found


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster()


def target(cluster: MemoryCluster) -> Object:
    return cluster.api.get(*TARGET)


def test_a_change_holds_only_the_fields_that_it_sets(cluster: MemoryCluster) -> None:
    cluster.objects[TARGET]["spec"]["template"]["spec"]["containers"][0]["env"].append(
        {"name": "HF_TOKEN", "value": SECRET}
    )
    change = template(target(cluster), "vllm", "u", image="vllm:2", env={"MODE": "slow"})
    assert SECRET not in orjson.dumps(change).decode()
    assert [str(field) for field in change.fields] == [
        "spec.template.spec.containers.vllm.image",
        "spec.template.spec.containers.vllm.env.MODE",
    ]


def test_a_change_reads_back_from_json_as_it_was(cluster: MemoryCluster) -> None:
    args = ["--model=m", "--port=9000"]
    change = template(target(cluster), "vllm", "u", args=args, env={"A": "b"})
    assert change_of(orjson.loads(orjson.dumps(change))) == change


@pytest.mark.parametrize(
    "wanted",
    [
        {"env": {"HF_TOKEN": SECRET}},
        {"args": ["--model=m", "--port=8000", f"--api-key={SECRET}"]},
        {"args": ["--model=m", "--port=8000", "--api-key", SECRET]},
    ],
)
def test_a_change_that_would_put_a_secret_into_the_journal_is_refused(
    cluster: MemoryCluster, wanted: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="looks like a secret") as caught:
        template(target(cluster), "vllm", "u", **wanted)
    assert SECRET not in str(caught.value)


def test_a_secret_that_stands_beside_what_changes_is_neither_refused_nor_kept(
    cluster: MemoryCluster,
) -> None:
    container = cluster.objects[TARGET]["spec"]["template"]["spec"]["containers"][0]
    container["args"] = [f"--api-key={SECRET}", "--model=m"]
    wanted = [f"--api-key={SECRET}", "--model=n"]
    change = template(target(cluster), "vllm", "u", args=wanted)
    assert SECRET not in orjson.dumps(change).decode()
    make(cluster.api, NAMESPACE, change)
    assert target(cluster)["spec"]["template"]["spec"]["containers"][0]["args"] == wanted


def test_replacing_a_variable_that_is_a_secret_is_refused(cluster: MemoryCluster) -> None:
    container = cluster.objects[TARGET]["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "API_KEY", "value": SECRET}]
    with pytest.raises(UserError, match="environment variable API_KEY looks like a secret"):
        template(target(cluster), "vllm", "u", env={"API_KEY": ""})


def test_other_containers_of_the_pod_stay_as_they_are(cluster: MemoryCluster) -> None:
    containers = cluster.objects[TARGET]["spec"]["template"]["spec"]["containers"]
    containers.insert(0, {"name": "sidecar", "image": "s:1"})
    make(cluster.api, NAMESPACE, template(target(cluster), "vllm", "u", image="vllm:2"))
    found = target(cluster)["spec"]["template"]["spec"]["containers"]
    assert [item["image"] for item in found] == ["s:1", "vllm:2"]


def test_a_variable_that_came_from_a_reference_gets_its_reference_back(
    cluster: MemoryCluster,
) -> None:
    reference = {"name": "MODE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    cluster.objects[TARGET]["spec"]["template"]["spec"]["containers"][0]["env"] = [reference]
    change = template(target(cluster), "vllm", "u", env={"MODE": "slow"})
    make(cluster.api, NAMESPACE, change)
    undo(cluster.api, NAMESPACE, change)
    found = target(cluster)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert found == [reference]


def test_a_change_that_someone_else_was_faster_with_is_not_made(cluster: MemoryCluster) -> None:
    change = replicas(target(cluster), 1)
    cluster.someone_else(TARGET, {"spec": {"replicas": 5}})
    with pytest.raises(UserError, match=r"someone else changed spec\.replicas meanwhile"):
        make(cluster.api, NAMESPACE, change)
    assert target(cluster)["spec"]["replicas"] == 5


def test_an_object_made_anew_under_the_name_is_not_changed(cluster: MemoryCluster) -> None:
    change = replace(replicas(target(cluster), 1), uid="another")
    with pytest.raises(UserError, match="no longer the one"):
        make(cluster.api, NAMESPACE, change)


def test_replicas_that_someone_else_set_since_are_left_and_said(cluster: MemoryCluster) -> None:
    change = replicas(target(cluster), 1)
    make(cluster.api, NAMESPACE, change)
    cluster.someone_else(TARGET, {"spec": {"replicas": 5}})
    said = undo(cluster.api, NAMESPACE, change)
    assert said == ("deployment/vllm: someone else changed spec.replicas meanwhile, left as it is")
    assert target(cluster)["spec"]["replicas"] == 5


def test_a_write_by_someone_else_between_our_read_and_our_write_is_no_hindrance(
    cluster: MemoryCluster,
) -> None:
    def meanwhile(number: int) -> None:
        if number in {3, 6}:  # before the patch, and before that which takes it back
            cluster.someone_else(TARGET, {"metadata": {"labels": {"n": str(number)}}})

    cluster.before = meanwhile
    change = replicas(target(cluster), 1)
    assert make(cluster.api, NAMESPACE, change)["spec"]["replicas"] == 1
    assert "put back" in undo(cluster.api, NAMESPACE, change)
    assert target(cluster)["metadata"]["labels"] == {"n": "6"}


def test_what_is_ours_is_put_back_beside_what_someone_else_changed(cluster: MemoryCluster) -> None:
    change = template(target(cluster), "vllm", "u", image="vllm:2", env={"MODE": "slow"})
    make(cluster.api, NAMESPACE, change)
    container = target(cluster)["spec"]["template"]["spec"]["containers"][0]
    theirs = {"spec": {"template": {"spec": {"containers": [{**container, "image": "vllm:3"}]}}}}
    cluster.someone_else(TARGET, theirs)
    said = undo(cluster.api, NAMESPACE, change)
    found = target(cluster)["spec"]["template"]["spec"]["containers"][0]
    assert (found["image"], found["env"]) == ("vllm:3", [{"name": "MODE", "value": "fast"}])
    assert "someone else changed spec.template.spec.containers.vllm.image" in said


def test_a_node_that_was_cordoned_before_stays_cordoned(cluster: MemoryCluster) -> None:
    cluster.someone_else(NODE, {"spec": {"unschedulable": True}})
    change = cordon(cluster.api.get(*NODE))
    make(cluster.api, NAMESPACE, change)
    assert "was what it was before" in undo(cluster.api, NAMESPACE, change)
    assert cluster.objects[NODE]["spec"]["unschedulable"] is True


def test_a_label_that_was_removed_comes_back_with_its_value(cluster: MemoryCluster) -> None:
    change = label(cluster.api.get(*POD), "app", None)
    make(cluster.api, NAMESPACE, change)
    assert cluster.objects[POD]["metadata"]["labels"] == {}
    undo(cluster.api, NAMESPACE, change)
    assert cluster.objects[POD]["metadata"]["labels"] == {"app": "vllm"}


def test_a_pod_that_is_gone_needs_no_undoing(cluster: MemoryCluster) -> None:
    change = label(cluster.api.get(*POD), "app", None)
    make(cluster.api, NAMESPACE, change)
    cluster.api.delete(*POD)
    assert undo(cluster.api, NAMESPACE, change).endswith("gone, so nothing to put back")


def test_an_item_of_a_list_is_changed_by_the_kind_that_is_named(cluster: MemoryCluster) -> None:
    (item,) = cluster.api.list("Pod", NAMESPACE)["items"]
    assert annotation(item, "a", "b", kind="Pod").kind == "Pod"


def test_a_scaled_object_is_held_by_kedas_annotations_and_gets_its_own_back(
    cluster: MemoryCluster,
) -> None:
    before = dict(cluster.objects[SCALED]["metadata"]["annotations"])
    change = hold(cluster.api.get(*SCALED), 1)
    make(cluster.api, NAMESPACE, change)
    held = cluster.objects[SCALED]["metadata"]["annotations"]
    assert (held[PAUSED], held[PAUSED_REPLICAS]) == ("true", "1")
    undo(cluster.api, NAMESPACE, change)
    assert cluster.objects[SCALED]["metadata"]["annotations"] == before


@pytest.mark.parametrize(("count", "held"), [(3, 3), (0, 1)])
def test_an_hpa_is_held_by_its_least_and_its_most(
    cluster: MemoryCluster, count: int, held: int
) -> None:
    change = hold(cluster.api.get(*HPA), count)
    make(cluster.api, NAMESPACE, change)
    spec = cluster.objects[HPA]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (held, held)
    undo(cluster.api, NAMESPACE, change)
    spec = cluster.objects[HPA]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 4)


def test_the_hpa_that_keda_made_is_held_by_its_scaled_object(cluster: MemoryCluster) -> None:
    uid = cluster.objects[SCALED]["metadata"]["uid"]
    cluster.objects[HPA]["metadata"]["ownerReferences"] = [{"uid": uid}]
    found = find_scalers(cluster.api, NAMESPACE, "Deployment", "vllm")
    assert [item["kind"] for item in found] == ["ScaledObject"]


def test_scalers_of_other_targets_are_not_found(cluster: MemoryCluster) -> None:
    assert find_scalers(cluster.api, NAMESPACE, "Deployment", "other") == []
    assert find_scalers(cluster.api, NAMESPACE, "StatefulSet", "vllm") == []


def test_an_object_of_the_same_name_that_someone_else_created_is_not_deleted(
    cluster: MemoryCluster,
) -> None:
    cluster.api.create("Job", NAMESPACE, {"metadata": {"name": "load"}, "spec": {}})
    assert "left alone" in undo(cluster.api, NAMESPACE, created("Job", "load"))
    assert cluster.residue() == ["load"]


def test_an_object_that_was_created_is_deleted(cluster: MemoryCluster) -> None:
    cluster.api.create("Job", NAMESPACE, {"metadata": {"name": "load", "labels": MANAGED}})
    assert undo(cluster.api, NAMESPACE, created("Job", "load")) == "job/load: deleted"
    assert cluster.residue() == []


@pytest.mark.parametrize(
    "forged",
    [
        Change(undo="label", kind="Namespace", name="x", uid="u", fields=(
            Field(path=("spec", "replicas"), before=0, after=2),)),
        Change(undo="replicas", kind="Deployment", name="x", uid="u", fields=(
            Field(path=("spec", "template", "spec", "hostNetwork"), before=True, after=None),)),
        Change(undo="annotation", kind="ClusterRoleBinding", name="x", uid="u"),
        Change(undo="unheard-of", kind="Deployment", name="x", uid="u"),
    ],
)  # fmt: skip
def test_a_change_that_this_version_never_makes_is_not_undone(
    cluster: MemoryCluster, forged: Change
) -> None:
    with pytest.raises(UserError, match="does not know how to undo"):
        undo(cluster.api, NAMESPACE, forged)
    assert cluster.calls == 0


def test_undoing_by_hand_before_leaves_nothing_to_do(cluster: MemoryCluster) -> None:
    change = replicas(target(cluster), 1)
    make(cluster.api, NAMESPACE, change)
    cluster.someone_else(TARGET, {"spec": {"replicas": 2}})
    assert undo(cluster.api, NAMESPACE, change) == "deployment/vllm: was what it was before"


def test_a_preview_says_what_would_be_put_back_and_changes_nothing(cluster: MemoryCluster) -> None:
    change = replicas(target(cluster), 1)
    make(cluster.api, NAMESPACE, change)
    before = cluster.state()
    assert preview(cluster.api, NAMESPACE, change) == (
        "deployment/vllm: spec.replicas is 1, to be 2"
    )
    assert cluster.state() == before


def test_the_permissions_of_an_undo_are_those_of_its_change(cluster: MemoryCluster) -> None:
    assert verbs(cordon(cluster.api.get(*NODE))) == (("get", "Node"), ("patch", "Node"))
    assert verbs(created("Job", "j")) == (("get", "Job"), ("delete", "Job"))
    assert ("delete", "ReplicaSet") in verbs(template(target(cluster), "vllm", "u", image="i"))


def test_a_change_in_words_names_what_it_sets(cluster: MemoryCluster) -> None:
    assert replicas(target(cluster), 1).what == "deployment/vllm: spec.replicas=1"
    assert created("Job", "j").what == "create job/j"
    assert label(cluster.api.get(*POD), "app", None).what == (
        "pod/vllm-1-a: metadata.labels.app removed"
    )


def test_nothing_is_at_a_path_that_leads_through_what_is_not_there() -> None:
    assert value_at({"a": [{"name": "b"}]}, ("a", "c", "d")) is None
    assert value_at({"a": 1}, ("a", "b")) is None
