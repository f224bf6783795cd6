from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drainproof.collect import sharing, yaml_text
from drainproof.collect.sharing import Sharing
from drainproof.collect.yaml_text import YamlError
from drainproof.content import content
from tests.manifests import deployment, scaled_object

if TYPE_CHECKING:
    from collections.abc import Callable

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["spec", "template", "containers", "items", "a"]), inner)
    ),
)


@given(found=values)
def test_what_is_shared_is_equal_to_what_was_read(found: object) -> None:
    before, pool = copy.deepcopy(found), Sharing()
    assert pool.share(found) == before
    assert pool.share(copy.deepcopy(before)) == before


FIXTURES = sorted((content("fixtures") / "manifests").glob("*/*.yaml"))
DOCUMENTS = [
    text[start:end]
    for text in (path.read_text(encoding="utf-8") for path in FIXTURES)
    for start, end in yaml_text.documents(text)
    if yaml_text.plain(text[start:end])
]


def outcome(parse: Callable[[str], object], text: str) -> object:
    try:
        return parse(text)
    except YamlError as error:
        return error.line, error.message


def wholly(text: str) -> object:
    return yaml_text.parse(text, is_plain=True)


@pytest.mark.parametrize("key", ["1", "1.5", "~", "true", ""])
@pytest.mark.parametrize(
    "text", ["a: {b: {KEY: x}}\n", "spec:\n  template:\n    spec:\n      a:\n        KEY: x\n"]
)
def test_keys_are_strings_whatever_is_written(text: str, key: str) -> None:
    written = text.replace("KEY", key)
    assert yaml_text.plain(written)
    exactly = partial(yaml_text.parse, is_plain=False)
    assert outcome(Sharing().parse, written) == outcome(exactly, written)


def test_every_fixture_is_parsed_as_if_it_were_alone() -> None:
    pool = Sharing()
    for _ in range(2):
        assert [pool.parse(text) for text in DOCUMENTS] == [wholly(text) for text in DOCUMENTS]


@given(
    text=st.sampled_from([text for text in DOCUMENTS if "\n    spec:\n" in text]),
    edits=st.lists(
        st.tuples(
            st.integers(0, 80),
            st.sampled_from(
                [
                    "# x",
                    "",
                    "      ",
                    "    # x",
                    "    spec: {}",
                    "    spec:",
                    "  template:",
                    'foo: bar"',
                    '      x: "a',
                    "      y: |",
                    "      - a",
                    "      replicas: 1",
                    "\tz: 1",
                    "      a: 1\n      a: 2",
                    "    spec: {drainproof: the spec of the pods}",
                ]
            ),
            st.booleans(),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_a_document_that_is_parsed_in_two_parts_is_what_it_is_as_a_whole(
    text: str, edits: list[tuple[int, str, bool]]
) -> None:
    rows = text.split("\n")
    pool = Sharing()
    pool.parse(text)
    for row, written, instead in edits:
        rows[row : row + instead] = [written]
        edited = "\n".join(rows)
        if yaml_text.plain(edited):
            expected = outcome(wholly, edited)
            assert outcome(pool.parse, edited) == expected
            assert outcome(pool.parse, edited) == expected


def test_equal_containers_of_different_workloads_are_one() -> None:
    pool = Sharing()
    one, other = (pool.share(item) for item in (deployment(), named(deployment(), "other")))
    assert container(one) is container(other)
    assert one != other


def test_equal_parts_of_different_containers_are_one() -> None:
    pool = Sharing()
    one, other = (pool.share(deployment(args=[flag])) for flag in ("--port=1", "--port=2"))
    assert container(one) is not container(other)
    assert container(one)["startupProbe"] is container(other)["startupProbe"]


@pytest.mark.parametrize("made", [deployment, scaled_object])
def test_keys_are_in_memory_once(made: Callable[[], dict[str, Any]]) -> None:
    pool = Sharing()
    one, other = pool.share(copy.deepcopy(made())), pool.share(copy.deepcopy(made()))
    assert isinstance(one, dict)
    assert isinstance(other, dict)
    assert [id(key) for key in one["spec"]] == [id(key) for key in other["spec"]]


def test_what_was_read_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "_MOST", 10)
    pool = Sharing()
    for n in range(100):
        pool.share(deployment(args=[f"--port={n}"]))
    assert len(pool._known) < 60  # noqa: SLF001 - memory has no other face


def named(obj: dict[str, Any], name: str) -> dict[str, Any]:
    return {**obj, "metadata": {"name": name}}


def container(found: object) -> dict[str, Any]:
    assert isinstance(found, dict)
    first: dict[str, Any] = found["spec"]["template"]["spec"]["containers"][0]
    return first


@pytest.mark.parametrize("anchor", ["&: ", "&: &: ", "&a.b ", "[&", "{&: "])
@pytest.mark.parametrize("after", ["", ": 1", ":", " #"])
def test_an_anchor_that_kubernetes_does_not_know_is_no_name(anchor: str, after: str) -> None:
    text = f"kind: A\nmetadata:\n  name: vllm-0\nspec:\n  a: {anchor}vllm-0{after}\n"
    alone = partial(yaml_text.parse, is_plain=yaml_text.plain(text))
    assert outcome(alone, text) == outcome(partial(yaml_text.parse, is_plain=False), text)


@settings(max_examples=500)
@given(
    stem=st.sampled_from(["vllm-", "o", "e", "x", "e-", "n", "y-", "b-1-", "u004"]),
    numbers=st.lists(st.integers(0, 99), min_size=2, max_size=4),
    before=st.lists(
        st.sampled_from(
            [
                "0",
                "1e",
                "1e-",
                "0x",
                ".",
                "-",
                "- ",
                '"',
                '"\\',
                "'",
                "#",
                " # ",
                "&",
                "*",
                "!",
                ": ",
            ]
        ),
        max_size=3,
    ).map("".join),
    after=st.sampled_from(
        ["", "0", "_0", "-a", ".5", '"', ": 1", ":", " #", "e1", "\n  b: 1", ","]
    ),
    text=st.sampled_from(
        [
            "\nkind: A\nmetadata:\n  name: NAME\nspec:\n  a: HERE\n",
            "\nmetadata:\n  name: NAME\nspec:\n  a: |\n    HERE\n",
            "\nmetadata:\n  name: NAME\nspec:\n  a: [HERE]\n",
            "\nmetadata:\n  name: NAME\n  HERE: 1\n  vllm-1: 2\n",
            "\nmetadata:\n  name: NAME-svc\nspec:\n  template:\n    spec:\n      a: HERE\n",
        ]
    ),
)
def test_what_differs_in_a_number_only_is_read_as_if_it_were_alone(
    stem: str, numbers: list[int], before: str, after: str, text: str
) -> None:
    pool = Sharing()
    for number in numbers:
        name = f"{stem}{number}"
        written = text.replace("HERE", f"{before}{name}{after}").replace("NAME", name)
        twin = pool.twin(written)
        alone = partial(yaml_text.parse, is_plain=False)
        if twin is not None:
            assert twin[0] == outcome(alone, written)
        elif yaml_text.plain(written):
            outcome(pool.parse, written)
