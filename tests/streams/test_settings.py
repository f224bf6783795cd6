"""Settings that make no sense are refused with words; those that do arrive as they were meant."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from drainproof.errors import UserError
from drainproof.streams.requests import Requests
from drainproof.streams.settings import Load, load_from_json

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
    fixed, free = loaded(max_tokens=7), loaded(max_tokens=7, ignore_eos=False)
    assert (fixed.expected_tokens, free.expected_tokens) == (7, None)


def test_a_request_is_what_the_settings_say() -> None:
    load = loaded(
        url="http://gateway:80/team-a/", prompts=["a", "b"], max_tokens=7, headers={"X-A": "1"}
    )
    head, _, body = Requests(load, {}).make(3, "0-3").partition(b"\r\n\r\n")
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


def test_the_token_comes_from_the_environment_and_stays_out_of_the_header_of_a_history() -> None:
    load = loaded(token_env=NAME, headers={"X-A": "value"}, prompts=["a story"])
    request = Requests(load, {NAME: "s3cret\n"}).make(0, "0-0")
    assert b"authorization: Bearer s3cret\r\n" in request
    public = repr(load.public())
    assert not any(hidden in public for hidden in ("s3cret", "'value'", "story"))


@pytest.mark.parametrize("token", ["", " ", "two words", "töken", "a\r\nb"])
def test_a_token_that_is_missing_or_can_not_be_sent_is_refused(token: str) -> None:
    with pytest.raises(UserError) as refused:
        Requests(loaded(token_env=NAME), {NAME: token})
    assert NAME in str(refused.value)
    assert not token.strip() or token not in str(refused.value)
