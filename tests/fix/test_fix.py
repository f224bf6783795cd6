"""What is mended, in memory, as a patch, and in files."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from drainproof.collect import files
from drainproof.errors import UserError
from drainproof.fix import in_place, patch
from drainproof.fix.apply import Mended, mend, put, unshared
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from tests.test_cli import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Fix = Callable[..., tuple[list[Mended], list[str]]]

CHECK = '''"""Mine holds.

What it checks
    Something.
"""
from drainproof.judge.registry import Severity, check

@check("XY10{number}", severity=Severity.ERROR)
def mine(workload, container, scalers):
    {body}
'''
FLAG = """if "{flag}" not in container.args:
        yield workload.finding("spec", "no {flag}", repair={{
            container.path + ".args": [*container.args, "{flag}"]}})"""
GRACE = """if workload.grace_period_s != 150:
        yield workload.finding("spec", "short", repair={
            "spec.template.spec.terminationGracePeriodSeconds": 150})"""
USELESS = """yield workload.finding("spec", "never", repair={"spec.paused": False})"""
SHM = """if "/dev/shm" not in container.mounts:
        yield workload.finding("spec", "no shm", repair={
            "spec.template.spec.volumes[name=dshm].emptyDir": {"medium": "Memory"},
            container.path + ".volumeMounts[mountPath=/dev/shm].name": "dshm"})"""
SCALER = """for scaler in scalers:
        if scaler.max_replicas != 4:
            yield scaler.finding("spec", "max", repair={
                "spec.triggers[0].metadata.threshold": "7", "spec.maxReplicaCount": 4})"""
NULL = """if workload.rolling_update.misplaced:
        yield workload.finding("spec", "misplaced", repair={"spec.template.spec.strategy": None})"""

MANIFEST = """\
# who owns this: the platform team
apiVersion: apps/v1
kind: Deployment
metadata:
    name: llama   # do not rename
spec:
    template:
        spec:
            strategy: {type: Recreate}
            containers:
            -   name: proxy
                image: "envoy:v1"
            -   name: vllm
                image: 'vllm/vllm-openai:v0.32.0'
                args:
                -   --model=m   # the small one
                -   --port=8000

            terminationGracePeriodSeconds: 30
"""
SCALED = """\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: llama}
spec:
  scaleTargetRef: {name: llama}
  triggers:
    - type: cron   # by the clock
      metadata: {threshold: "1", timezone: UTC}
"""


@pytest.fixture
def fixed(tmp_path: Path) -> Fix:
    def fix(text: str, *bodies: str) -> tuple[list[Mended], list[str]]:
        checks = tmp_path / "checks"
        checks.mkdir()
        for number, body in enumerate(bodies):
            (checks / f"c{number}.py").write_text(CHECK.format(number=number, body=body))
        file = tmp_path / "a.yaml"
        file.write_text(text, newline="")
        found = registry.load([checks], own=False).checks
        mended, result = mend(
            files.read([file]), lambda snapshot: audit.run(snapshot, PROFILES["production"], found)
        )
        return mended, [finding.message for _, finding in result.findings]

    return fix


def test_two_repairs_of_one_list_follow_each_other(fixed: Fix) -> None:
    mended, left = fixed(MANIFEST, FLAG.format(flag="--a"), FLAG.format(flag="--b"))
    assert left == []
    container = mended[0].after["spec"]["template"]["spec"]["containers"][1]
    assert container["args"] == ["--model=m", "--port=8000", "--a", "--b"]


def test_a_repair_that_does_not_help_is_tried_once_and_the_finding_stays(fixed: Fix) -> None:
    mended, left = fixed(MANIFEST, USELESS)
    assert left == ["never"]
    assert mended[0].checks == [("c0", "spec")]


def test_the_objects_that_were_read_stay_as_they_are(fixed: Fix) -> None:
    mended, _ = fixed(MANIFEST, GRACE)
    assert mended[0].before["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 30
    assert mended[0].after["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 150


def test_a_patch_names_the_items_of_a_list_and_holds_nothing_but_changes(fixed: Fix) -> None:
    mended, _ = fixed(MANIFEST, FLAG.format(flag="--a"), GRACE, SHM)
    assert patch.patch(mended[0]) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "llama"},
        "spec": {
            "template": {
                "spec": {
                    "terminationGracePeriodSeconds": 150,
                    "containers": [
                        {
                            "name": "vllm",
                            "args": ["--model=m", "--port=8000", "--a"],
                            "volumeMounts": [{"mountPath": "/dev/shm", "name": "dshm"}],
                        }
                    ],
                    "volumes": [{"name": "dshm", "emptyDir": {"medium": "Memory"}}],
                }
            }
        },
    }


def test_a_field_that_must_go_is_null_in_the_patch(fixed: Fix) -> None:
    mended, left = fixed(MANIFEST, NULL)
    assert left == []
    assert patch.patch(mended[0])["spec"] == {"template": {"spec": {"strategy": None}}}


def test_a_list_of_a_custom_resource_is_given_whole(fixed: Fix) -> None:
    mended, left = fixed(f"{MANIFEST}---\n{SCALED}", SCALER)
    assert left == []
    triggers = [{"type": "cron", "metadata": {"threshold": "7", "timezone": "UTC"}}]
    assert patch.patch(mended[0])["spec"] == {"triggers": triggers, "maxReplicaCount": 4}


def test_in_place_keeps_comments_order_quotes_and_indentation(fixed: Fix, tmp_path: Path) -> None:
    mended, _ = fixed(MANIFEST, FLAG.format(flag="--a"), GRACE, NULL)
    in_place.write(mended)
    expected = (
        MANIFEST.replace("Seconds: 30", "Seconds: 150")
        .replace("            strategy: {type: Recreate}\n", "")
        .replace("--port=8000\n\n", "--port=8000\n\n                -   --a\n")
    )
    written = (tmp_path / "a.yaml").read_text()
    assert sorted(written.split()) == sorted(expected.split())
    assert written.startswith("# who owns this: the platform team\n")
    assert "name: llama   # do not rename\n" in written
    assert "                -   --model=m   # the small one\n" in written
    assert "image: 'vllm/vllm-openai:v0.32.0'" in written
    assert yaml.safe_load(written) == mended[0].after


def test_in_place_leaves_other_documents_byte_for_byte(fixed: Fix, tmp_path: Path) -> None:
    other = "---\nkind:   ConfigMap\napiVersion: v1\ndata: { a:   'b' }\n"
    mended, _ = fixed(f"{other}---\n{MANIFEST}{other}", GRACE)
    in_place.write(mended)
    written = (tmp_path / "a.yaml").read_text()
    assert written.startswith(f"{other}---\n# who owns")
    assert written.endswith(f"terminationGracePeriodSeconds: 150\n{other}")


def test_in_place_keeps_windows_line_ends(fixed: Fix, tmp_path: Path) -> None:
    mended, _ = fixed(MANIFEST.replace("\n", "\r\n"), GRACE)
    in_place.write(mended)
    written = (tmp_path / "a.yaml").read_bytes()
    assert b"Seconds: 150\r\n" in written
    assert written.count(b"\n") == written.count(b"\r\n")


def test_windows_line_ends_after_a_comment_stay_as_they_are(fixed: Fix, tmp_path: Path) -> None:
    mended, _ = fixed(MANIFEST.replace("\n", "\r\n"), GRACE)
    in_place.write(mended)
    expected = MANIFEST.replace("Seconds: 30", "Seconds: 150").replace("\n", "\r\n")
    assert (tmp_path / "a.yaml").read_bytes().decode() == expected


LAID_OUT = """\
apiVersion: v1
kind: List
items:
- apiVersion: apps/v1   # a list that is not indented
  kind: Deployment
  metadata: &nobody-refers-to-it
    name: llama
    annotations: ~
  spec:
    selector: &shared   # used below
      matchLabels: {a: b}
    template:
      metadata: {labels: {a: b}}
      spec:
          affinity: {podAntiAffinity: {x: *shared}}
          containers:
            - name: vllm   # one that is
              image:   vllm/vllm-openai:v0.32.0
              args: # one without a first item of its own
                -   --model=m
          terminationGracePeriodSeconds: 30
"""


def test_in_place_nothing_is_laid_out_anew(fixed: Fix, tmp_path: Path) -> None:
    mended, left = fixed(LAID_OUT, GRACE, SHM)
    assert left == []
    in_place.write(mended)
    before, after = LAID_OUT.splitlines(), (tmp_path / "a.yaml").read_text().splitlines()
    assert [line for line in before if line not in after] == [
        "          terminationGracePeriodSeconds: 30"
    ]
    assert [line for line in after if line not in before] == [
        "              volumeMounts:",
        "              - mountPath: /dev/shm",
        "                name: dshm",
        "          terminationGracePeriodSeconds: 150",
        "          volumes:",
        "          - name: dshm",
        "            emptyDir:",
        "              medium: Memory",
    ]


@pytest.mark.parametrize("indent", [None, 2, 4])
def test_json_stays_json(fixed: Fix, tmp_path: Path, indent: int | None) -> None:
    text = json.dumps(yaml.safe_load(MANIFEST), indent=indent) + "\n"
    mended, _ = fixed(text, GRACE, SHM)
    in_place.write(mended)
    written = (tmp_path / "a.yaml").read_text()
    assert written == json.dumps(mended[0].after, indent=indent) + "\n"


def test_a_json_file_is_mended_in_place(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(yaml.safe_load(MANIFEST), indent=2))
    run("fix", file, "--in-place", "--select", "prestop-delay")
    container = json.loads(file.read_text())["spec"]["template"]["spec"]["containers"][1]
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": 15}}}


def test_the_second_time_there_is_nothing_to_mend(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(MANIFEST)
    assert "fixed" in run("fix", file, "--in-place").stderr.splitlines()[0]
    once = file.read_text()
    assert "0 fixed in 0 objects" in run("fix", file, "--in-place").stderr
    assert file.read_text() == once


def test_a_write_that_is_cut_off_leaves_the_old_file_and_no_other(
    fixed: Fix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended, _ = fixed(MANIFEST, GRACE)
    there = sorted(tmp_path.iterdir())

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        in_place.write(mended)
    assert (tmp_path / "a.yaml").read_text() == MANIFEST
    assert sorted(tmp_path.iterdir()) == there


def test_an_object_in_a_list_is_mended_where_it_stands(fixed: Fix, tmp_path: Path) -> None:
    listed = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap}\n- " + (
        MANIFEST.partition("\n")[2].replace("\n", "\n  ")
    )
    mended, left = fixed(listed, GRACE)
    assert left == []
    in_place.write(mended)
    items = yaml.safe_load((tmp_path / "a.yaml").read_text())["items"]
    assert items[0] == {"apiVersion": "v1", "kind": "ConfigMap"}
    assert items[1] == mended[0].after


def test_a_field_that_two_places_share_is_refused_and_the_file_stays(
    fixed: Fix, tmp_path: Path
) -> None:
    text = MANIFEST.replace("args:", "args: &shared").replace(
        'image: "envoy:v1"\n', 'image: "envoy:v1"\n                args: *shared\n'
    )
    text = text.replace("-   name: proxy", "-   name: zproxy")
    first, second = text.index("-   name: zproxy"), text.index("-   name: vllm")
    end = text.index("\n\n") + 1
    text = text[:first] + text[second:end] + "            " + text[first:second] + text[end:]
    mended, left = fixed(text.replace("            \n", ""), FLAG.format(flag="--a"))
    assert left == []
    before = (tmp_path / "a.yaml").read_text()
    with pytest.raises(UserError, match="cannot be mended in place"):
        in_place.write(mended)
    assert (tmp_path / "a.yaml").read_text() == before


def test_a_file_that_changed_meanwhile_is_refused(fixed: Fix, tmp_path: Path) -> None:
    mended, _ = fixed(MANIFEST, GRACE)
    file = tmp_path / "a.yaml"
    file.write_text(MANIFEST.replace("name: llama", "name: other"))
    with pytest.raises(UserError, match="changed since it was read"):
        in_place.write(mended)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("a", "b"), {"a": {"b": 1}}),
        (("a", "name=x", "b"), {"a": [{"name": "x", "b": 1}]}),
        (("l", 0, "b"), {"l": [{"b": 1}]}),
    ],
)
def test_put_makes_what_is_missing_on_the_way(
    path: tuple[str | int, ...], expected: dict[str, Any]
) -> None:
    obj: dict[str, Any] = {"l": [{}]} if path[0] == "l" else {}
    put(obj, path, 1)
    assert obj == expected


def test_unshared_copies_what_an_alias_shares() -> None:
    shared = {"a": 1}
    copied = unshared([shared, shared])
    copied[0]["a"] = 2
    assert copied[1] == {"a": 1}


def test_the_command_writes_a_patch_and_says_what_is_left(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(MANIFEST)
    done = run("fix", file)
    assert done.returncode == 1
    for document in yaml.safe_load_all(done.stdout):
        assert document["kind"] == "Deployment"
    assert "left for a person" in done.stderr
    assert file.read_text() == MANIFEST


WAIVER = """
waivers:
  - check: prestop-delay
    subject: Deployment/llama
    reason: it has no users
    owner: us
    expires: 2999-01-01
"""


def test_a_patch_shows_no_secret_that_stands_beside_what_it_mends(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    secretive = SCALED.replace("timezone: UTC", "password: hunter-2-hunter") + (
        "    - type: prometheus\n"
        "      metadata: {serverAddress: 'http://u:pass-word-1@prom', query: up, threshold: '1'}\n"
    )
    file.write_text(f"{MANIFEST}---\n{secretive}")
    done = run("fix", file, "--select", "scaling-fallback", "--select", "scaling-bounds")
    assert "left   scaling-fallback" in done.stderr
    assert "fixed  scaling-bounds" in done.stderr
    assert "hunter" not in done.stdout + done.stderr
    assert "pass-word" not in done.stdout + done.stderr


def test_a_patch_is_only_of_what_has_a_name_to_be_found_by(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(MANIFEST.replace("name: llama ", "generateName: llama- "))
    done = run("fix", file, "--select", "prestop-delay")
    assert (done.stdout, done.returncode) == ("", 1)
    assert "left   prestop-delay" in done.stderr
    assert "fixed  prestop-delay" in run("fix", file, "--in-place").stderr


def test_a_name_cannot_act_on_what_shows_a_patch(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(MANIFEST.replace("name: llama ", 'name: "a\\n::error::b\\e[31m\\u202e" '))
    done = run("fix", file)
    assert not re.search("^::|[\x1b\u202e]", done.stdout + done.stderr, re.MULTILINE)
    (document,) = yaml.safe_load_all(done.stdout)
    assert document["metadata"]["name"] == "a\n::error::b\x1b[31m\u202e"


def test_what_is_waived_is_left_alone(tmp_path: Path) -> None:
    file, waivers = tmp_path / "a.yaml", tmp_path / "w.yml"
    file.write_text(MANIFEST)
    waivers.write_text(WAIVER)
    assert "fixed  prestop-delay" in run("fix", file).stderr
    done = run("fix", file, "--waivers", waivers)
    assert "prestop-delay" not in done.stderr
    assert "lifecycle" not in done.stdout


def test_only_what_is_selected_is_fixed(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(MANIFEST)
    done = run("fix", file, "--select", "prestop-delay")
    assert {line.split()[1] for line in done.stderr.splitlines()[:-1]} == {"prestop-delay"}


def test_standard_input_cannot_be_mended_in_place(tmp_path: Path) -> None:
    done = run("fix", "-", "--in-place", stdin=MANIFEST)
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_patch_leaves_a_list_that_holds_a_secret_and_the_file_itself_is_mended(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  template:\n"
        "    spec:\n      containers:\n        - name: vllm\n"
        "          image: vllm/vllm-openai:v0.32.0\n"
        "          args: [--model=m, --api-key, not-for-others, --shutdown-timeout=5]\n",
        encoding="utf-8",
    )
    result = run("fix", str(path), "--select", "engine-drains")
    said = result.stdout + result.stderr
    assert "not-for-others" not in said
    assert "left   engine-drains" in said
    run("fix", str(path), "--in-place", "--select", "engine-drains")
    assert "--shutdown-timeout=120" in path.read_text(encoding="utf-8")


@pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl, which renders kustomizations, is not there"
)
def test_what_was_rendered_is_not_written_into_the_file_that_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(MANIFEST)
    kustomization = "resources: [a.yaml]\nnamePrefix: my-\n"
    (tmp_path / "kustomization.yaml").write_text(kustomization)
    done = run("fix", tmp_path, "--in-place")
    assert done.returncode == 2
    assert "was rendered from it" in done.stderr
    assert (tmp_path / "a.yaml").read_text() == MANIFEST
    assert "name: my-llama" in run("fix", tmp_path).stdout


def test_in_place_and_output_together_are_refused(tmp_path: Path) -> None:
    done = run("fix", tmp_path, "--in-place", "--output", tmp_path / "p.yaml")
    assert done.returncode == 2
    assert "expected either --in-place or --output" in done.stderr
