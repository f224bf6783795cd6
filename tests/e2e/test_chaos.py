"""Chaos on the embedded cluster with the simulated engine: every verdict, and every way out."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.content import content
from drainproof.judge.chaos import HISTORY
from drainproof.streams.history import Fault, read
from tests.e2e.runs import Runs, asked
from tests.e2e.targets import TOKENS_PER_S, Target, streams_image, while_the_client_kept_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drainproof.clusters import Cluster

pytestmark = pytest.mark.e2e

PATIENCE_S = 240
WRONG = "wrong_tokens"
READY_S = 60
AT_ONCE = 3
"""Runs at a time: each waits more than it works, so this many do on two cores."""
STREAM_S = 6
LOAD = ("--rate", "4", "--tokens", str(TOKENS_PER_S * STREAM_S), "--after", "2")
"""About 24 streams in flight."""
BUSY = ("--rate", "50", "--tokens", str(TOKENS_PER_S * 2), "--after", "2")
"""A new request every 20 ms. Streams of 2 s keep an engine that drains there to refuse them."""
CROWD = ("--rate", "20", "--tokens", str(TOKENS_PER_S * 3), "--after", "2")
"""About 60 streams in flight, and a new request every 50 ms."""
DRAINS = ("--shutdown-timeout=10",)
SOUND = Target(namespace="chaos-sound", flags=DRAINS, prestop_s=2, grace_s=15)
PAIR = replace(SOUND, replicas=2)
HASTY = replace(SOUND, prestop_s=0, replicas=4, load_time_s=0.5)
"""Told to end while they still are endpoints. kube-proxy writes its rules at most once a second: it
does so when a new pod is ready, so the old one, deleted at once, stays in them for most of a
second. Another change in the cluster may shift this for one pod or two, not for all of four."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A run, and what must come of it."""

    name: str
    target: Target
    fault: str = "rollout"
    options: tuple[str, ...] = LOAD
    outcomes: frozenset[str] = frozenset()
    """The names of its failed streams."""
    beside: frozenset[str] = frozenset()
    """Others that single streams may have."""
    cause: str = ""
    causes: frozenset[str] = frozenset()
    """Others that single streams may have."""
    effect: str = "dropped"
    alone: bool = False
    """Whether it disturbs other targets, too."""
    silent: bool = False
    """Whether all of the failed streams look whole to an ordinary client."""


def flaw(how: str, *outcomes: str, **more: Any) -> Case:  # noqa: ANN401 - fields of a case
    """Return the case of what an engine does at SIGTERM, under a rollout."""
    expected: dict[str, Any] = {"cause": "engine-aborts-on-sigterm", **more}
    target = expected.pop("target", SOUND)
    flags = (*target.flags, f"--on-sigterm={how}")
    return Case(
        name=how,
        target=replace(target, namespace=f"chaos-{how}", flags=flags),
        outcomes=frozenset(outcomes),
        **expected,
    )


ENDED = frozenset({"refused", "reset"})
"""What requests get that an engine had not taken up when its process ended."""

FLAWS = (
    flaw("exit", "truncated_framing"),
    flaw("vllm", "in_band_error", target=replace(SOUND, flags=()), silent=True),
    flaw("abort-reason", "aborted", silent=True),
    flaw("clean-end", "no_finish_reason", silent=True),
    flaw("cut-event", "partial_event", silent=True),
    flaw("drop-last-chunk", "truncated_framing"),
    flaw("reset", "reset"),
    flaw("early-length", "short", silent=True),
    flaw("hang", "truncated_framing"),
    flaw("stall", "truncated_framing"),
    flaw(
        *("ignore", "truncated_framing"),
        target=replace(SOUND, grace_s=5),
        cause="grace-period-exceeded",
    ),
    flaw("repeat-token", WRONG, silent=True, cause="unknown"),
    flaw("skip-token", WRONG, silent=True, cause="unknown"),
    flaw("foreign-token", WRONG, silent=True, cause="unknown"),
    flaw(
        *("drain", "rejected"),
        target=HASTY,
        beside=ENDED,
        options=BUSY,
        effect="not_served",
        cause="routed-to-terminating-pod",
    ),
    flaw(
        *("drain-503", "rejected"),
        target=HASTY,
        beside=ENDED,
        options=BUSY,
        effect="not_served",
        cause="routed-to-terminating-pod",
    ),
    Case(
        name="leaked readiness",
        target=replace(
            SOUND,
            namespace="chaos-leak",
            flags=(*DRAINS, "--leak-readiness"),
            load_time_s=4.0,
            prestop_s=8,
            grace_s=25,
        ),
        options=("--rate", "4", "--tokens", str(TOKENS_PER_S * 12), "--after", "2"),
        outcomes=frozenset({"rejected"}),
        effect="not_served",
        cause="no-ready-endpoint",
    ),
    Case(
        name="no surge",
        target=replace(SOUND, namespace="chaos-no-surge", surge=0, load_time_s=4.0),
        outcomes=frozenset({"rejected"}),  # by the pod that drains: there is no other
        effect="not_served",
        cause="no-ready-endpoint",
        causes=frozenset({"routed-to-terminating-pod"}),  # the new one is ready, its rules come
    ),
    Case(
        name="short grace",
        target=replace(SOUND, namespace="chaos-short-grace", grace_s=4),
        outcomes=frozenset({"truncated_framing"}),
        cause="grace-period-exceeded",
    ),
)
"""Each flaw of an engine or of a manifest, and the name and the cause that it must fail with."""

HARMLESS = (
    Case(name="a sound engine", target=SOUND),
    Case(
        name="an engine that says that it drains",
        target=replace(SOUND, namespace="chaos-honest", flags=(*DRAINS, "--on-sigterm=drain-503")),
    ),
    Case(
        name="an engine that ignores SIGTERM and outlives its streams",
        target=replace(
            SOUND, namespace="chaos-ignores", flags=("--on-sigterm=ignore",), grace_s=10
        ),
    ),
)
"""Sound settings, which a rollout costs nothing."""


def of_a_pair(fault: str, flags: tuple[str, ...] = DRAINS, **more: Any) -> Case:  # noqa: ANN401 - fields of a case
    """Return the case of a fault on one of two replicas."""
    words = re.sub(r"[^a-z]+", "-", fault).strip("-")
    name = f"chaos-{words}{'' if flags == DRAINS else '-cut'}"
    target = replace(more.pop("target", PAIR), namespace=name, flags=flags)
    return Case(name=f"{fault} {' '.join(flags)}", target=target, fault=fault, **more)


GRACEFUL = tuple(
    of_a_pair(fault, alone=fault == "node-drain")
    for fault in (
        "rollout",
        f"rollout:args=--token-rate={TOKENS_PER_S + 1}",
        "scale-down",
        "pod-delete",
        "evict",
        "node-drain",
        "endpoint-lag",
    )
)
"""What stops a pod of a sound engine and must cost nothing."""

CUT = tuple(
    of_a_pair(
        fault,
        (),
        alone=fault == "node-drain",
        outcomes=frozenset({"in_band_error"}),
        cause="engine-aborts-on-sigterm",
        silent=True,
    )
    for fault in ("scale-down", "pod-delete", "evict", "node-drain")
)
"""The same on an engine that aborts at SIGTERM."""

MET = (
    of_a_pair(
        "endpoint-lag:rate=50,tokens=10,times=4",  # of which three are as in HASTY
        (*DRAINS, "--on-sigterm=drain"),
        target=replace(PAIR, prestop_s=0),
        outcomes=frozenset({"rejected"}),
        effect="not_served",
        cause="routed-to-terminating-pod",
    ),
    of_a_pair(
        "scale-up",
        (*DRAINS, "--leak-readiness"),
        target=replace(PAIR, load_time_s=8.0),
        options=CROWD,  # a third of what comes in its first seconds meets the new pod
        outcomes=frozenset({"rejected"}),
        effect="not_served",
        cause="no-ready-endpoint",
    ),
)
"""What only new requests meet: a pod that no longer takes them, and one that doesn't yet."""

UNREADY = (*DRAINS, "--leak-readiness")
"""Ready as soon as it runs, and serving when its model is loaded: too late to have recovered."""
CORE = "container-kill:process=engine-core"
CROWDED = (*DRAINS, "--max-num-seqs=50", "--max-queued-requests=0")
"""What two pods can carry of a crowd, and one can't."""
STILL_DOWN = (
    *(
        of_a_pair(
            fault,
            UNREADY,
            target=replace(PAIR, load_time_s=25.0),
            outcomes=frozenset({"rejected"}),
            effect="not_served",
            cause="no-ready-endpoint",
        )
        for fault in ("container-kill", "force-delete")
    ),
    of_a_pair(
        CORE,
        (*DRAINS, "--engine-core"),
        outcomes=frozenset({"in_band_error"}),
        cause="unknown",
        silent=True,
    ),
    *(
        of_a_pair(
            fault,
            CROWDED,
            alone=fault == "node-loss",
            options=CROWD,
            outcomes=frozenset({"rejected"}),
            beside=frozenset({"refused"}),  # a port used before is still bound to the lost pod
            effect="not_served",
            cause="unknown",
        )
        for fault in ("readiness-flap:times=2", "node-loss")
    ),
)
"""What an abrupt fault may not cost either: new requests once there was time to recover, and a
stream on its victim that ends as if it were whole. And a pod that can't do the work of two."""

NO_VICTIM = tuple(
    of_a_pair(fault) for fault in ("scale-up", "readiness-flap:times=2", "evict:budget=refuse")
)
"""What stops no pod of a sound engine, and must cost nothing."""

ABRUPT = tuple(
    of_a_pair(fault, alone=fault == "node-loss")
    for fault in ("container-kill", "force-delete", "node-loss")
)
"""What may cost the streams on the pod that it hits."""

DOUBTFUL = {
    "short streams": (
        Case(
            name="short streams",
            target=replace(SOUND, namespace="chaos-short-streams", prestop_s=4),
            options=("--rate", "3", "--tokens", str(TOKENS_PER_S), "--after", "2"),
        ),
        "no stream was in flight",
    ),
    "no pod stopped": (
        Case(
            name="no pod stopped",
            target=replace(SOUND, namespace="chaos-no-stop", load_time_s=20.0),
            options=(*LOAD, "--fault-timeout", "3"),
        ),
        "no pod was stopped",
    ),
}
"""Runs that prove nothing, and the doubt that says so."""

CASES = {
    case.name: case
    for case in (
        *FLAWS,
        *HARMLESS,
        *(case for case, _ in DOUBTFUL.values()),
        *GRACEFUL,
        *CUT,
        *MET,
        *STILL_DOWN,
        *NO_VICTIM,
        *ABRUPT,
    )
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

    @property
    def fault(self) -> dict[str, Any]:
        """What the verdict says of the one fault; nothing if there is none."""
        faults: list[dict[str, Any]] = self.verdict.get("faults") or [self.verdict]
        (fault,) = faults
        return fault


class ChaosRuns(Runs[Case, Run]):
    """Chaos runs, each in a namespace of its own."""

    def run(self, case: Case) -> Run:
        """Deploy its target, run its fault, and remove it."""
        cluster, target = self.cluster, case.target

        def run(evidence: Path) -> Run:
            target.ready(cluster)
            before = target.template(cluster)
            options = ("--fault", case.fault, *case.options, "--format", "json")
            process = target.chaos(cluster, evidence, *options)
            said, errors = process.communicate(timeout=PATIENCE_S)
            return Run(
                process.returncode,
                json.loads(said) if said else {},
                errors,
                evidence,
                target.template(cluster) == before,
                target.residue(cluster),
            )

        target.deploy(cluster)
        try:
            return while_the_client_kept_up(run, self.folder / target.namespace)
        finally:
            target.remove(cluster)


@pytest.fixture(scope="module")
def runs(
    embedded: Cluster, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[ChaosRuns]:
    begun = ChaosRuns(embedded, tmp_path_factory.mktemp("evidence"), asked(request, CASES), AT_ONCE)
    yield begun
    begun.close()


def told(run: Run) -> str:
    """Return all that a run said, for a test that fails."""
    short = [
        {key: fault[key] for key in ("fault", "verdict", "reasons", "doubts", "causes")}
        for fault in run.verdict.get("faults", [])
    ]
    return f"{json.dumps(run.verdict)[:4000]}\n{run.errors}\n{json.dumps(short, indent=1)}"


@pytest.mark.parametrize("name", [case.name for case in (*FLAWS, *CUT, *MET, *STILL_DOWN)])
def test_a_flaw_fails_with_its_name_and_its_cause(runs: ChaosRuns, name: str) -> None:
    case, run = CASES[name], runs[name]
    assert (run.code, run.verdict.get("verdict")) == (1, "fail"), told(run)
    failed = run.fault["failures"]
    assert {failure["outcome"] for failure in failed} - case.beside == case.outcomes, told(run)
    assert {failure["effect"] for failure in failed} == {case.effect}
    assert {failure["cause"] for failure in failed} - case.causes == {case.cause}, told(run)
    assert {failure["silently_truncated"] for failure in failed} == {case.silent}
    assert run.fault["cause"] == case.cause
    assert run.fault["failed_before"] == 0


@pytest.mark.parametrize("name", [case.name for case in (*HARMLESS, *GRACEFUL)])
def test_a_sound_setting_passes(runs: ChaosRuns, name: str) -> None:
    run = runs[name]
    assert (run.code, run.verdict.get("verdict")) == (0, "pass"), told(run)
    assert (run.fault["dropped"], run.fault["not_served"]) == (0, 0)
    assert run.fault["victims"]
    assert run.fault["exposed"] > 0
    assert run.fault["gauge_agrees"]


@pytest.mark.parametrize("name", [case.name for case in NO_VICTIM])
def test_what_stops_no_pod_costs_nothing(runs: ChaosRuns, name: str) -> None:
    run = runs[name]
    assert (run.code, run.verdict.get("verdict")) == (0, "pass"), told(run)
    assert (run.fault["dropped"], run.fault["not_served"]) == (0, 0)
    assert [victim["deleted"] for victim in run.fault["victims"] if victim["deleted"]] == []


@pytest.mark.parametrize("name", [case.name for case in ABRUPT])
def test_an_abrupt_fault_costs_only_what_was_on_its_victim(runs: ChaosRuns, name: str) -> None:
    run = runs[name]
    assert (run.code, run.verdict.get("verdict")) == (0, "pass"), told(run)
    assert 0 < run.fault["dropped"] <= run.fault["exposed"] + 2, told(run)
    assert run.fault["silently_truncated"] == 0


@pytest.mark.parametrize("name", DOUBTFUL)
def test_a_run_that_proves_nothing_is_inconclusive(runs: ChaosRuns, name: str) -> None:
    run = runs[name]
    assert (run.code, run.verdict.get("verdict")) == (3, "inconclusive"), told(run)
    assert DOUBTFUL[name][1] in run.fault["reasons"][0]


@pytest.mark.parametrize("name", CASES)
def test_afterwards_the_target_is_as_it_was(runs: ChaosRuns, name: str) -> None:
    assert runs[name].same_template
    assert runs[name].residue == []


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_can_be_repeated_offline_byte_for_byte(runs: ChaosRuns, name: str) -> None:
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

    def run(evidence: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(sys.executable, "-m", "pytest", str(content("checks") / "chaos")),
                *("--fault", "rollout", *LOAD[:4], "--junit-xml", str(junit)),
                *("--context", embedded.context, "--namespace", sound.namespace),
                *("--target", "deployment/sim", "--evidence", str(evidence)),
                *("--image", streams_image(embedded)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )

    ended = while_the_client_kept_up(run, tmp_path / "evidence")
    assert ended.returncode == 0, ended.stdout
    written = junit.read_text()
    assert "rollout[deployment/sim]" in written
    assert '<property name="check" value="rollout"' in written
    assert '<property name="verdict" value="pass"' in written
    assert list(tmp_path.glob("evidence/*/verdict.json"))


def test_streams_of_a_length_that_nobody_gave_outlast_what_their_pod_waits(
    embedded: Cluster, tmp_path: Path
) -> None:
    target = replace(
        SOUND, namespace="chaos-length", flags=("--shutdown-timeout=40",), grace_s=50, prestop_s=2
    )

    def run(evidence: Path) -> tuple[int, dict[str, Any], str]:
        target.ready(embedded)
        options = ("--rate", "1", "--after", "2", "--format", "json")
        process = target.chaos(embedded, evidence, *options)
        said, errors = process.communicate(timeout=PATIENCE_S)
        return process.returncode, json.loads(said) if said else {}, errors

    target.deploy(embedded)
    try:
        code, verdict, errors = while_the_client_kept_up(run, tmp_path)
        residue = target.residue(embedded)
    finally:
        target.remove(embedded)
    assert (code, verdict.get("verdict")) == (0, "pass"), errors
    tokens = verdict["load"]["max_tokens"]
    assert TOKENS_PER_S * 30 <= tokens < TOKENS_PER_S * 36
    assert f"streams of {tokens} tokens: " in errors
    assert "for 30 s, which outlasts the preStop delay of 2 s" in errors
    assert verdict["faults"][0]["victims"][0]["at_sigterm"]["least"] > 0
    assert residue == []


def test_a_context_without_room_for_such_streams_is_refused(
    embedded: Cluster, tmp_path: Path
) -> None:
    flags = (*DRAINS, "--max-model-len=1300")
    target = replace(SOUND, namespace="chaos-no-room", flags=flags, prestop_s=20, grace_s=40)
    target.deploy(embedded)
    try:
        target.ready(embedded)
        error = unharmed(embedded, target, lambda: refused(target.chaos(embedded, tmp_path / "e")))
    finally:
        target.remove(embedded)
    assert "the engine's context leaves" in error


SEQUENCE = ("scale-down", "pod-delete", "evict", "readiness-flap")
MOST_OVERHEAD = 0.2
"""What a run may add to the time that its faults need by themselves."""


def test_several_faults_share_one_load_and_little_time_lies_between_them(
    embedded: Cluster, tmp_path: Path
) -> None:
    target = replace(PAIR, namespace="chaos-sequence")
    named = [word for fault in SEQUENCE for word in ("--fault", fault)]

    def run(evidence: Path) -> tuple[Path, int, str, str]:
        target.ready(embedded)
        process = target.chaos(embedded, evidence, *named, *LOAD, "--format", "json")
        said, errors = process.communicate(timeout=PATIENCE_S)
        return evidence, process.returncode, said, errors

    target.deploy(embedded)
    try:
        evidence, code, said, errors = while_the_client_kept_up(run, tmp_path)
        residue = target.residue(embedded)
    finally:
        target.remove(embedded)
    assert code == 0, (said[:4000], errors)
    faults = json.loads(said)["faults"]
    assert [(one["fault"], one["verdict"]) for one in faults] == [(n, "pass") for n in SEQUENCE]
    assert residue == []
    steps = [one for one in read(evidence / HISTORY) if isinstance(one, Fault)]
    phases = [
        {step.phase: step.at for step in steps if step.index == index}
        for index in range(len(SEQUENCE))
    ]
    spent = sum(at["undone"] - at["begin"] for at in phases)
    between = sum(after["begin"] - before["undone"] for before, after in pairwise(phases))
    assert between <= MOST_OVERHEAD * spent


def test_a_dry_run_says_what_it_would_touch_and_leaves_nothing(
    embedded: Cluster, sound: Target, tmp_path: Path
) -> None:
    where = ("-n", sound.namespace, "get", "deployments,pods,leases,configmaps,jobs", "-o", "json")

    def versions() -> dict[str, str]:
        items = json.loads(embedded.kubectl(*where))["items"]
        return {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in items}

    before = versions()
    process = sound.chaos(embedded, tmp_path / "e", "--fault", "rollout", "--dry-run")
    said, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert "deployment/sim: spec.template.metadata.annotations" in said
    assert versions() == before
    assert not (tmp_path / "e").exists()


def test_a_scale_down_of_one_replica_is_refused(
    embedded: Cluster, sound: Target, tmp_path: Path
) -> None:
    def act() -> str:
        return refused(sound.chaos(embedded, tmp_path / "e", "--fault", "scale-down"))

    assert "none would be left to serve" in unharmed(embedded, sound, act)


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

    with target.chaos(embedded, evidence, *LOAD) as process:
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
