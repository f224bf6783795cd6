"""The simulated engine does what vLLM does, and each flaw that it is asked for."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.engines.running import ROOT, Request, Sim, sim, until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def engine() -> Iterator[Sim]:
    """An engine without a flaw, for tests that leave it as it was."""
    with sim("--token-rate=1000") as running:
        yield running


def test_a_stream_has_one_numbered_token_an_event_then_usage_then_done(engine: Sim) -> None:
    answer = engine.stream(5).response()
    assert answer.status == 200
    assert answer.whole
    assert answer.texts == [" 1", " 2", " 3", " 4", " 5"]
    assert answer.reasons == ["length"]
    assert answer.chunks[-1]["choices"] == []
    assert answer.chunks[-1]["usage"] == {
        "prompt_tokens": 5,
        "total_tokens": 10,
        "completion_tokens": 5,
    }
    assert answer.events[-1] == "[DONE]"


def test_an_event_has_the_fields_that_vllm_gives_it(engine: Sim) -> None:
    """Recorded from vLLM 0.32.0."""
    first = engine.stream(2).response().chunks[0]
    assert list(first) == ["id", "object", "created", "model", "choices"]
    assert first["object"] == "text_completion"
    assert first["id"].startswith("cmpl-")
    assert first["choices"] == [
        {
            "index": 0,
            "text": " 1",
            "logprobs": None,
            "finish_reason": None,
            "stop_reason": None,
            "prompt_token_ids": None,
            "token_ids": None,
        }
    ]


def test_an_answer_that_is_not_streamed_comes_whole(engine: Sim) -> None:
    body = {"prompt": "hello", "max_tokens": 3}
    answer = Request(engine.port, "POST", "/v1/completions", body).response()
    assert answer.status == 200
    assert b'"text":" 1 2 3"' in answer.body


def test_no_usage_is_sent_unless_it_was_asked_for(engine: Sim) -> None:
    answer = engine.stream(2, stream_options=None).response()
    assert not any("usage" in chunk for chunk in answer.chunks)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"max_tokens": 2}, 400),
        ({"prompt": "hello", "max_tokens": 0}, 400),
        ({"prompt": "hello", "max_tokens": 5000}, 400),
        ({"prompt": "hello", "model": "another"}, 404),
    ],
)
def test_a_request_that_vllm_would_turn_down_is_turned_down(
    engine: Sim, body: object, status: int
) -> None:
    answer = Request(engine.port, "POST", "/v1/completions", body).response()
    assert answer.status == status


def test_the_port_is_closed_while_the_model_loads() -> None:
    with sim("--load-time=3600", wait=False) as engine:
        until(lambda: any("loading" in line for line in engine.log), "the engine to begin to load")
        assert engine.port == 0
        engine.sigterm()
        assert engine.ended() == 0


def test_readiness_leaks_while_the_model_loads_if_asked_for() -> None:
    with sim("--load-time=3600", "--leak-readiness") as engine:
        assert engine.get("/health").status == 200
        assert engine.stream(2).response().status == 503


def test_metrics_count_the_streams_that_run_and_those_that_wait() -> None:
    with sim("--max-num-seqs=1") as engine:
        engine.stream(2000).started()
        engine.stream(2000)
        until(lambda: engine.metric("vllm:num_requests_waiting") == 1, "the second to wait")
        assert engine.metric("vllm:num_requests_running") == 1
        assert engine.metric("vllm:kv_cache_usage_perc") == 1


@pytest.mark.parametrize(
    ("version", "present", "absent"),
    [
        ("0.6.5", "vllm:gpu_cache_usage_perc", "vllm:kv_cache_usage_perc"),
        ("0.32.0", "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        (
            "0.6.5",
            "vllm:time_per_output_token_seconds_count",
            "vllm:inter_token_latency_seconds_count",
        ),
        (
            "0.32.0",
            "vllm:inter_token_latency_seconds_count",
            "vllm:time_per_output_token_seconds_count",
        ),
        ("0.20.0", "vllm:num_requests_waiting_by_reason", "vllm:gpu_cache_usage_perc"),
        ("0.19.1", "vllm:num_requests_waiting", "vllm:num_requests_waiting_by_reason"),
    ],
)
def test_metrics_have_the_names_of_the_stated_release(
    version: str, present: str, absent: str
) -> None:
    with sim(f"--engine-version={version}") as engine:
        assert engine.metric(present) is not None
        assert engine.metric(absent) is None


def test_by_default_sigterm_aborts_with_an_error_event_and_done() -> None:
    with sim() as engine:
        streams = [engine.stream(2000).started() for _ in range(3)]
        engine.sigterm()
        answers = [stream.response() for stream in streams]
        assert engine.ended() == 0
    for answer in answers:
        assert (answer.status, answer.whole, answer.reasons) == (200, True, [])
        assert answer.chunks[-1]["error"]["code"] == 500
        assert answer.events[-1] == "[DONE]"


def test_with_a_shutdown_timeout_streams_in_flight_complete() -> None:
    with sim("--shutdown-timeout=60", "--token-rate=50") as engine:
        streams = [engine.stream(50).started() for _ in range(3)]
        engine.sigterm()
        answers = [stream.response() for stream in streams]
        assert engine.ended() == 0
    for answer in answers:
        assert answer.reasons == ["length"]
        assert len(answer.texts) == 50
        assert answer.events[-1] == "[DONE]"


def test_while_draining_new_requests_get_500_and_health_stays_200() -> None:
    with sim("--shutdown-timeout=60") as engine:
        engine.stream(2000).started()
        engine.sigterm()
        assert engine.get("/health").status == 200
        refused = engine.stream(2).response()
    assert refused.status == 500
    assert b"cannot schedule new futures after shutdown" in refused.body


def test_an_honest_drain_answers_503_to_both() -> None:
    with sim("--shutdown-timeout=60", "--on-sigterm=drain-503") as engine:
        engine.stream(2000).started()
        engine.sigterm()
        assert engine.get("/health").status == 503
        assert engine.stream(2).response().status == 503


def test_a_drain_that_takes_too_long_ends_in_an_abort() -> None:
    with sim("--shutdown-timeout=0.2") as engine:
        stream = engine.stream(2000).started()
        engine.sigterm()
        answer = stream.response()
        assert engine.ended() == 0
    assert answer.chunks[-1]["error"]["code"] == 500


def test_a_drain_with_nothing_in_flight_ends_at_once() -> None:
    with sim("--shutdown-timeout=3600") as engine:
        engine.sigterm()
        assert engine.ended() == 0


def test_abort_reason_ends_with_finish_reason_abort() -> None:
    with sim("--on-sigterm=abort-reason") as engine:
        stream = engine.stream(2000).started()
        engine.sigterm()
        answer = stream.response()
    assert answer.reasons == ["abort"]
    assert answer.events[-1] == "[DONE]"


def test_early_length_claims_a_length_that_was_not_reached() -> None:
    with sim("--on-sigterm=early-length") as engine:
        stream = engine.stream(2000).started()
        engine.sigterm()
        answer = stream.response()
    assert answer.reasons == ["length"]
    assert len(answer.texts) < 2000
    assert answer.whole


def test_cut_event_ends_cleanly_within_an_event() -> None:
    with sim("--on-sigterm=cut-event") as engine:
        stream = engine.stream(2000).started()
        engine.sigterm()
        answer = stream.response()
    assert answer.whole
    assert not answer.body.endswith(b"\n\n")
    assert b"[DONE]" not in answer.body


def test_drop_last_chunk_closes_without_the_end_of_the_framing() -> None:
    with sim("--on-sigterm=drop-last-chunk") as engine:
        stream = engine.stream(2000).started()
        engine.sigterm()
        answer = stream.response()
    assert (answer.whole, answer.reset) == (False, False)


def test_reset_resets_the_connection() -> None:
    with sim("--on-sigterm=reset") as engine:
        stream = engine.stream(2000).started()
        engine.sigterm()
        assert stream.response().reset


def test_exit_is_gone_at_once() -> None:
    with sim("--on-sigterm=exit") as engine:
        stream = engine.stream(2000).started()
        engine.sigterm()
        answer = stream.response()
        assert engine.ended() == 0
    assert not answer.whole


def test_hang_accepts_nothing_and_does_not_end() -> None:
    with sim("--on-sigterm=hang") as engine:
        stream = engine.stream(2000).started()
        engine.sigterm()

        def refuses() -> bool:
            try:
                engine.get("/health")
            except ConnectionRefusedError:
                return True
            return False

        until(refuses, "the listener to close")
        assert engine.process.poll() is None
        engine.process.kill()
        assert not stream.response().whole


def test_stall_sends_nothing_more_and_serves_new_requests() -> None:
    with sim("--on-sigterm=stall", "--token-rate=100") as engine:
        stream = engine.stream(2000).started()
        engine.sigterm()
        assert engine.stream(5).response().reasons == ["length"]
        engine.process.kill()
        answer = stream.response()
    assert not answer.whole
    assert len(answer.texts) < 2000


def test_ignore_serves_on() -> None:
    with sim("--on-sigterm=ignore", "--token-rate=100") as engine:
        stream = engine.stream(50).started()
        engine.sigterm()
        assert stream.response().reasons == ["length"]
        assert engine.stream(5).response().reasons == ["length"]


def test_repeat_token_sends_one_token_twice() -> None:
    with sim("--on-sigterm=repeat-token", "--shutdown-timeout=60", "--token-rate=50") as engine:
        stream = engine.stream(50).started()
        engine.sigterm()
        texts = stream.response().texts
    assert len(texts) == 51
    assert len(set(texts)) == 50


@pytest.mark.parametrize(
    "flags",
    [["--no-such-flag"], ["--on-sigterm=drain"], ["--token-rate=0"], ["--on-sigterm=perhaps"]],
)
def test_a_flag_that_makes_no_sense_ends_with_code_2(flags: list[str]) -> None:
    argv = [sys.executable, "-m", "fixtures.engines.sim", "serve", "m", *flags]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage:" in done.stderr
