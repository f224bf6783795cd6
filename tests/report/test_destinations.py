from __future__ import annotations

import pytest

from drainproof.errors import UserError
from drainproof.report import FORMATS
from drainproof.report.options import destinations


def placed(*arguments: str) -> list[tuple[str, str]]:
    pairs = [(arguments[at], arguments[at + 1]) for at in range(0, len(arguments), 2)]
    return destinations(
        [value for name, value in pairs if name == "--format"],
        [value for name, value in pairs if name == "--output"],
        ["formats" if name == "--format" else "outputs" for name, _ in pairs],
        FORMATS,
    )


@pytest.mark.parametrize(
    ("arguments", "places"),
    [
        ([], [("terminal", "-")]),
        (["--output", "a"], [("terminal", "a")]),
        (["--format", "json"], [("json", "-")]),
        (["--format", "json", "--output", "a"], [("json", "a")]),
        (["--output", "a", "--format", "json"], [("json", "a")]),
        (["--format", "json=a"], [("json", "a")]),
        (
            ["--format", "sarif", "--output", "a", "--format", "terminal"],
            [("sarif", "a"), ("terminal", "-")],
        ),
        (
            ["--format", "terminal", "--format", "sarif", "--output", "a"],
            [("terminal", "-"), ("sarif", "a")],
        ),
        (
            ["--format", "json", "--output", "a", "--format", "json", "--output", "b"],
            [("json", "a"), ("json", "b")],
        ),
        (
            ["--format", "sarif=a", "--format", "html", "--output", "b", "--format", "github"],
            [("sarif", "a"), ("html", "b"), ("github", "-")],
        ),
    ],
)
def test_an_output_belongs_to_the_format_before_it(
    arguments: list[str], places: list[tuple[str, str]]
) -> None:
    assert placed(*arguments) == places


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "pdf"], "expected --format terminal|json"),
        (["--format", "json", "--format", "html"], "standard output: json and html"),
        (["--format", "json", "--output", "a", "--output", "b"], "--output b has no --format"),
        (["--format", "json=a", "--output", "b"], "--output b has no --format"),
        (["--output", "a", "--output", "b"], "--output b has no --format"),
        (["--format", "json=a", "--format", "html=a"], "both be written to a: json and html"),
    ],
)
def test_what_cannot_be_placed_is_an_error(arguments: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        placed(*arguments)
    assert said in caught.value.message
