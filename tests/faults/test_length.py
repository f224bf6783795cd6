"""The length of the streams, where the user leaves it to the run: measured, chosen, recorded."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.errors import UserError
from drainproof.faults.consent import consent
from drainproof.faults.restore import restore_with
from drainproof.faults.run import context_of, dry_run_on, run_on
from drainproof.judge.verdict import Verdict
from drainproof.progress import PlainProgress
from drainproof.streams import history
from drainproof.streams.history import Header, Stream
from drainproof.streams.pace import PROBE_TOKENS
from tests.engines.running import sim
from tests.faults.fake import NAMESPACE, FakeCluster
from tests.faults.runner import plan
from tests.streams.bodies import answer
from tests.streams.test_local import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.streams.raw import Peer, Script

PATIENCE_S = 60
LEFT = {"rate_per_s": 20.0}
"""A load whose length is left to the run."""


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as running:
        yield running


@pytest.fixture
def _short_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drainproof.streams.pace.MARGIN_S", 1.0)
    monkeypatch.setattr("drainproof.streams.pace.ANSWER_S", 1.0)


def delay(cluster: FakeCluster, seconds: int) -> None:
    """Give the target a preStop delay."""
    (container,) = cluster.template["spec"]["containers"]
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": seconds}}}


@dataclass
class Ran:
    """A run, what it said and what it asked clients for."""

    cluster: FakeCluster
    folder: Path
    load: dict[str, Any] = field(default_factory=lambda: LEFT)
    said: str = ""
    verdict: Verdict | None = None
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def go(self, **changes: object) -> Ran:
        out = io.StringIO()
        self.cluster.after_write = self._look
        try:
            asked = plan(self.folder, **{"load": self.load, **changes})
            verdict, _ = run_on(self.cluster.api, asked, PlainProgress(out))
            self.verdict = verdict.verdict
        finally:
            self.said = out.getvalue()
        return self

    def _look(self, _number: int) -> None:
        for (kind, _, name), item in self.cluster.objects.items():
            if kind == "Job":
                (env,) = item["spec"]["template"]["spec"]["containers"][0]["env"]
                self.jobs["pace" if name.endswith("-pace") else "main"] = json.loads(env["value"])

    @property
    def records(self) -> list[history.Record]:
        return list(history.read(self.folder / "history.jsonl"))

    @property
    def header(self) -> Header:
        header = self.records[0]
        assert isinstance(header, Header)
        return header


def refused(cluster: FakeCluster, folder: Path, **changes: object) -> UserError:
    """Return the error of a run that must do nothing to the target, and leave nothing."""
    with pytest.raises(UserError) as caught:
        Ran(cluster, folder).go(**changes)
    assert not cluster.touched
    assert cluster.residue() == []
    return caught.value


def streaming(seconds_per_token: list[float]) -> Script:
    """Return a server's script: each stream as many tokens as were asked for, at its pace.

    The last pace is that of all further streams.
    """

    async def script(peer: Peer) -> None:
        wait_s = seconds_per_token.pop(0) if len(seconds_per_token) > 1 else seconds_per_token[0]
        asked = json.loads(peer.request.partition(b"\r\n\r\n")[2])["max_tokens"]
        await peer.head()
        for piece in answer(asked):
            await peer.chunks(piece)
            await asyncio.sleep(wait_s)
        await peer.last_chunk()
        await peer.until_closed()

    return script


def test_a_job_of_its_own_measures_the_pace_and_the_load_has_the_length_that_follows(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    """The fake's streams have 100 tokens a second."""
    delay(cluster, 24)
    ran = Ran(cluster, tmp_path).go()
    probe, load = ran.jobs["pace"], ran.jobs["main"]
    assert (probe["max_tokens"], probe["duration_s"], probe["client"]) == (32, 1.5, "pace")
    assert 3400 <= load["max_tokens"] <= 3402
    assert (load["duration_s"], load["rate_per_s"]) == (None, 20.0)
    assert ran.header.load["max_tokens"] == load["max_tokens"]
    assert f"streams of {load['max_tokens']} tokens: " in ran.said
    assert " tokens/s for 34 s, the preStop delay of 24 s and 10 s more\n" in ran.said
    assert cluster.residue() == []


def test_streams_that_measure_the_pace_are_no_evidence(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    ran = Ran(cluster, tmp_path).go()
    assert ran.verdict is Verdict.PASS
    assert "pace" in ran.jobs
    assert not any(one.id.startswith("pace") for one in ran.records if isinstance(one, Stream))


def test_a_length_that_was_given_is_kept_and_nothing_is_measured(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    delay(cluster, 4)
    ran = Ran(cluster, tmp_path, load={**LEFT, "max_tokens": 5}).go()
    assert ran.jobs.keys() == {"main"}
    assert ran.jobs["main"]["max_tokens"] == ran.header.load["max_tokens"] == 5
    assert "streams of 5 tokens end within the preStop delay of 4 s" in ran.said
    assert "ask for --tokens 1" in ran.said


@pytest.mark.parametrize(("context", "said"), [(168, False), (167, True), (80, True)])
def test_a_length_that_was_given_and_may_not_fit_into_the_context_is_said(
    context: int, cluster: FakeCluster, tmp_path: Path, *, said: bool
) -> None:
    cluster.context = context
    load = {**LEFT, "max_tokens": 4, "prompts": ("x" * 100, "y")}
    ran = Ran(cluster, tmp_path, load=load).go()
    assert ran.jobs["main"]["max_tokens"] == 4
    assert ("streams of 4 tokens may be more than the engine's context" in ran.said) is said
    assert (f"--tokens {max(context - 64 - 100, 1)} surely fit" in ran.said) is said


@pytest.mark.parametrize(("told", "verdict"), [(100, Verdict.PASS), (None, None)])
def test_streams_that_fill_the_context_of_an_engine_on_this_machine_are_whole(
    told: int | None, verdict: Verdict | None, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Unless nobody tells the context; then they are short, and the run does not begin."""
    cluster.context = told
    load = {"rate_per_s": 20.0, "max_tokens": 60, "prompts": ("x" * 70,)}
    ran = Ran(cluster, tmp_path, load=load)
    with sim("--token-rate=200", "--max-model-len=100") as engine:
        asked = {"url": f"http://127.0.0.1:{engine.port}", "model": "sim/model"}
        if verdict is None:
            error = refused(cluster, tmp_path, load=load, **asked)
            assert "the last: short: 30 of 60 tokens" in error.message
        else:
            assert ran.go(**asked).verdict is verdict
    assert ran.header.target["max_model_len"] == told
    bodies = [one for one in ran.records if isinstance(one, Stream)]
    assert {one.expected_tokens for one in bodies} == {60}


def test_lengths_that_differ_reach_up_to_the_one_that_is_chosen(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    load = {**LEFT, "lengths": "uniform", "min_tokens": 4000}
    ran = Ran(cluster, tmp_path, load=load).go()
    assert (ran.jobs["pace"]["lengths"], ran.jobs["pace"]["min_tokens"]) == ("fixed", 1)
    assert (ran.jobs["main"]["min_tokens"], ran.jobs["main"]["max_tokens"]) == (4000, 4000)


def test_no_stream_is_longer_than_the_context_allows(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.context = 900
    ran = Ran(cluster, tmp_path, load={**LEFT, "prompts": ("x" * 100,)}).go()
    assert ran.jobs["main"]["max_tokens"] == 900 - 64 - 100
    assert "and the engine's context leaves no more" in ran.said


def test_a_context_too_small_to_outlast_the_delay_is_one_clear_error(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    delay(cluster, 15)
    cluster.context = 1000
    error = refused(cluster, tmp_path, load={**LEFT, "prompts": ("x" * 100,)})
    assert "and the engine's context leaves 836 beside the longest prompt" in error.message
    assert "--tokens" in error.hint


@pytest.mark.parametrize(
    ("told", "flags", "context"),
    [
        (8192, ["--max-model-len=900"], 8192),
        (None, ["--max-model-len=900"], 900),
        (None, ["--max-model-len=auto"], None),
        (None, ["--max-model-len=-1"], None),
        (0, [], None),
        (None, [], None),
    ],
)
def test_the_context_is_what_the_engine_tells_or_else_its_flags(
    cluster: FakeCluster, told: int | None, flags: list[str], context: int | None
) -> None:
    cluster.context = told
    cluster.template["spec"]["containers"][0]["args"] += flags
    target = consent(
        cluster.api, context="fake", namespace=NAMESPACE, target="deployment/vllm", needs=()
    )
    assert context_of(cluster.api, target) == context


def test_a_target_that_serves_no_short_stream_is_not_disturbed(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.broken_client = True
    error = refused(cluster, tmp_path)
    assert "does not serve streams before the fault" in error.message
    assert f"in answers of {PROBE_TOKENS} tokens? Another length is given with --tokens" in (
        error.hint
    )


def test_a_run_that_could_not_begin_has_a_history_that_can_be_read(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.broken_client = True
    ran = Ran(cluster, tmp_path)
    with pytest.raises(UserError):
        ran.go()
    assert ran.header.load["max_tokens"] == PROBE_TOKENS


def test_streams_that_never_end_are_one_clear_error(cluster: FakeCluster, tmp_path: Path) -> None:
    with Server(streaming([0.3])) as port:
        url = f"http://127.0.0.1:{port}"
        error = refused(cluster, tmp_path, url=url, load={**LEFT, "settle_s": 0.5})
    assert error.message == (
        "the pace of the target's streams could not be measured: 0 of 3, of 32 tokens each, came "
        "whole in 0 s"
    )
    assert error.hint == "Nothing was done to it. Give the streams' length with --tokens."


def test_streams_that_come_all_at_once_have_no_pace(cluster: FakeCluster, tmp_path: Path) -> None:
    async def at_once(peer: Peer) -> None:
        await peer.head()
        await peer.chunks(b"".join(answer(PROBE_TOKENS)))
        await peer.last_chunk()
        await peer.until_closed()

    with Server(at_once) as port:
        error = refused(cluster, tmp_path, url=f"http://127.0.0.1:{port}", load=LEFT)
    assert "could not be measured: 3 of 3, of 32 tokens each, came whole" in error.message


@pytest.mark.usefixtures("_short_margin")
def test_a_pace_that_has_changed_until_the_load_comes_is_one_clear_error(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    delay(cluster, 2)
    slow, fast = 0.02, 0.001
    with Server(streaming([slow, slow, slow, fast])) as port:
        error = refused(cluster, tmp_path, url=f"http://127.0.0.1:{port}", load=LEFT)
    assert "end within the preStop delay of 2 s, so none will be in flight" in error.message
    assert "they come faster than when their length was chosen" in error.message
    assert "Give their length with --tokens " in error.hint


@pytest.mark.usefixtures("_short_margin")
def test_streams_of_an_engine_on_this_machine_last_as_long_as_they_must(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    delay(cluster, 1)
    with sim("--token-rate=50") as engine:
        url = f"http://127.0.0.1:{engine.port}"
        ran = Ran(cluster, tmp_path, load={"rate_per_s": 5.0}).go(url=url, model="sim/model")
    tokens = ran.header.load["max_tokens"]
    assert 95 <= tokens <= 125  # 50 tokens/s for 2 s
    assert f"streams of {tokens} tokens: " in ran.said
    whole = [one for one in ran.records if isinstance(one, Stream)]
    assert {one.expected_tokens for one in whole} == {tokens}
    assert all(one.waits for one in whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_while_it_measures_leaves_nothing_once_it_is_restored(
    cluster: FakeCluster, tmp_path: Path, number: signal.Signals
) -> None:
    words = [cluster.url, str(tmp_path / "evidence"), json.dumps({"load": LEFT})]
    running = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.runner", *words], stderr=subprocess.DEVNULL
    )
    cluster.after_write = lambda _number: (
        running.send_signal(number) if cluster.writes[-1].endswith("/jobs") else None
    )
    running.wait(PATIENCE_S)
    left = [name.rpartition("-")[2] for name in cluster.names("Job")]
    assert left == (["pace"] if number == signal.SIGKILL else [])
    assert restore_with(cluster.api, "fake", NAMESPACE, None, lambda _line: None)
    assert cluster.residue() == []
    assert not cluster.touched


def test_a_dry_run_names_the_job_that_measures_the_pace(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    asked = plan(tmp_path, load=LEFT)
    assert any("job/drainproof-RUN-pace" in line for line in dry_run_on(cluster.api, asked))
    given = plan(tmp_path, load={**LEFT, "max_tokens": 5})
    assert not any("pace" in line for line in dry_run_on(cluster.api, given))
