"""What holds for every format: nothing in a manifest acts on what shows it, and nothing is lost."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import orjson
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from drainproof.collect import files
from drainproof.judge import audit
from drainproof.judge.config import Audit, Config
from drainproof.judge.profiles import PROFILES
from drainproof.model.snapshot import Snapshot
from drainproof.report import FORMATS
from tests.manifests import deployment, scaled_object
from tests.report.audits import CHECKS, FEW, audited, hostile, report, waived

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drainproof.judge.audit import AuditResult

each_format = pytest.mark.parametrize("form", list(FORMATS))


@each_format
def test_a_finding_a_waived_one_and_its_reason_are_in_every_format(
    form: str, tmp_path: Path
) -> None:
    text = report(form, audited(tmp_path / "a.yaml", waived(), scaled_object()))
    assert "prestop-delay" in text
    if form == "metrics":  # numbers only; test_metrics.py has what they say
        assert 'verdict="waived"' in text
        return
    assert "short answers" in text
    assert "waived" in text or '"skip"' in text or "result: skip" in text
    failing = report(form, audited(tmp_path / "a.yaml", deployment(lifecycle=None)))
    assert "no preStop hook" in failing


@each_format
def test_what_cannot_be_read_fails_and_is_told_where_it_can_be(form: str, tmp_path: Path) -> None:
    result = audited(tmp_path / "a.yaml", waived(owner=""), scaled_object())
    assert result.exit_code == 2
    if form == "metrics":
        assert "drainproof_audit_problems 1\n" in report(form, result)
    elif form != "policyreport":  # its form has no place for what is about no object
        assert "who answers for it" in report(form, result)


@each_format
def test_what_an_operator_runs_and_nothing_shows_is_told_where_it_can_be(
    form: str, tmp_path: Path
) -> None:
    spec = {"serveConfigV2": "applications: [{import_path: 'ray.serve.llm:build_openai_app'}]"}
    served = {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": "llama"}}
    text = report(form, audited(tmp_path / "a.yaml", deployment(), {**served, "spec": spec}))
    if form == "metrics":
        assert "drainproof_unjudged 1\n" in text
    elif form != "policyreport":  # its form has no place for what no check looked at
        assert "RayService/llama" in text or '"kind":"RayService"' in text.replace(" ", "")
        assert "Ray Serve starts its engine by serveConfigV2" in text


@each_format
def test_why_nothing_was_judged_is_told_where_it_can_be(form: str, tmp_path: Path) -> None:
    """No check that was selected may apply to the kinds that are there: that is no clean audit."""
    job = {**deployment(), "apiVersion": "batch/v1", "kind": "Job"}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(job))
    result = audit.run(
        files.read([tmp_path]), PROFILES["production"], [CHECKS["progress-deadline"]]
    )
    assert result.exit_code == 2
    told = report(form, result)
    assert "unreadable" not in told.lower()
    if form == "metrics":
        assert "drainproof_audit_problems 1\n" in told
    elif form != "policyreport":
        assert re.search("nothing was judged: progress-deadline can only be.*found Job", told)


@each_format
def test_a_token_where_another_type_belongs_is_never_shown(form: str, tmp_path: Path) -> None:
    obj = deployment(lifecycle=None)
    obj["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = "hf_" + "a1B2c3D4" * 4
    result = audited(tmp_path / "a.yaml", obj)
    assert result.exit_code == 2
    assert "a1B2c3D4" not in report(form, result)


@each_format
def test_no_control_character_of_a_manifest_is_written(form: str, tmp_path: Path) -> None:
    text = report(form, audited(tmp_path / "a.yaml", hostile()))
    written = yaml.safe_load(text) if form == "policyreport" else text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202e]", str(written))


@each_format
def test_no_line_but_those_of_the_github_format_is_a_workflow_command(
    form: str, tmp_path: Path
) -> None:
    text = report(form, audited(tmp_path / "a.yaml", hostile()))
    commands = [line for line in text.splitlines() if line.lstrip().startswith("::")]
    assert all(re.match(r"::(error|warning|notice) ", line) for line in commands)
    assert bool(commands) is (form == "github")
    assert "##[" not in text


READ: dict[str, Callable[[str], object]] = {
    "json": orjson.loads,
    "sarif": orjson.loads,
    "junit": ET.fromstring,
    "policyreport": lambda text: list(yaml.safe_load_all(text)),
    "metrics": lambda text: list(text_string_to_metric_families(text)),
}
"""How programs read the formats that are for them."""


@pytest.mark.parametrize("form", list(READ))
@given(name=st.text(max_size=40))
@example("\x85\u2028\ufeff\ufffe\U0001f600]]>")
def test_programs_can_read_it_whatever_a_manifest_says(form: str, name: str) -> None:
    obj = deployment(lifecycle=None)
    obj["metadata"]["name"] = name
    obj["metadata"]["namespace"] = name
    result = Audit(Snapshot.of([obj]), Config()).run([CHECKS["prestop-delay"]])
    READ[form](report(form, result))


def hostile_result(tmp_path: Path) -> AuditResult:
    return audited(tmp_path / "a.yaml", hostile())


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen |= {tag, *(name for name, _ in attrs)}
        self.scripts += tag == "script"


def test_the_page_holds_no_tag_of_a_manifest(tmp_path: Path) -> None:
    page = report("html", hostile_result(tmp_path))
    tags = Tags()
    tags.feed(page)
    assert tags.scripts == 2  # its data, and its own
    assert tags.seen.isdisjoint({"img", "onerror", "a", "href", "src", "link"})
    as_it_is = Tags()
    as_it_is.feed(page.replace("\\u003c", "<").replace("\\u003e", ">"))
    assert as_it_is.scripts > 2
    assert {"img", "onerror"} <= as_it_is.seen


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    text = report("html", audited(tmp_path / "a.yaml", deployment(lifecycle=None)))
    text = text.replace("http://www.w3.org/2000/svg", "")  # a name, which nobody asks for
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|url\(|@import", text)


def test_markdown_of_a_manifest_is_text(tmp_path: Path) -> None:
    text = report("markdown", hostile_result(tmp_path))
    rest = re.sub(r"<br>|&#\d+;", "", text)
    assert not re.search(r"[<`*]|\]\(|://\w|@\w|#\d", rest)


def test_a_row_of_a_markdown_table_has_as_many_cells_as_its_head(tmp_path: Path) -> None:
    table = [
        line
        for line in report("markdown", hostile_result(tmp_path)).splitlines()
        if line[:1] == "|"
    ]
    assert len(table) > 2
    assert {line.count("|") for line in table} == {6}


def test_a_command_for_github_names_file_line_and_check(tmp_path: Path) -> None:
    path = tmp_path / "a,b:c%.yaml"
    text = report("github", audited(path, deployment(lifecycle=None), scaled_object()))
    first = text.splitlines()[0]
    file = str(path).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    line = path.read_text().split("image:")[0].count("\n")
    found = re.fullmatch(r"::error file=(.*),line=(\d+),title=(.*?)::(.*)", first)
    assert found is not None
    assert (found[1], found[3]) == (file, "prestop-delay (DP104)")
    assert abs(int(found[2]) - line) < 30
    assert found[4].startswith("Deployment/inference/llama: spec.template")
    assert "%0Afix: Add" in found[4]


def test_a_suite_of_junit_is_a_workload_and_a_case_a_check(tmp_path: Path) -> None:
    objects = [deployment(lifecycle=None, startupProbe=None), scaled_object()]
    top = ET.fromstring(report("junit", audited(tmp_path / "a.yaml", *objects)))  # noqa: S314 - our own
    (suite,) = top
    assert {
        name: suite.get(name) for name in ("name", "tests", "failures", "errors", "skipped")
    } == {
        "name": "Deployment/inference/llama",
        "tests": "5",
        "failures": "2",
        "errors": "0",
        "skipped": "0",
    }
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["prestop-delay", "startup-budget"]


@pytest.mark.parametrize(
    ("objects", "tag"),
    [
        ([waived(), scaled_object()], "skipped"),
        ([deployment(lifecycle={"preStop": {"exec": {"command": ["/x"]}}})], "error"),
        ([deployment(lifecycle={"preStop": {"sleep": {"seconds": 10}}})], "system-out"),
    ],
    ids=["waived", "inconclusive", "below fail-on"],
)
def test_a_case_of_junit_says_what_it_is_besides_failed(
    objects: list[dict[str, object]], tag: str, tmp_path: Path
) -> None:
    top = ET.fromstring(report("junit", audited(tmp_path / "a.yaml", *objects)))  # noqa: S314 - our own
    case = next(top.iterfind(".//testcase[@name='prestop-delay']"))
    assert case.find(tag) is not None
    assert case.find("failure") is None


def test_a_case_of_junit_has_its_checks_id(tmp_path: Path) -> None:
    top = ET.fromstring(report("junit", audited(tmp_path / "a.yaml")))  # noqa: S314 - our own
    found = {
        str(case.get("name")): case.find("properties/property[@name='check_id']")
        for case in top.iter("testcase")
    }
    assert {name: one is not None and one.get("value") for name, one in found.items()} == {
        slug: CHECKS[slug].id for slug in FEW
    }


@each_format
def test_nothing_is_said_of_a_fix_that_a_check_does_not_name(form: str, tmp_path: Path) -> None:
    result = audited(tmp_path / "a.yaml", deployment(lifecycle=None))
    bare = replace(CHECKS["prestop-delay"], doc="Mine.")
    text = report(
        form,
        replace(
            result,
            notable=tuple(replace(outcome, check=bare) for outcome in result.notable),
        ),
    )
    assert "prestop-delay" in text
    assert not re.search(r"fix: *(?:<|$)|fix: *\\?n", text, re.MULTILINE)


def test_a_waived_finding_is_said_to_be_waived_once(tmp_path: Path) -> None:
    text = report("github", audited(tmp_path / "a.yaml", waived(), scaled_object()))
    (line,) = [line for line in text.splitlines() if line.startswith("::notice ")]
    assert line.count("waived: ") == 1
    assert line.endswith("%0Awaived: short answers (team-batch, until 2027-01-31)")


def test_hostile_names_come_back_out_of_xml(tmp_path: Path) -> None:
    top = ET.fromstring(report("junit", hostile_result(tmp_path)))  # noqa: S314 - our own
    assert "<script>alert(1)</script>" in str(top[0].get("name"))


def test_json_keeps_every_character(tmp_path: Path) -> None:
    found = orjson.loads(report("json", hostile_result(tmp_path)))
    assert "<script>" in found["findings"][0]["subject"]["name"]
