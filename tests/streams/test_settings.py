"""Settings that make no sense are refused with words; those that do arrive as they were meant."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from drainproof.errors import UserError
from drainproof.streams.prompts import read_prompts
from drainproof.streams.requests import Requests
from drainproof.streams.settings import Load, load_from_json

if TYPE_CHECKING:
    from pathlib import Path

GOOD: dict[str, Any] = {"url": "http://vllm.inference.svc:8000", "model": "tiny"}
NAME = "DRAINPROOF_TEST_TOKEN"


def loaded(**changes: object) -> Load:
    return load_from_json(orjson.dumps(GOOD | changes), "test")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("url", "vllm:8000"),
        ("url", "ftp://vllm"),
        ("url", "http://"),
        ("url", "http://vllm:port"),
        ("url", "http://vllm:0"),
        ("url", "http://vllm/v1/completions"),
        ("url", "http://vllm?x=1"),
        ("url", "http://vllm\r\nX: y"),
        ("url", 3),
        ("model", ""),
        ("api", "images"),
        ("api", []),
        ("prompts", []),
        ("prompts", [""]),
        ("prompts", "one"),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("ignore_eos", 1),
        ("include_usage", "yes"),
        ("rate_per_s", 0),
        ("rate_per_s", -1),
        ("rate_per_s", 1e9),
        ("rate_per_s", True),
        ("rate_per_s", "fast"),
        ("arrivals", "sometimes"),
        ("duration_s", 0),
        ("duration_s", "1m"),
        ("seed", 1.5),
        ("max_in_flight", 0),
        ("max_in_flight", 10**9),
        ("stall_s", 0),
        ("connect_timeout_s", None),
        ("settle_s", -1),
        ("token_env", "sk-secret value"),
        ("headers", {"Authorization": "Bearer x"}),
        ("headers", {"Content-Length": "3"}),
        ("headers", {"a b": "c"}),
        ("headers", {"a": "c\r\nd: e"}),
        ("headers", {"a": 1}),
        ("headers", ["a"]),
        ("headers_from", {"Content-Length": "NAME"}),
        ("headers_from", {"X-Key": "sk-secret value"}),
        ("headers_from", ["X-Key"]),
        ("prompt_order", "backwards"),
        ("min_tokens", 0),
        ("min_tokens", 601),
        ("lengths", "long"),
        ("ramp_s", 0),
        ("burst", 0),
        ("part", 1),
        ("part", -1),
        ("parts", 0),
        ("url", "http://tgi/generate_stream"),
        ("ca_file", None),
        ("client", "a b"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(UserError, match=f"load setting '{name}': expected"):
        loaded(**{name: value})


def test_a_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(UserError, match="rate_per_s"):
        Load(**GOOD, rate_per_s=float("nan"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("url", "http://user:hunter2@vllm"),
        ("headers", {"X-Key": "hunter2\n"}),
        ("token_env", "hunter2 "),
        ("headers_from", {"X-Key": "hunter2 "}),
    ],
)
def test_a_refusal_does_not_repeat_what_may_be_a_secret(name: str, value: object) -> None:
    with pytest.raises(UserError) as refused:
        loaded(**{name: value})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "expected a JSON object"),
        ("{}", "'url' is missing"),
        ('{"url": "http://a"}', "'model' is missing"),
        ('{"rate": 1}', "Did you mean 'rate_per_s'"),
        ('{"zzz": 1}', "There are: url"),
    ],
)
def test_text_that_is_no_settings_is_refused(text: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        load_from_json(text, "test")
    assert said in str(refused.value)


def test_a_request_that_fixes_its_length_says_what_to_expect() -> None:
    fixed, free, tgi = loaded(), loaded(ignore_eos=False), loaded(api="tgi")
    assert (fixed.fixes_length, free.fixes_length, tgi.fixes_length) == (True, False, False)


def test_a_request_is_what_the_settings_say() -> None:
    load = loaded(
        url="http://gateway:80/team-a/", prompts=["a", "b"], max_tokens=7, headers={"X-A": "1"}
    )
    request, _ = Requests(load, {}).make(3, "0-3")
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /team-a/v1/completions HTTP/1.1"
    assert {"host: gateway:80", "x-a: 1", "x-request-id: 0-3"} <= set(lines)
    assert f"content-length: {len(body)}" in lines
    assert orjson.loads(body) == {
        "model": "tiny",
        "prompt": "b",
        "max_tokens": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }


def asked(load: Load, number: int = 0) -> tuple[str, dict[str, Any]]:
    """Return the path and the body of a request."""
    request, _ = Requests(load, {}).make(number, "0-0")
    head, _, body = request.partition(b"\r\n\r\n")
    return head.split()[1].decode(), orjson.loads(body)


def test_a_chat_is_asked_for_by_a_message() -> None:
    path, body = asked(loaded(api="chat", prompts=["a"], max_tokens=7))
    assert (path, body) == (
        "/v1/chat/completions",
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "a"}],
            "max_tokens": 7,
            "stream": True,
            "stream_options": {"include_usage": True},
            "ignore_eos": True,
        },
    )


def test_tgi_is_asked_as_it_has_it() -> None:
    path, body = asked(loaded(api="tgi", prompts=["a"], max_tokens=7))
    assert (path, body) == (
        "/generate_stream",
        {"inputs": "a", "parameters": {"max_new_tokens": 7, "details": True}},
    )


def test_builtin_prompts_differ_in_length_several_times_over() -> None:
    lengths = [len(prompt) for prompt in loaded().prompts]
    assert max(lengths) > 10 * min(lengths)


@pytest.mark.parametrize("order", ["in-turn", "random"])
def test_every_prompt_is_used(order: str) -> None:
    load = loaded(prompts=["a", "b", "c"], prompt_order=order)
    assert {asked(load, number)[1]["prompt"] for number in range(50)} == {"a", "b", "c"}


def test_a_random_choice_of_prompts_is_the_seeds() -> None:
    load = loaded(prompts=["a", "b", "c"], prompt_order="random", seed=1)
    runs = [[asked(load, number)[1]["prompt"] for number in range(20)] for _ in range(2)]
    other = [asked(replace(load, seed=2), number)[1]["prompt"] for number in range(20)]
    assert runs[0] == runs[1] != other


@pytest.mark.parametrize("lengths", ["uniform", "exponential"])
def test_lengths_are_spread_between_the_least_and_the_most(lengths: str) -> None:
    load = loaded(lengths=lengths, min_tokens=10, max_tokens=50)
    tokens = [Requests(load, {}).make(number, "0-0")[1] for number in range(400)]
    assert (min(tokens), max(tokens), len(set(tokens)) > 30) == (10, 50, True)


def test_a_request_asks_for_the_length_that_it_is_expected_to_have() -> None:
    load = loaded(lengths="uniform", max_tokens=50)
    requests = [Requests(load, {}).make(number, "0-0") for number in range(20)]
    bodies = [orjson.loads(request.partition(b"\r\n\r\n")[2]) for request, _ in requests]
    assert [body["max_tokens"] for body in bodies] == [tokens for _, tokens in requests]


def test_exponential_lengths_are_mostly_short() -> None:
    load = loaded(lengths="exponential", max_tokens=1000)
    tokens = sorted(Requests(load, {}).make(number, "0-0")[1] for number in range(400))
    assert tokens[200] < 300


def test_settings_survive_the_way_to_the_client() -> None:
    load = loaded(
        headers={"X-A": "1"}, headers_from={"X-B": "NAME"}, prompts=["a"], part=1, parts=2
    )
    assert load_from_json(load.to_json(), "test") == load


@pytest.mark.parametrize(
    "twice",
    [
        {"headers": {"X-A": "1"}, "headers_from": {"x-a": "NAME"}},
        {"token_env": "NAME", "headers_from": {"Authorization": "OTHER"}},
    ],
)
def test_a_header_is_not_given_twice(twice: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="a header is given twice"):
        loaded(**twice)


def test_a_header_from_the_environment_is_sent_as_it_is_and_not_shown() -> None:
    load = loaded(headers_from={"Authorization": NAME})
    request, _ = Requests(load, {NAME: "Basic czNjcmV0\n"}).make(0, "0-0")
    assert b"\r\nauthorization: Basic czNjcmV0\r\n" in request
    assert load.public()["headers_from"] == ["Authorization"]


def test_a_header_whose_variable_is_missing_is_refused() -> None:
    with pytest.raises(UserError, match=f"headers_from 'x-key': .* {NAME} is not set"):
        Requests(loaded(headers_from={"x-key": NAME}), {})


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("one\n\n two \n", ("one", "two")),
        ('["one\\nline", "two"]', ("one\nline", "two")),
    ],
)
def test_a_users_prompts_are_lines_or_a_list(
    text: str, prompts: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "prompts"
    file.write_text(text)
    assert read_prompts(file) == prompts


@pytest.mark.parametrize("text", [b"", b"\n \n", b"[]", b"[1]", b'[""]', b"[", b"\xff"])
def test_a_file_without_prompts_is_refused(text: bytes, tmp_path: Path) -> None:
    file = tmp_path / "prompts"
    file.write_bytes(text)
    with pytest.raises(UserError, match="prompts:"):
        read_prompts(file)


def test_prompts_that_can_not_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the prompts: Is a directory"):
        read_prompts(tmp_path)


def test_the_token_comes_from_the_environment_and_stays_out_of_the_header_of_a_history() -> None:
    load = loaded(token_env=NAME, headers={"X-A": "value"}, prompts=["a story"])
    request, _ = Requests(load, {NAME: "s3cret\n"}).make(0, "0-0")
    assert b"authorization: Bearer s3cret\r\n" in request
    public = repr(load.public())
    assert not any(hidden in public for hidden in ("s3cret", "'value'", "story"))


@pytest.mark.parametrize("token", ["", " ", "two words", "töken", "a\r\nb"])
def test_a_token_that_is_missing_or_can_not_be_sent_is_refused(token: str) -> None:
    with pytest.raises(UserError) as refused:
        Requests(loaded(token_env=NAME), {NAME: token})
    assert NAME in str(refused.value)
    assert not token.strip() or token not in str(refused.value)
