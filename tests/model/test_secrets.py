"""Keys and tokens are found where they stand, and what only looks like one is left alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drainproof.model.secrets import (
    form_of,
    holds_one,
    is_written_out,
    names_a_secret,
    redacted,
    secrets_in,
    without_forms,
)

FORMS = {
    "a Hugging Face token": "hf_ThisIsNotARealTokenOnlyItsForm01234",
    "an API key (sk-)": "sk-proj-this-is-not-a-real-key-0123456789",
    "an AWS access key": "AKIANOTAREALKEY01234",
    "an NVIDIA API key": "nvapi-this-is-not-a-real-key-0123456789",
    "a Google API key": "AIza" + "NotARealKey0" * 2 + "NotARealKey",
    "a GitHub token": "ghp_" + "NotARealToken" * 3,
    "a GitLab token": "glpat-not-a-real-token-0123",
    "a Slack token": "xoxb-0123456789-not-real",
    "a signed token (JWT)": "eyJub3QgcmVhbCI6.eyJub3QgcmVhbCI6.c2lnbmF0dXJl",
    "a bearer token": "Authorization: Bearer not-a-real-token-0123",
    "a private key": "-----BEGIN RSA PRIVATE KEY-----",
    "a password in a URL": "redis://user:not-a-real-one@cache:6379",
    "a password in an image name": "ci:not-a-real-one@registry.example:5000/team/vllm:v0.32.0",
    "a password in a header": "Authorization: Basic YWRtaW46aHVudGVyMg==",
    "a key in a header": "curl -H 'X-Api-Key: hunter2'",
    "a password for curl": "curl -s http://localhost:8000/metrics -u admin:hunter2",
}


@pytest.mark.parametrize(("form", "text"), FORMS.items())
def test_each_form_is_recognised(form: str, text: str) -> None:
    assert form_of(text) == form


@pytest.mark.parametrize(("form", "text"), FORMS.items())
def test_each_form_is_found_wherever_it_stands(form: str, text: str) -> None:
    obj = {"spec": {"args": ["--a", f"--key {text}"]}, "metadata": {"annotations": {"a/b": "c"}}}
    assert list(secrets_in(obj)) == [("spec.args[1]", form)]


@pytest.mark.parametrize(
    "text",
    [
        "hf_transfer",
        "hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "hf_yourTokenGoesHere0123456789012345",
        "task-runner-for-llama-3-8b-instruct-0123456789",
        "sk-learn-pipeline-without-any-digit",
        "AKIAIOSFODNN7EXAMPLE",
        "Bearer $(VLLM_API_KEY)",
        "Bearer ${TOKEN}",
        "http://vllm:8000/v1",
        "https://hub.example/a:b@c",
        "postgres://app:$(PASSWORD)@db/app",
        "vllm/vllm-openai@sha256:0123456789abcdef",
        "vllm-openai:v0.32.0@sha256:0123456789abcdef",
        "registry.example:5000/team/vllm:v0.32.0@sha256:0123456789abcdef",
        "git@host.example:team/repository.git",
        "Basic authentication",
        "Basic Authentication is off",
        "authorization: required",
        "curl -H 'Authorization: Bearer $(cat /run/token)' -H \"X-Api-Key: $KEY\"",
        "curl -u $USER:$PASSWORD http://localhost:8000/metrics",
        "curl http://localhost:8000/metrics; docker run --user 1000:1000 busybox",
    ],
)
def test_what_only_looks_like_a_secret_is_left_alone(text: str) -> None:
    assert form_of(text) == ""


def test_what_repeats_the_object_is_not_reported_twice() -> None:
    token = FORMS["a Hugging Face token"]
    copy = "kubectl.kubernetes.io/last-applied-configuration"
    obj = {"metadata": {"annotations": {copy: token}}, "data": {"token": token}}
    assert [path for path, _ in secrets_in(obj)] == ["data.token"]


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "NGC_API_KEY", "--api-key", "API_KEY"),
        *("db_password", "ADMIN_TOKEN"),
    ],
)
def test_a_name_says_that_it_holds_a_secret(name: str) -> None:
    assert names_a_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("MAX_TOKENS", "HF_TOKEN_PATH", "TOKENIZER", "GOOGLE_APPLICATION_CREDENTIALS"),
        *("PULL_SECRET", "VLLM_MAX_TOKEN", "MAX_NEW_TOKEN", "TOKEN_LIMIT", "--eos-token"),
        *("LATENCY_PER_TOKEN", "--min-token"),
    ],
)
def test_a_name_that_only_resembles_one_does_not(name: str) -> None:
    assert not names_a_secret(name)


@pytest.mark.parametrize("value", ["", "EMPTY", "$(TOKEN)", "$TOKEN", "/secrets/hf/token", "none"])
def test_a_reference_or_a_word_for_none_is_no_secret(value: str) -> None:
    assert not is_written_out(value)


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer hunter2",
        "authorization: Token hunter2",
        "x-api-key:hunter2",
        "X-Auth-Token: hunter2",
    ],
)
def test_a_short_key_is_known_by_its_header(text: str) -> None:
    assert form_of(text) == "a key in a header"
    assert "hunter2" not in without_forms(text)


@pytest.mark.parametrize(
    "text",
    [
        "curl -uadmin:hunter2 http://localhost",
        "curl --user=admin:hunter2 http://localhost",
        "curl http://localhost:8000/metrics -u 'admin:hunter2 and more'",
        'curl -s --user "admin:hunter2" http://localhost',
    ],
)
def test_a_login_for_curl_is_found_however_it_is_written(text: str) -> None:
    assert form_of(text) == "a password for curl"
    hidden = redacted(text)
    assert "hunter2" not in hidden
    assert "more" not in hidden
    assert "localhost" in hidden


@pytest.mark.parametrize(("form", "text"), FORMS.items())
def test_a_hidden_secret_still_has_its_form(form: str, text: str) -> None:
    hidden = without_forms(f"a {text} b")
    assert text.rpartition(" ")[2] not in hidden
    assert form_of(hidden) == form
    assert without_forms(hidden) == hidden


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("--api-key=plain-one", "--api-key=(hidden)"),
        ("vllm serve m --api-key plain-one --port 1", "vllm serve m --api-key [hidden] --port 1"),
        ("export HF_TOKEN='plain one'; ./start", "export HF_TOKEN='[hidden]'; ./start"),
        ("MY_PASSWORD=plain ./start", "MY_PASSWORD=[hidden] ./start"),
        ("X-Token=plain-one", "X-Token=(hidden)"),
        ("Authorization: plain-one", "Authorization: [hidden]"),
        ("api-key: plain\nmodel: x", "api-key: [hidden]\nmodel: x"),
        ("Api-Key: $(KEY)", "Api-Key: $(KEY)"),
        ("sum(vllm:token:rate5m)", "sum(vllm:token:rate5m)"),
        ("--api-key $(KEY) --max-tokens=5", "--api-key $(KEY) --max-tokens=5"),
        ("--api-key --port 8000", "--api-key --port 8000"),
    ],
)
def test_what_a_flag_or_a_variable_is_named_for_is_hidden(text: str, hidden: str) -> None:
    assert redacted(text) == hidden
    assert redacted(hidden) == hidden


@pytest.mark.parametrize(
    "value",
    [
        ["--model=m", "--api-key", "plain-one"],
        ["curl", "-u", "admin:hunter2", "http://localhost"],
        {"httpHeaders": [{"name": "Authorization", "value": "Token x1"}]},
        [{"name": "A_TOKEN", "value": "plain-one"}],
        {"command": ["sh", "-c", "HF_TOKEN=plain-one exec ./start"]},
    ],
)
def test_a_part_of_a_manifest_holds_a_secret_by_its_name(value: object) -> None:
    assert holds_one(value)


def test_a_part_of_a_manifest_that_names_a_secret_only_holds_none() -> None:
    reference = {"name": "A_TOKEN", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}
    assert not holds_one([reference, ["--api-key", "$(A_TOKEN)"], "--max-tokens=5"])
    assert not holds_one(["--user", "1000:1000"])


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from([*FORMS.values()]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), _JSON, max_size=4))
def test_no_object_breaks_the_search_and_no_secret_is_in_what_it_says(obj: dict[str, Any]) -> None:
    for path, form in secrets_in(obj):
        assert form in FORMS
        assert not any(text in form for text in FORMS.values())
        assert isinstance(path, str)
