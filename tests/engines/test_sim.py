"""The simulated engine does what vLLM does, and each flaw that it is asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engines.running import ROOT, Request, Response, Sim, sim, until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def engine() -> Iterator[Sim]:
    """An engine without a flaw, for tests that leave it as it was."""
    with sim("--token-rate=1000") as running:
        yield running


def test_a_stream_has_one_numbered_token_an_event_then_usage_then_done(engine: Sim) -> None:
    answer = engine.stream(5, key="0-17").response()
    assert answer.status == 200
    assert answer.whole
    assert answer.texts == ["0-17#1", "0-17#2", "0-17#3", "0-17#4", "0-17#5"]
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
    first = engine.stream(2, key="a").response().chunks[0]
    assert list(first) == ["id", "object", "created", "model", "choices"]
    assert first["object"] == "text_completion"
    assert first["id"] == "cmpl-a"
    assert first["choices"] == [
        {
            "index": 0,
            "text": " a#1",
            "logprobs": None,
            "finish_reason": None,
            "stop_reason": None,
            "prompt_token_ids": None,
            "token_ids": None,
        }
    ]


def test_an_answer_that_is_not_streamed_comes_whole(engine: Sim) -> None:
    answer = engine.post(
        "/v1/completions", {"prompt": "hello", "max_tokens": 3}, key="a"
    ).response()
    assert answer.status == 200
    assert b'"text":" a#1 a#2 a#3"' in answer.body


def test_requests_without_an_id_get_one_each(engine: Sim) -> None:
    first, second = (engine.stream(1).response().texts[0] for _ in range(2))
    assert first != second


CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}


def test_a_chat_streams_deltas_the_first_of_which_is_the_role(engine: Sim) -> None:
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    answer = engine.post("/v1/chat/completions", body, key="a").response()
    first, *tokens, usage = answer.chunks
    assert (first["id"], first["object"]) == ("chatcmpl-a", "chat.completion.chunk")
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["delta"]["content"] for chunk in tokens] == [" a#1", " a#2", " a#3"]
    assert answer.reasons == ["length"]
    assert usage["usage"]["completion_tokens"] == 3
    assert answer.events[-1] == "[DONE]"


def test_a_chat_that_is_not_streamed_comes_whole(engine: Sim) -> None:
    answer = engine.post("/v1/chat/completions", CHAT, key="a").response()
    assert b'"message":{"role":"assistant","content":" a#1 a#2 a#3"}' in answer.body


@pytest.fixture(scope="module")
def tgi() -> Iterator[Sim]:
    """An engine with TGI's API."""
    with sim("--api=tgi", "--token-rate=1000") as running:
        yield running


GENERATE = {"inputs": "hello", "parameters": {"max_new_tokens": 3}}


def test_tgi_streams_tokens_with_an_index_and_ends_without_done(tgi: Sim) -> None:
    answer = tgi.post("/generate_stream", GENERATE, key="a").response()
    assert answer.body.startswith(b'data:{"index":1,"token":')
    assert answer.texts == ["a#1", "a#2", "a#3"]
    assert [chunk["index"] for chunk in answer.chunks] == [1, 2, 3]
    last = answer.chunks[-1]
    assert last["generated_text"] == " a#1 a#2 a#3"
    assert (last["details"]["finish_reason"], last["details"]["generated_tokens"]) == ("length", 3)
    assert answer.whole
    assert "[DONE]" not in answer.events


def test_tgi_has_its_own_metrics_and_not_the_other_api(tgi: Sim) -> None:
    assert tgi.metric("tgi_batch_current_size") == 0
    assert tgi.metric("tgi_queue_size") == 0
    assert tgi.metric("vllm:num_requests_running") is None
    assert tgi.stream(2).response().status == 404


@pytest.mark.parametrize("body", [{}, {"inputs": "a", "parameters": {"max_new_tokens": 0}}])
def test_a_request_that_tgi_would_turn_down_is_turned_down(tgi: Sim, body: object) -> None:
    assert tgi.post("/generate_stream", body).response().status == 422


def test_tgi_told_to_end_says_so_in_the_stream() -> None:
    with sim("--api=tgi") as engine:
        body = {"inputs": "hello", "parameters": {"max_new_tokens": 2000}}
        stream = engine.post("/generate_stream", body).started()
        engine.sigterm()
        answer = stream.response()
    assert answer.whole
    assert answer.chunks[-1]["error_type"] == "generation"


def test_no_usage_is_sent_unless_it_was_asked_for(engine: Sim) -> None:
    answer = engine.stream(2, stream_options=None).response()
    assert not any("usage" in chunk for chunk in answer.chunks)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"max_tokens": 2}, 400),
        ({"prompt": "hello", "max_tokens": 0}, 400),
        ({"prompt": "hello", "max_tokens": 4097}, 400),
        ({"prompt": "x" * 4096}, 400),
        ({"prompt": "hello", "model": "another"}, 404),
        (["prompt"], 400),
    ],
)
def test_a_request_that_vllm_would_turn_down_is_turned_down(
    engine: Sim, body: object, status: int
) -> None:
    answer = Request(engine.port, "POST", "/v1/completions", body).response()
    assert answer.status == status


def test_an_answer_that_has_no_room_beside_its_prompt_fills_the_context(engine: Sim) -> None:
    """As vLLM 0.32.0's ``get_max_tokens``: it is shortened, not turned down."""
    answer = engine.stream(20, prompt="x" * 4090).response()
    assert (len(answer.texts), answer.reasons) == (6, ["length"])
    assert answer.chunks[-1]["usage"] == {
        "prompt_tokens": 4090,
        "total_tokens": 4096,
        "completion_tokens": 6,
    }
    assert answer.events[-1] == "[DONE]"


def test_tgi_turns_an_answer_down_that_has_no_room_beside_its_prompt(tgi: Sim) -> None:
    body = {"inputs": "x" * 4090, "parameters": {"max_new_tokens": 20}}
    assert tgi.post("/generate_stream", body).response().status == 400


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


def test_tokens_take_longer_the_fuller_the_batch_if_asked_for() -> None:
    with sim("--max-num-seqs=2", "--token-rate=100", "--batch-slowdown=5") as engine:
        taken: list[float] = []
        for streams in (1, 2):
            begun = time.monotonic()
            for running in [engine.stream(30) for _ in range(streams)]:
                assert running.response().whole
            taken.append(time.monotonic() - begun)
    assert taken[0] > 0.85  # 30 tokens in a batch that is half full: 3 times 0.3 s
    assert taken[1] > 1.4  # and in a full one: 5 times


def test_metrics_tell_the_cpu_time_that_the_process_took() -> None:
    with sim() as engine:
        assert (engine.metric("process_cpu_seconds_total") or 0) > 0


def test_requests_are_turned_away_once_no_more_may_wait() -> None:
    with sim("--max-num-seqs=1", "--max-queued-requests=1") as engine:
        engine.stream(2000).started()
        engine.stream(2000)
        until(lambda: engine.metric("vllm:num_requests_waiting") == 1, "the second to wait")
        assert engine.stream(2).response().status == 503


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


def test_early_length_claims_a_length_that_its_own_usage_denies() -> None:
    with sim("--on-sigterm=early-length") as engine:
        stream = engine.stream(2000).started()
        engine.sigterm()
        answer = stream.response()
    assert answer.reasons == ["length"]
    assert answer.chunks[-1]["usage"]["completion_tokens"] == len(answer.texts) < 2000
    assert answer.events[-1] == "[DONE]"
    assert answer.whole


def test_clean_end_ends_cleanly_after_a_whole_event_and_says_nothing() -> None:
    with sim("--on-sigterm=clean-end") as engine:
        stream = engine.stream(2000).started()
        engine.sigterm()
        answer = stream.response()
    assert answer.whole
    assert answer.body.endswith(b"\n\n")
    assert (answer.reasons, answer.events[-1] == "[DONE]") == ([], False)


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


def garbled(how: str) -> list[Response]:
    """Return two answers that were in flight when an engine that garbles was told to end."""
    with sim(f"--on-sigterm={how}", "--shutdown-timeout=60", "--token-rate=50") as engine:
        streams = [engine.stream(50, key=key).started() for key in ("a", "b")]
        engine.sigterm()
        answers = [stream.response() for stream in streams]
    for answer in answers:  # all that a client looks at is in order
        assert answer.chunks[-1]["usage"]["completion_tokens"] == 50
        assert (answer.reasons, answer.events[-1]) == (["length"], "[DONE]")
    return answers


def test_repeat_token_sends_one_token_twice() -> None:
    for answer in garbled("repeat-token"):
        assert len(answer.numbers) == 51
        assert sorted(set(answer.numbers)) == list(range(1, 51))


def test_skip_token_leaves_one_token_out() -> None:
    for answer in garbled("skip-token"):
        assert len(answer.numbers) == 49
        assert answer.numbers == sorted(set(answer.numbers))


def test_foreign_token_gives_a_stream_one_token_of_another() -> None:
    first, second = garbled("foreign-token")
    assert first.numbers == second.numbers == list(range(1, 51))
    assert sum(text.startswith("b#") for text in first.texts) == 1
    assert sum(text.startswith("a#") for text in second.texts) == 1


def engine_core(engine: Sim) -> int:
    """Return the process id of the engine's child."""
    (children,) = Path(f"/proc/{engine.process.pid}/task").glob(f"{engine.process.pid}/children")
    (child,) = map(int, children.read_text().split())
    return child


def test_an_engine_core_is_a_child_that_can_be_found_by_its_name() -> None:
    with sim("--engine-core") as engine:
        core = engine_core(engine)
        until(
            lambda: Path(f"/proc/{core}/cmdline").read_bytes() == b"VLLM::EngineCore\0",
            "the child to take its name",
        )
        assert Path(f"/proc/{core}/comm").read_text() == "VLLM::EngineCore"[:15] + "\n"


def test_when_its_core_is_killed_an_engine_ends_its_streams_with_an_error_and_then_itself() -> None:
    with sim("--engine-core", "--shutdown-timeout=60") as engine:
        stream = engine.stream(2000).started()
        os.kill(engine_core(engine), signal.SIGKILL)
        answer = stream.response()
        assert engine.ended() == 0
    assert answer.chunks[-1]["error"]["code"] == 500
    assert answer.events[-1] == "[DONE]"


def test_an_engine_with_a_core_still_drains() -> None:
    with sim("--engine-core", "--shutdown-timeout=60", "--token-rate=50") as engine:
        stream = engine.stream(50).started()
        engine.sigterm()
        assert stream.response().reasons == ["length"]
        assert engine.ended() == 0


@pytest.mark.parametrize(
    "flags",
    [
        ["--no-such-flag"],
        ["--on-sigterm=drain"],
        ["--token-rate=0"],
        ["--batch-slowdown=0.5"],
        ["--batch-slowdown=nan"],
        ["--on-sigterm=perhaps"],
        ["--api=perhaps"],
    ],
)
def test_a_flag_that_makes_no_sense_ends_with_code_2(flags: list[str]) -> None:
    argv = [sys.executable, "-m", "fixtures.engines.sim", "serve", "m", *flags]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage:" in done.stderr
