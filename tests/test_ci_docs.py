"""The pipelines that people copy are valid, their commands are taken, and their audits run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson
import pytest
import yaml

from drainproof.content import content
from tests.test_help import taken

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = content("checks").parent
BIN = Path(sys.executable).parent
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
FILES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs/ci").glob("*.yml")}
SCHEMAS = {
    "github": (
        ["--builtin-schema", "vendor.github-workflows"],
        ["--builtin-schema", "custom.github-workflows-require-timeout"],
    ),
    "gitlab": (["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"],),
}
"""The schemas that the hosts publish, as check-jsonschema brings them: nothing is downloaded."""
MANIFESTS = ROOT / "fixtures" / "manifests" / "demo" / "gpu"
GOOD, BAD = "as-it-should-be.yaml", "as-the-module-writes-it.yaml"


def refused(name: str, text: str, tmp_path: Path) -> str:
    """Return what the schemas of a pipeline's host say against it; nothing if it is valid."""
    (tmp_path / name).write_text(text)
    told = ""
    for schema in SCHEMAS[name[:6]]:
        done = subprocess.run(
            [BIN / "check-jsonschema", "--color", "never", *schema, tmp_path / name],
            capture_output=True,
            text=True,
            check=False,
        )
        told += done.stdout + done.stderr if done.returncode else ""
    return told


def scripts(name: str, text: str) -> Iterator[str]:
    """Yield each script of a pipeline."""
    loaded = yaml.safe_load(text)
    if name == "gitlab.yml":
        jobs = [job for job in loaded.values() if isinstance(job, dict) and "script" in job]
        yield from ("\n".join([*job["script"], *job.get("after_script", ())]) for job in jobs)
    else:
        yield from (step["run"] for step in steps(loaded) if "run" in step)


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def commands(script: str) -> list[str]:
    """Return the commands of drainproof in a script, each on one line."""
    lines = (line.strip() for line in re.sub(r"\\\n\s*", "", script).splitlines())
    return [line for line in lines if line.startswith("drainproof ")]


def unsafe(text: str) -> list[str]:
    """Return what is not as it must be in a workflow that disturbs a cluster."""
    loaded = yaml.safe_load(text)
    listed = steps(loaded)
    after = listed[[step.get("name") for step in listed].index("Chaos") + 1 :]
    (kubeconfig,) = (step for step in listed if step.get("id") == "kubeconfig")
    holds = {
        "no permission": loaded["permissions"] == {},
        "two runs never meet": loaded["concurrency"]["cancel-in-progress"] is False,
        "night and by hand": {"schedule", "workflow_dispatch"} == set(loaded[True]),
        "what comes after runs always": all(s["if"].startswith("always()") for s in after),
        "restored": any(s.get("run", "").startswith("drainproof restore") for s in after),
        "kubeconfig removed": any(s.get("run", "").startswith("rm -f") for s in after),
        "evidence kept": any("upload-artifact" in s.get("uses", "") for s in after),
        "secret as a variable": "${{" not in "".join(s.get("run", "") for s in listed),
        "secret in one step": text.count("secrets.") == 1 == len(kubeconfig["env"]),
    }
    return [what for what, is_so in holds.items() if not is_so]


def unpinned(text: str) -> list[str]:
    uses = re.findall(r"uses: (\S+)", text)
    return [name for name in uses if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", name)]


@pytest.mark.parametrize("name", FILES)
def test_the_published_schema_takes_a_pipeline(name: str, tmp_path: Path) -> None:
    assert refused(name, FILES[name], tmp_path) == ""


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("github-audit.yml", "runs-on:", "run-on:"),
        ("github-audit.yml", "    timeout-minutes: 10\n", ""),
        ("github-chaos.yml", "permissions: {}", "permissions: nothing"),
        ("gitlab.yml", "script:\n    - drainproof", "scripts:\n    - drainproof"),
        ("gitlab.yml", "codequality:", "codequalities:"),
    ],
)
def test_the_published_schema_refuses_a_broken_pipeline(
    name: str, old: str, new: str, tmp_path: Path
) -> None:
    assert old in FILES[name]
    assert name in refused(name, FILES[name].replace(old, new, 1), tmp_path)


def test_every_command_of_a_pipeline_and_of_the_page_is_one() -> None:
    found = [
        line
        for name, text in FILES.items()
        for part in scripts(name, text)
        for line in commands(part)
    ]
    called = [taken(line)[0] for line in [*found, *commands(PAGE)]]
    assert len(found) == 6
    assert {"audit", "chaos", "judge", "restore"} <= set(called)


def test_a_command_that_is_none_is_seen_to() -> None:
    (script,) = (s for s in scripts("", FILES["github-audit.yml"]) if s.startswith("drainproof"))
    (line,) = commands(script.replace("--github-step-summary", "--github-summary"))
    with pytest.raises(click.UsageError):
        taken(line)


@pytest.mark.parametrize("name", ["github-audit.yml", "github-chaos.yml"])
def test_every_action_is_pinned_by_its_commit(name: str) -> None:
    assert len(re.findall("uses:", FILES[name])) >= 2
    assert unpinned(FILES[name]) == []


def test_an_action_that_is_not_pinned_is_seen_to() -> None:
    assert unpinned("- uses: actions/checkout@v7 # v7") == ["actions/checkout@v7"]


def test_the_night_is_safe() -> None:
    assert unsafe(FILES["github-chaos.yml"]) == []


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("permissions: {}", "permissions: write-all", "no permission"),
        ("in-progress: false", "in-progress: true", "two runs never meet"),
        ("if: always() &&", "if: success() &&", "what comes after runs always"),
        ("run: drainproof restore", "run: echo restore", "restored"),
        ('"$STAGING_KUBECONFIG" >', '"${{ secrets.X }}" >', "secret as a variable"),
    ],
)
def test_a_night_that_is_not_safe_is_seen_to(old: str, new: str, what: str) -> None:
    assert old in FILES["github-chaos.yml"]
    assert what in unsafe(FILES["github-chaos.yml"].replace(old, new))


def bash(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script as GitHub and GitLab do, with the installed drainproof."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(folder), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def audit(name: str) -> str:
    """Return the script of a pipeline's audit, without what installs drainproof."""
    (script,) = (part for part in scripts(name, FILES[name]) if "drainproof audit" in part)
    return script


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    (tmp_path / "deploy").mkdir()
    return tmp_path / "deploy"


@pytest.mark.parametrize(("manifest", "code"), [(GOOD, 0), (BAD, 1)])
def test_the_audit_of_a_pull_request_says_what_there_is(
    manifest: str, code: int, deploy: Path
) -> None:
    (deploy / "vllm.yaml").write_bytes((MANIFESTS / manifest).read_bytes())
    step = deploy.parent / "summary"
    step.write_text("what was there before\n")
    done = bash(audit("github-audit.yml"), deploy.parent, GITHUB_STEP_SUMMARY=str(step))
    assert done.returncode == code, done.stdout + done.stderr
    assert ("::error file=deploy/vllm.yaml,line=" in done.stdout) is bool(code)
    assert ("❌ error | engine-drains" in step.read_text()) is bool(code)
    assert step.read_text().startswith("what was there before\n")
    assert "## drainproof: " in step.read_text()


def test_the_audit_of_a_pull_request_without_manifests_is_an_error(deploy: Path) -> None:
    step = deploy.parent / "summary"
    done = bash(audit("github-audit.yml"), deploy.parent, GITHUB_STEP_SUMMARY=str(step))
    assert done.returncode == 2


@pytest.mark.parametrize(("manifest", "code"), [(GOOD, 0), (BAD, 1)])
def test_the_audit_of_a_merge_request_leaves_its_reports(
    manifest: str, code: int, deploy: Path
) -> None:
    (deploy / "vllm.yaml").write_bytes((MANIFESTS / manifest).read_bytes())
    done = bash(audit("gitlab.yml"), deploy.parent)
    assert done.returncode == code, done.stdout + done.stderr
    reports = yaml.safe_load(FILES["gitlab.yml"])["drainproof-audit"]["artifacts"]["reports"]
    found = orjson.loads((deploy.parent / reports["codequality"]).read_bytes())
    paths = {one["location"]["path"] for one in found if one["severity"] == "major"}
    assert paths == ({"deploy/vllm.yaml"} if code else set())
    assert ("<failure" in (deploy.parent / reports["junit"]).read_text()) is bool(code)


def test_the_kubeconfig_of_a_night_is_for_its_owner_alone_and_goes(tmp_path: Path) -> None:
    named = {step.get("name"): step for step in steps(yaml.safe_load(FILES["github-chaos.yml"]))}
    where = {"RUNNER_TEMP": str(tmp_path), "GITHUB_ENV": str(tmp_path / "env")}
    script = named["Kubeconfig"]["run"]
    file = tmp_path / "kubeconfig"
    assert (
        bash(f"umask 0; {script}", tmp_path, STAGING_KUBECONFIG="a: 1\nb: 2", **where).returncode
        == 0
    )
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == "a: 1\nb: 2\n"
    assert (tmp_path / "env").read_text() == f"KUBECONFIG={file}\n"
    assert bash(named["Remove the kubeconfig"]["run"], tmp_path, **where).returncode == 0
    assert not file.exists()
    done = bash(script, tmp_path, STAGING_KUBECONFIG="", **where)
    assert done.returncode != 0
    assert "set this secret" in done.stderr


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize(("namespace", "code"), [("inference", 0), ("other", 1)])
def test_a_branch_fails_for_what_it_adds(namespace: str, code: int, tmp_path: Path) -> None:
    """The page's way to adopt an audit, in a repository that has findings already."""
    there, here = tmp_path / "origin", tmp_path / "here"
    bad = (MANIFESTS / BAD).read_text()
    (there / "deploy").mkdir(parents=True)
    (there / "deploy" / "vllm.yaml").write_text(bad)
    git(there, "init")
    git(there, "add", ".")
    git(there, "commit", "-m", "a")
    git(tmp_path, "clone", str(there), str(here))
    added = bad.replace("namespace: inference", f"namespace: {namespace}")
    (here / "deploy" / "vllm.yaml").write_text(f"# moved\n{added}")
    block = re.search(r"^  ```sh\n(.*?)^  ```$", PAGE, re.MULTILINE | re.DOTALL)
    assert block
    temp = tmp_path / "temp"
    temp.mkdir()
    step = tmp_path / "summary"
    variables = {"GITHUB_BASE_REF": "main", "RUNNER_TEMP": str(temp)}
    done = bash(block[1], here, GITHUB_STEP_SUMMARY=str(step), **variables)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("engine-drains DP102" in step.read_text()) is bool(code)


def pytests() -> list[str]:
    return [line.strip() for line in PAGE.splitlines() if line.startswith("    pytest ")]


def test_pytest_takes_the_commands_of_the_page(deploy: Path) -> None:
    (deploy / "vllm.yaml").write_bytes((MANIFESTS / GOOD).read_bytes())
    manifests, chaos = pytests()
    quick = "--collect-only -q -p no:cacheprovider"
    done = bash(f"{manifests} {quick}", deploy.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "engine-drains" in done.stdout
    done = bash(f"{chaos} {quick}", deploy.parent, KUBECONFIG="/dev/null")
    assert "rollout[deployment/vllm]" in done.stdout
    done = bash(f"{chaos} --faults x {quick}", deploy.parent, KUBECONFIG="/dev/null")
    assert "unrecognized arguments" in done.stderr
