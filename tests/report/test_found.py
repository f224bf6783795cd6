from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.model.finding import Located
from drainproof.model.secrets import HIDDEN
from drainproof.report.found import MAX_LENGTH, found

if TYPE_CHECKING:
    from tests.manifests import Raw

TOKEN = "hf_" + "aB3dE5gH7jK9mN1pQ3rS5tU7vW9x"


def at(obj: Raw, path: str, kind: str = "Deployment") -> object:
    return found(Located(kind=kind, namespace="", name="x", object=obj).finding(path, "m"))


def test_the_value_is_the_one_at_the_path() -> None:
    assert at({"spec": {"items": [{"n": 1}, {"n": 2}]}}, "spec.items[1].n") == 2


def test_a_key_with_dots_is_found() -> None:
    assert at({"limits": {"nvidia.com/gpu": 1}}, "limits[nvidia.com/gpu]") == 1


@pytest.mark.parametrize("path", ["", "spec.no", "spec.items[9]", "spec.items.no", "spec.n.deeper"])
def test_what_is_not_there_has_no_value(path: str) -> None:
    assert at({"spec": {"items": [1], "n": 1}}, path) is None


def test_a_long_value_is_left_out() -> None:
    assert at({"a": "x" * (MAX_LENGTH + 1)}, "a") is None


@pytest.mark.parametrize(
    ("obj", "path"),
    [
        ({"env": [{"name": "HF_TOKEN", "value": "s3cret"}]}, "env[0].value"),
        ({"env": [{"name": "HF_TOKEN", "value": "s3cret"}]}, "env[0]"),
        ({"env": [{"name": "HF_TOKEN", "value": "s3cret"}]}, "env"),
        ({"args": ["--api-key=s3cret"]}, "args[0]"),
        ({"args": ["--api-key=s3cret"]}, "args"),
        ({"args": ["--api-key", "s3cret"]}, "args[1]"),
        ({"args": ["--api-key", "s3cret"]}, "args"),
        ({"args": ["--api-key s3cret"]}, "args[0]"),
        ({"apiKey": "s3cret"}, "apiKey"),
        ({"a": {"password": "s3cret"}}, "a"),
        ({"a": f"curl -H 'Authorization: {TOKEN}'"}, "a"),
        ({"a": ["x", TOKEN]}, "a"),
        ({"a": ["curl", "-u", "me:s3cret"]}, "a"),
        ({"a": ["curl", "-u", "me:s3cret"]}, "a[2]"),
        ({"httpHeaders": [{"name": "Authorization", "value": "Basic s3cret"}]}, "httpHeaders"),
        ({"httpHeaders": [{"name": "X-Api-Key", "value": "s3cret"}]}, "httpHeaders[0].value"),
        ({"a": "curl -u me:s3cret http://localhost"}, "a"),
        ({"a": "curl -H 'X-Api-Key: s3cret' http://localhost"}, "a"),
        ({"a": "curl -H 'Authorization: Bearer s3cret' http://localhost"}, "a"),
        ({"a": "http://user:s3cret99@host/"}, "a"),
        ({"image": "ci:s3cret99@registry.example:5000/vllm:latest"}, "image"),
        ({"containers": [{"image": "ci:s3cret99@registry/vllm:latest"}]}, "containers[0]"),
    ],
)
def test_a_secret_is_never_shown(obj: Raw, path: str) -> None:
    said = str(at(obj, path))
    assert HIDDEN in said
    assert "s3cret" not in said
    assert TOKEN not in said


def test_nothing_of_a_secret_object_is_shown() -> None:
    assert at({"data": {"a": "czNjcmV0"}}, "data.a", kind="Secret") == HIDDEN


def test_flags_that_hold_no_secret_are_shown() -> None:
    args = ["--max-model-len=8192", "--model", "x"]
    assert at({"args": args}, "args") == args


def test_a_number_that_json_readers_would_round_is_text() -> None:
    assert at({"a": 2**70}, "a") == str(2**70)
