"""Chaos on the embedded cluster with the simulated engine: every verdict, and every way out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.content import content
from tests.e2e.targets import TOKENS_PER_S, Target, streams_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drainproof.clusters import Cluster

pytestmark = pytest.mark.e2e

PATIENCE_S = 240
READY_S = 60
STREAM_S = 10
STEADY_LOAD = ("--rate", "3", "--tokens", str(TOKENS_PER_S * STREAM_S), "--after", "3")
"""About 30 streams of 10 s in flight."""

DRAINS = ("--shutdown-timeout=30",)
SOUND = Target(namespace="chaos-sound", flags=DRAINS, prestop_s=3, grace_s=40)
CASES: dict[str, tuple[Target, tuple[str, ...]]] = {
    "default flags": (Target(namespace="chaos-default"), STEADY_LOAD),
    "drain without a delay": (
        Target(namespace="chaos-no-delay", flags=DRAINS, grace_s=40),
        ("--rate", "8", "--tokens", str(TOKENS_PER_S * 5), "--after", "3"),
    ),
    "drain, delay and grace": (SOUND, STEADY_LOAD),
    "short grace": (
        Target(namespace="chaos-short-grace", flags=DRAINS, prestop_s=1, grace_s=4),
        STEADY_LOAD,
    ),
    "short streams": (
        Target(namespace="chaos-short-streams", flags=DRAINS, prestop_s=4, grace_s=40),
        ("--rate", "3", "--tokens", str(TOKENS_PER_S), "--after", "3"),
    ),
    "no pod stopped": (
        Target(namespace="chaos-no-stop", flags=DRAINS, load_time_s=20.0),
        (*STEADY_LOAD, "--timeout", "3"),
    ),
}


@dataclass(frozen=True)
class Run:
    """What came of a run."""

    code: int
    verdict: dict[str, Any]
    errors: str
    evidence: Path
    same_template: bool
    residue: list[str]


@pytest.fixture(scope="module")
def runs(embedded: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """All cases, run at once: each has its own namespace."""
    folder = tmp_path_factory.mktemp("evidence")
    for target, _ in CASES.values():
        target.deploy(embedded)
    begun = {}
    for name, (target, options) in CASES.items():
        target.ready(embedded)
        before = target.template(embedded)
        evidence = folder / target.namespace
        process = target.chaos(embedded, evidence, *options, "--format", "json")
        begun[name] = (process, before, evidence)
    ended = {}
    for name, (process, before, evidence) in begun.items():
        said, errors = process.communicate(timeout=PATIENCE_S)
        target = CASES[name][0]
        same = target.template(embedded) == before
        verdict = json.loads(said) if said else {}
        residue = target.residue(embedded)
        ended[name] = Run(process.returncode, verdict, errors, evidence, same, residue)
    yield ended
    for target, _ in CASES.values():
        target.remove(embedded)


def test_default_flags_cut_streams_and_the_silent_ones_are_counted(runs: dict[str, Run]) -> None:
    run = runs["default flags"]
    assert (run.code, run.verdict.get("verdict")) == (1, "fail"), run.errors
    assert run.verdict["dropped"] >= 20
    assert run.verdict["silently_truncated"] == run.verdict["outcomes"]["in_band_error"]
    assert run.verdict["cause"] == "engine-aborts-on-sigterm"
    assert run.verdict["check"] == "engine-drains"


def test_a_drain_without_a_delay_fails_only_for_new_requests_and_says_which(
    runs: dict[str, Run],
) -> None:
    run = runs["drain without a delay"]
    assert run.verdict.get("dropped") == 0, run.errors
    lost = run.verdict["not_served"]
    assert run.verdict["verdict"] == ("fail" if lost else "pass"), run.verdict["reasons"]
    if lost:
        assert run.verdict["cause"] in {"routed-to-terminating-pod", "no-ready-endpoint"}
        assert f"{lost} new requests failed: " in run.verdict["reasons"][0]


def test_a_drain_with_a_delay_and_enough_grace_passes(runs: dict[str, Run]) -> None:
    run = runs["drain, delay and grace"]
    assert (run.code, run.verdict.get("verdict")) == (0, "pass"), (run.errors, run.verdict)
    assert (run.verdict["dropped"], run.verdict["not_served"]) == (0, 0)
    (victim,) = run.verdict["victims"]
    assert victim["at_deletion"]["gauge"] >= 20
    assert run.verdict["gauge_agrees"]


def test_a_grace_period_shorter_than_the_streams_fails_for_that(runs: dict[str, Run]) -> None:
    run = runs["short grace"]
    assert (run.code, run.verdict.get("verdict")) == (1, "fail"), run.errors
    assert (run.verdict["cause"], run.verdict["check"]) == ("grace-period-exceeded", "grace-period")


def test_a_fault_that_finds_no_stream_in_flight_is_inconclusive(runs: dict[str, Run]) -> None:
    run = runs["short streams"]
    assert (run.code, run.verdict.get("verdict")) == (3, "inconclusive"), run.errors
    assert "no stream was in flight" in run.verdict["reasons"][0]


def test_a_rollout_that_never_got_to_stop_a_pod_is_inconclusive(runs: dict[str, Run]) -> None:
    run = runs["no pod stopped"]
    assert (run.code, run.verdict.get("verdict")) == (3, "inconclusive"), run.errors
    assert "no pod was stopped" in run.verdict["reasons"][0]


@pytest.mark.parametrize("name", CASES)
def test_afterwards_the_target_is_as_it_was(runs: dict[str, Run], name: str) -> None:
    assert runs[name].same_template
    assert runs[name].residue == []


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_can_be_repeated_offline_byte_for_byte(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    before = (run.evidence / "verdict.json").read_bytes()
    again = subprocess.run(
        [sys.executable, "-m", "drainproof", "judge", str(run.evidence), "--format", "json"],
        capture_output=True,
        check=False,
    )
    assert again.stdout == before
    assert again.returncode == run.code
    assert (run.evidence / "verdict.json").read_bytes() == before


@pytest.fixture(scope="module")
def sound(embedded: Cluster) -> Iterator[Target]:
    target = replace(SOUND, namespace="chaos-bad-input")
    target.deploy(embedded)
    target.ready(embedded)
    yield target
    target.remove(embedded)


def refused(process: subprocess.Popen[str]) -> str:
    """Return the error of a run that must end with one clear error and exit code 2."""
    said, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2, (said, errors)
    assert "Traceback" not in errors
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    return line


def unharmed(embedded: Cluster, target: Target, act: Callable[[], str]) -> str:
    before = target.template(embedded)
    error = act()
    assert target.template(embedded) == before
    assert target.residue(embedded) == []
    return error


def test_a_namespace_without_consent_is_refused(embedded: Cluster, tmp_path: Path) -> None:
    target = replace(SOUND, namespace="chaos-no-consent", consent=False)
    target.deploy(embedded)
    error = refused(target.chaos(embedded, tmp_path / "e"))
    target.remove(embedded)
    assert "namespace chaos-no-consent does not allow chaos" in error


def test_a_service_that_selects_nothing_is_refused(embedded: Cluster, tmp_path: Path) -> None:
    target = replace(SOUND, namespace="chaos-no-service", service_selects="nothing")
    target.deploy(embedded)
    target.ready(embedded)
    error = refused(target.chaos(embedded, tmp_path / "e"))
    target.remove(embedded)
    assert "no Service in namespace chaos-no-service selects the pods of deployment/sim" in error


def test_an_unknown_context_is_refused(tmp_path: Path) -> None:
    command = ["chaos", "deployment/sim", "--context", "nowhere", "-n", "x"]
    process = subprocess.Popen(
        [sys.executable, "-m", "drainproof", *command, "--evidence", str(tmp_path / "e")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "no context 'nowhere'" in refused(process)


def test_a_target_that_does_not_exist_is_refused(embedded: Cluster, sound: Target) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "drainproof", "chaos", "deployment/other"),
            *("--context", embedded.context, "-n", sound.namespace),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "deployment/other does not exist in namespace chaos-bad-input" in refused(process)


def test_a_target_without_a_ready_pod_is_refused(embedded: Cluster, tmp_path: Path) -> None:
    target = replace(SOUND, namespace="chaos-no-pod", load_time_s=600.0)
    target.deploy(embedded)
    error = refused(target.chaos(embedded, tmp_path / "e"))
    target.remove(embedded)
    assert "has no ready pod" in error


def test_an_image_that_cannot_be_had_is_refused(
    embedded: Cluster, sound: Target, tmp_path: Path
) -> None:
    def act() -> str:
        return refused(sound.chaos(embedded, tmp_path / "e", image="nowhere.invalid/client:1"))

    error = unharmed(embedded, sound, act)
    assert "cannot start from image nowhere.invalid/client:1" in error


def test_a_job_that_cannot_be_scheduled_is_refused(
    embedded: Cluster, sound: Target, tmp_path: Path
) -> None:
    def act() -> str:
        return refused(sound.chaos(embedded, tmp_path / "e", "--node-selector", "no=where"))

    assert "cannot be scheduled" in unharmed(embedded, sound, act)


def test_missing_permissions_are_named_by_verb_and_resource(
    embedded: Cluster, sound: Target, tmp_path: Path
) -> None:
    where = ("-n", sound.namespace)
    embedded.kubectl(*where, "create", "serviceaccount", "limited")
    embedded.kubectl(
        *(*where, "create", "rolebinding", "limited", "--clusterrole=view"),
        f"--serviceaccount={sound.namespace}:limited",
    )
    token = embedded.kubectl(*where, "create", "token", "limited").strip()
    config = tmp_path / "kubeconfig"
    config.write_text(embedded.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    settings = json.loads(config.read_text())
    settings["contexts"][0]["name"] = "limited"
    settings["users"][0]["user"] = {"token": token}
    config.write_text(json.dumps(settings))
    ended = embedded.run(
        [
            *("env", f"KUBECONFIG={config}", sys.executable, "-m", "drainproof"),
            *("chaos", "deployment/sim", "--context", "limited", *where),
        ],
        check=False,
    )
    assert ended.returncode == 2
    assert "create jobs.batch" in ended.stderr
    assert "patch deployments.apps" in ended.stderr
    assert token not in ended.stderr


def test_a_chaos_check_is_a_pytest_item_with_its_report(
    embedded: Cluster, sound: Target, tmp_path: Path
) -> None:
    junit = tmp_path / "junit.xml"
    ended = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pytest",
                str(content("checks") / "chaos"),
                "--fault",
                "rollout",
            ),
            *("--context", embedded.context, "--namespace", sound.namespace),
            *("--target", "deployment/sim", *STEADY_LOAD[:4], "--junit-xml", str(junit)),
            *("--image", streams_image(embedded), "--evidence", str(tmp_path / "evidence")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    written = junit.read_text()
    assert "rollout[deployment/sim]" in written
    assert '<property name="check" value="rollout"' in written
    assert '<property name="verdict" value="pass"' in written
    assert (tmp_path / "evidence" / "rollout" / "verdict.json").exists()


def in_the_middle_of_a_rollout(
    embedded: Cluster, target: Target, evidence: Path, number: signal.Signals
) -> tuple[int, str]:
    """Send a signal to a run as soon as its fault has begun; return its code and its errors."""
    told: list[str] = []
    begun = threading.Event()

    def listen() -> None:
        for line in process.stderr or ():
            told.append(line)
            if line.rstrip().endswith("] rollout"):
                begun.set()

    with target.chaos(embedded, evidence, *STEADY_LOAD) as process:
        listener = threading.Thread(target=listen)
        listener.start()
        assert begun.wait(PATIENCE_S), "".join(told)
        embedded.kubectl(
            *("-n", target.namespace, "wait", "deployment/sim", f"--timeout={READY_S}s"),
            "--for=jsonpath={.status.replicas}=2",
        )
        process.send_signal(number)
        process.wait(PATIENCE_S)
        listener.join()
    return process.returncode, "".join(told)


@pytest.fixture
def slow(embedded: Cluster, request: pytest.FixtureRequest) -> Iterator[Target]:
    """A target whose rollout takes long enough to be interrupted."""
    name = f"chaos-{request.node.originalname.split('_')[1]}"
    target = replace(SOUND, namespace=name, load_time_s=8.0)
    target.deploy(embedded)
    target.ready(embedded)
    yield target
    target.remove(embedded)


def test_ctrl_c_in_the_middle_of_a_rollout_leaves_the_target_as_it_was(
    embedded: Cluster, slow: Target, tmp_path: Path
) -> None:
    before = slow.template(embedded)
    code, errors = in_the_middle_of_a_rollout(embedded, slow, tmp_path / "e", signal.SIGINT)
    assert code == 2, errors
    assert "error: interrupted by Ctrl-C; the target is as it was" in errors
    assert slow.template(embedded) == before
    assert slow.residue(embedded) == []


def test_killed_runs_are_undone_by_restore(embedded: Cluster, slow: Target, tmp_path: Path) -> None:
    before = slow.template(embedded)
    code, errors = in_the_middle_of_a_rollout(embedded, slow, tmp_path / "e", signal.SIGKILL)
    assert code == -signal.SIGKILL, errors
    assert slow.template(embedded) != before
    restored = subprocess.run(
        [
            *(sys.executable, "-m", "drainproof", "restore"),
            *("--context", embedded.context, "-n", slow.namespace),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert restored.returncode == 0, restored.stderr
    assert "pod template put back" in restored.stdout
    assert slow.template(embedded) == before
    assert slow.residue(embedded) == []
