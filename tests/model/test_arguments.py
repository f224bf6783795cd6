"""A flag is taken out of the arguments, and nothing else changes."""

from __future__ import annotations

import pytest

from drainproof.model import arguments, container


def repaired(*args: str, takes_value: bool = False) -> dict[str, object]:
    found = container.read({"name": "vllm", "args": list(args)}, "spec.containers[0]")
    return arguments.without(found, "--quantize-it", takes_value=takes_value)


@pytest.mark.parametrize(
    "args",
    [
        ("--model=a", "--quantize-it=awq", "--port=1"),
        ("--model=a", "--quantize_it=awq", "--port=1"),
        ("--model=a", "--quantize-it", "awq", "--port=1"),
    ],
)
def test_a_flag_goes_with_its_value(args: tuple[str, ...]) -> None:
    expected = {"spec.containers[0].args": ["--model=a", "--port=1"]}
    assert repaired(*args, takes_value=True) == expected


def test_a_switch_leaves_the_word_behind_it() -> None:
    expected = {"spec.containers[0].args": ["serve", "model"]}
    assert repaired("serve", "--quantize-it", "model") == expected


def test_a_flag_that_is_not_there_needs_no_repair() -> None:
    assert repaired("--model=a") == {}


def test_a_flag_inside_a_script_is_left_to_people() -> None:
    assert repaired("-c", "vllm serve --quantize-it") == {}
