from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import yaml

from drainproof.collect import files
from drainproof.errors import UserError
from drainproof.model.snapshot import Snapshot
from tests.manifests import deployment, scaled_object

if TYPE_CHECKING:
    from pathlib import Path

DEPLOYMENT = yaml.safe_dump(deployment())


def read(folder: Path, **texts: str | bytes) -> Snapshot:
    """Write files (``a_yaml`` is ``a.yaml``) and read their folder."""
    for name, text in texts.items():
        stem, _, suffix = name.rpartition("_")
        path = folder / f"{stem}.{suffix}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return files.read([folder])


def said(snapshot: Snapshot) -> list[str]:
    return [str(problem).rpartition("/")[2] for problem in snapshot.problems]


def test_a_folder_is_read_with_its_folders_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("b/two.yml", "a.yaml", ".git/x.yaml", "notes.txt", ".hidden.yaml"):
        (tmp_path / name).write_text(DEPLOYMENT)
    snapshot = files.read([tmp_path])
    assert [found.file for found in snapshot.workloads] == [
        str(tmp_path / "a.yaml"),
        str(tmp_path / "b/two.yml"),
    ]


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(DEPLOYMENT)
    assert len(files.read([tmp_path / "a.yaml", tmp_path]).workloads) == 1


def test_documents_lists_and_json_are_read(tmp_path: Path) -> None:
    listed = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [deployment()] * 2})
    snapshot = read(
        tmp_path,
        a_yaml=f"{DEPLOYMENT}---\n{DEPLOYMENT}---\n---\n# nothing\n",
        b_yaml=listed,
        c_json=orjson.dumps(deployment()),
    )
    assert len(snapshot.workloads) == 5


def test_an_object_in_a_list_knows_where_it_is(tmp_path: Path) -> None:
    listed = yaml.safe_dump(
        {"apiVersion": "v1", "kind": "List", "items": [scaled_object(), deployment()]}
    )
    (workload,) = read(tmp_path, a_yaml=listed).workloads
    assert workload.origin is not None
    assert workload.origin.prefix == ("items", 1)


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(DEPLOYMENT.encode())))
    (workload,) = files.read(["-"]).workloads
    assert workload.file == "-"


def test_what_is_no_manifest_is_counted_and_left_alone(tmp_path: Path) -> None:
    snapshot = read(
        tmp_path,
        values_yaml="image:\n  tag: v1\nreplicas: two\n",
        compose_yaml="services: {web: {image: nginx}}\n",
        list_yaml="- 1\n- 2\n",
        raw_yaml="metadata: {labels: {team: search}}\nspec: {replicas: 2}\n",
        a_yaml=DEPLOYMENT,
    )
    assert (snapshot.skipped, len(snapshot.workloads), snapshot.problems) == (4, 1, ())


def without_kind(**changes: object) -> str:
    obj = {key: value for key, value in deployment().items() if key != "kind"}
    return yaml.safe_dump({**obj, **changes})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (without_kind(), "an object without a kind (llama)"),
        (without_kind(kind=None), "an object without a kind (llama)"),
        ("apiVersion: v1\nmetadata: {name: llama}\ndata: {}\n", "an object without a kind (llama)"),
        ("metadata: {name: x}\nspec: {replicas: 2}\n", "an object without a kind (x)"),
        (without_kind(kind="deployment"), "kind: expected Deployment, found deployment (llama)"),
        (
            yaml.safe_dump(
                {"apiVersion": "v1", "kind": "List", "items": [yaml.safe_load(without_kind())]}
            ),
            "an object without a kind (llama)",
        ),
    ],
)
def test_an_object_that_the_api_server_refuses_for_its_kind_is_a_problem(
    tmp_path: Path, text: str, problem: str
) -> None:
    """It would be dropped in silence otherwise, and the audit of the rest be clean."""
    snapshot = read(tmp_path, a_yaml=f"{DEPLOYMENT}---\n{text}")
    (found,) = snapshot.problems
    assert str(found).endswith(problem)
    assert found.line == DEPLOYMENT.count("\n") + 1
    assert "kind" in found.hint


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: v1\nentries: {}\n",  # the index of a Helm repository
        "apiVersion: 1\ndatasources: []\n",  # Grafana's provisioning
        "apiVersion: v2\nname: chart\nversion: 1.0.0\n",  # a Chart.yaml
        "spec:\n  inputs: {}\n",  # GitLab CI
        "services: {web: {image: nginx, deploy: {}}}\n",
        "metadata: {labels: {}}\nimage: {tag: v1}\n",  # Helm values
        "apiVersion: example.com/v1\nkind: deployment\nmetadata: {name: x}\nspec: {}\n",
    ],
)
def test_a_document_that_is_no_object_stays_no_problem(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, a_yaml=f"{DEPLOYMENT}---\n{text}").problems == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a: 1\nb: [\n",
            "x.yaml:3: not YAML: while parsing a flow node, did not find expected node",
        ),
        ("a: 1\na: 2\n", 'x.yaml:2: not YAML: the key "a" is there twice'),
        ("a: 1\n---\nb:\n\tc: 1\n", "x.yaml:4: not YAML: while scanning for the next token"),
        (b"a: 1\nb: \x00\n", "x.yaml:2: not text: it holds the byte 0x00"),
        (b"a: 1\nb: \xff\xfe\n", "x.yaml:2: not text: it is not UTF-8"),
        ("kind: Deployment\nspec: {{ .Values.x }}\n", "x.yaml:2: a template with {{ … }} in it"),
    ],
)
def test_a_broken_file_is_named_with_its_line_and_the_rest_is_read(
    tmp_path: Path, text: str | bytes, problem: str
) -> None:
    snapshot = read(tmp_path, a_yaml=DEPLOYMENT, x_yaml=text)
    assert len(snapshot.workloads) == 1
    (found,) = said(snapshot)
    assert found.startswith(problem)


def test_broken_json_is_named_with_its_line(tmp_path: Path) -> None:
    (found,) = said(read(tmp_path, x_json='{"a": 1,\n"b": }'))
    assert found.startswith("x.json:2: not JSON")


def test_a_document_beside_a_broken_one_is_read(tmp_path: Path) -> None:
    snapshot = read(tmp_path, a_yaml=f"a: [\n---\n{DEPLOYMENT}")
    assert (len(snapshot.workloads), len(snapshot.problems)) == (1, 1)


def test_a_template_says_how_to_render_it(tmp_path: Path) -> None:
    (problem,) = read(tmp_path, x_yaml="a: {{ .Values.x }}\n---\nb: {{ .Values.y }}\n").problems
    assert "helm template" in problem.hint


def test_a_chat_template_in_a_string_is_no_helm_template(tmp_path: Path) -> None:
    obj = deployment(args=["--shutdown-timeout=120", "--chat-template={{ messages }}"])
    assert read(tmp_path, a_yaml=yaml.safe_dump(obj)).problems == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(DEPLOYMENT)
    path.chmod(0)
    assert said(files.read([path])) == ["a.yaml: cannot be read: Permission denied"]


@pytest.mark.parametrize("inside", ["", "sub"])
def test_a_folder_that_may_not_be_read_is_named(
    inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.yaml").write_text(DEPLOYMENT)
    closed, scandir = str(tmp_path / inside).rstrip("/"), os.scandir

    def refused(path: str) -> Any:  # noqa: ANN401 - as scandir
        if str(path).rstrip("/") == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    snapshot = files.read([tmp_path])
    name = inside or tmp_path.name
    assert said(snapshot) == [f"{name}: cannot be read: Permission denied"]
    assert len(snapshot.workloads) == bool(inside)


def test_a_dangling_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to(tmp_path / "gone")
    assert said(files.read([tmp_path])) == ["a.yaml: cannot be read: No such file or directory"]


def test_a_file_that_is_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 100)
    (found,) = said(read(tmp_path, a_yaml=DEPLOYMENT))
    assert found == "a.yaml: expected at most 0 MiB, found more"


def test_standard_input_that_is_too_large_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 100)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(DEPLOYMENT.encode())))
    assert said(files.read(["-"])) == ["-: expected at most 0 MiB, found more"]


def test_keys_that_are_twice_in_json_are_named_with_their_line(tmp_path: Path) -> None:
    (found,) = said(read(tmp_path, x_json='{"a": 1,\n"b": {"c": 1,\n"c": 2}}'))
    assert found == 'x.json:3: not YAML: the key "c" is there twice'


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        files.read([tmp_path / "gone"])


def test_a_path_that_is_not_there_keeps_nobody_from_reading_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(DEPLOYMENT)
    (tmp_path / "empty").mkdir()
    snapshot = files.read([tmp_path / "gone", tmp_path / "empty", tmp_path / "a.yaml"])
    assert len(snapshot.workloads) == 1
    gone, empty = said(snapshot)
    assert gone == "gone: no such file or folder"
    assert empty.startswith("empty: expected manifests")


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_in_a_folder_is_named_and_not_waited_for(
    tmp_path: Path, kind: str
) -> None:
    if kind == "pipe":
        os.mkfifo(tmp_path / "a.yaml")
    else:
        (tmp_path / "a.yaml").symlink_to("/dev/zero")
    assert said(files.read([tmp_path])) == ["a.yaml: cannot be read: a pipe or a device"]


def test_a_folder_without_manifests_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x")
    with pytest.raises(UserError, match="expected manifests"):
        files.read([tmp_path])


def test_a_saved_snapshot_is_read(tmp_path: Path) -> None:
    saved = Snapshot.of([deployment(), scaled_object()], partial=False).to_json()
    (tmp_path / "s.json").write_bytes(saved)
    snapshot = files.read([tmp_path / "s.json"])
    assert (len(snapshot.workloads), snapshot.partial) == (1, False)


def test_a_byte_order_mark_is_left_out(tmp_path: Path) -> None:
    assert len(read(tmp_path, a_yaml=b"\xef\xbb\xbf" + DEPLOYMENT.encode()).workloads) == 1
