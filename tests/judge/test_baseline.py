from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from drainproof.collect import files
from drainproof.errors import ExitCode, UserError
from drainproof.judge import baseline
from drainproof.judge.config import Audit, Config
from drainproof.judge.registry import load
from drainproof.judge.verdict import Verdict
from tests.manifests import Raw, deployment, scaled_object

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.audit import AuditResult

CHECKS = [load(kind="manifest").get(slug) for slug in ("prestop-delay", "startup-budget")]
OLD = deployment(lifecycle=None)


def audited(folder: Path, *objects: Raw, known: Path | None = None, name: str = "a") -> AuditResult:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    return Audit(files.read([file]), Config(baseline=known)).run(CHECKS)


@pytest.fixture
def known(tmp_path: Path) -> Path:
    text, count = baseline.write(audited(tmp_path, OLD))
    assert count == 1
    file = tmp_path / "known.json"
    file.write_text(text)
    return file


def test_todays_findings_are_taken_as_given(tmp_path: Path, known: Path) -> None:
    result = audited(tmp_path, OLD, known=known)
    assert (result.findings, result.known, result.gone) == ((), 1, 0)
    assert result.outcomes[0].verdict is Verdict.WAIVED
    assert result.exit_code is ExitCode.CLEAN


def test_lines_and_files_and_the_order_of_containers_may_change(
    tmp_path: Path, known: Path
) -> None:
    moved = deployment(lifecycle=None)
    moved["metadata"]["labels"] = {str(number): "x" for number in range(9)}
    moved["spec"]["template"]["spec"]["containers"].insert(0, {"name": "log", "image": "fluentd:1"})
    result = audited(tmp_path, scaled_object(), moved, known=known, name="renamed")
    assert (result.findings, result.known) == ((), 1)


def test_a_new_finding_is_reported_beside_the_old_ones(tmp_path: Path, known: Path) -> None:
    result = audited(tmp_path, deployment(lifecycle=None, startupProbe=None), known=known)
    assert [outcome.check.slug for outcome, _ in result.findings] == ["startup-budget"]
    assert result.exit_code is ExitCode.FINDINGS


def test_another_subject_with_the_same_finding_is_new(tmp_path: Path, known: Path) -> None:
    other = deployment(lifecycle=None)
    other["metadata"]["name"] = "other"
    result = audited(tmp_path, OLD, other, known=known)
    assert [outcome.subject.name for outcome, _ in result.findings] == ["other"]


def test_a_second_finding_of_the_same_place_is_new(tmp_path: Path, known: Path) -> None:
    assert len(audited(tmp_path, OLD, OLD, known=known).findings) == 1


def test_what_got_worse_is_new(tmp_path: Path) -> None:
    sleep = [deployment(lifecycle={"preStop": {"sleep": {"seconds": s}}}) for s in (10, 2)]
    file = tmp_path / "known.json"
    file.write_text(baseline.write(audited(tmp_path, sleep[0]))[0])
    assert audited(tmp_path, sleep[0], known=file).findings == ()
    assert len(audited(tmp_path, sleep[1], known=file).findings) == 1


def test_findings_that_are_no_more_are_counted(tmp_path: Path, known: Path) -> None:
    assert audited(tmp_path, deployment(), known=known).gone == 1


def test_waived_findings_and_waivers_gone_bad_stay_out(tmp_path: Path) -> None:
    obj = deployment(lifecycle=None)
    waiver = "{reason: r, owner: o, expires: 2099-01-01}"
    obj["metadata"]["annotations"] = {
        "waive.drainproof.dev/prestop-delay": waiver,
        "waive.drainproof.dev/startup-budget": waiver,
    }
    result = audited(tmp_path, obj)
    assert [outcome.check.slug for outcome, _ in result.findings] == ["prestop-delay", "waivers"]
    assert baseline.write(result)[1] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", r"known\.json:1: not JSON"),
        ("[]", "expected a baseline"),
        ('{"kind": "drainproof-baseline", "version": 9}', "of version 9; this drainproof reads"),
        ('{"kind": "drainproof-baseline", "version": 1, "findings": [1]}', "a damaged baseline"),
        (
            (
                '{"kind": "drainproof-baseline", "version": 1, "findings": [{"check": "a", '
                '"subject": "b", "object": "b", "path": "", "level": "error", "count": -1}]}'
            ),
            "a damaged baseline: expected counts of at least 1",
        ),
        ('{"kind": "drainproof-baseline", "version": "1"}', "of version '1'; this drainproof"),
    ],
)
def test_a_file_that_is_no_baseline_is_an_error(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "known.json"
    file.write_text(text)
    with pytest.raises(UserError, match=said):
        baseline.read(file)


def test_a_baseline_that_is_not_there_says_how_to_write_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--write-baseline"):
        baseline.read(tmp_path / "none.json")
