from __future__ import annotations

import pytest

from drainproof.collect import yaml_text
from drainproof.collect.yaml_text import YamlError


def parse(text: str) -> object:
    return yaml_text.parse(text, is_plain=yaml_text.plain(text))


@pytest.mark.parametrize("word", ["yes", "Yes", "YES", "on", "On", "y", "Y", "true", "TRUE"])
def test_words_that_kubernetes_reads_as_true(word: str) -> None:
    assert parse(f"a: {word}\n") == {"a": True}
    assert parse(f"a: [{word}]\n") == {"a": [True]}
    assert parse(f"- {word} # really\n") == [True]


@pytest.mark.parametrize("word", ["no", "No", "off", "OFF", "n", "N", "false"])
def test_words_that_kubernetes_reads_as_false(word: str) -> None:
    assert parse(f"a: {word}\n") == {"a": False}


@pytest.mark.parametrize("word", ["'yes'", '"no"'])
def test_quoted_words_stay_strings(word: str) -> None:
    assert parse(f"a: {word}\n") == {"a": word[1:-1]}


@pytest.mark.parametrize("word", ["nope", "note", "online", "yesterday", "n-1", "y2"])
def test_words_that_only_begin_so_stay_strings(word: str) -> None:
    assert parse(f"a: {word}\n") == {"a": word}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("0644", 0o644),
        ("0o644", 0o644),
        ("0x1F", 31),
        ("0b11", 3),
        ("1_000", 1000),
        ("08", 8.0),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1:30", "1:30"),
        ("2024-01-02", "2024-01-02"),
        ("~", None),
        ("", None),
        ("1.2.3", "1.2.3"),
    ],
)
def test_scalars_are_read_as_go_reads_them(written: str, value: object) -> None:
    assert parse(f"a: {written}\n") == {"a": value}


def test_anchors_and_merges_are_followed() -> None:
    text = "a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\ne: *x\n"
    assert parse(text) == {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}, "e": {"b": 1, "c": 2}}


def test_keys_become_strings_as_in_json() -> None:
    assert parse("{1: a, true: b, no: c, ~: d}") == {
        "1": "a",
        "true": "b",
        "false": "c",
        "null": "d",
    }


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 'the key "a" is there twice'),
        ("a:\n  b: 1\n  b: 2\n", 3, 'the key "b" is there twice'),
        ("a: [1\nb: 2\n", 2, "did not find expected"),
        ("a:\n\tb: 1\n", 2, "cannot start any token"),
        ("a: 'x\n", 2, "unexpected end of stream"),
        ("a: &x\n  b: *x\n", 1, "an alias that contains itself"),
        ("a: {{ .Values.b }}\n", 1, "a key that is no scalar"),
        ("a: *x\n", 1, "undefined alias"),
        ("a: 1\n...\nb: 2\n", 3, "did not find expected"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_with_its_line(
    text: str, line: int, said: str
) -> None:
    with pytest.raises(YamlError, match=said) as error:
        parse(text)
    assert error.value.line == line


@pytest.mark.parametrize("first", ["x", "yes"])
def test_a_bomb_is_refused_by_either_parser(first: str) -> None:
    lines = [f"a: &a [{','.join([first] * 10)}]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]")
    with pytest.raises(YamlError, match="aliases expand to more than"):
        parse("\n".join(lines))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 20000,
        "- " * 200000 + "x",
        "a: " + "{b: " * 3000 + "}" * 3000,
        "a: yes\nb: " + "[" * 20000,
    ],
)
def test_what_is_nested_too_deeply_is_refused(text: str) -> None:
    with pytest.raises(YamlError):
        parse(text)


@pytest.mark.parametrize(
    ("end", "line", "said"),
    [("z: 0644\n", 201, "quote that"), ("z: [\n", 201, "can't be parsed"), ("z: 1\n", None, "")],
)
def test_a_long_document_is_never_read_by_nodes(
    monkeypatch: pytest.MonkeyPatch, end: str, line: int | None, said: str
) -> None:
    monkeypatch.setattr(yaml_text, "MAX_EXACT", 1000)
    text = "".join(f"a{n}: 1\n" for n in range(200)) + end
    if line is None:
        assert isinstance(parse(text), dict)
        return
    with pytest.raises(YamlError, match=said) as error:
        parse(text)
    assert error.value.line in {line, line + 1}


@pytest.mark.parametrize("number", [".inf", "-.INF", ".NaN"])
def test_numbers_that_json_has_not_stay_strings(number: str) -> None:
    assert parse(f"a: {number}\n") == {"a": number}


def test_documents_are_split_as_kubectl_does() -> None:
    text = "a: 1\n---\nb: 2\n--- # c\n---x\n---\n"
    parts = [text[start:end] for start, end in yaml_text.documents(text)]
    assert parts == ["a: 1\n", "\nb: 2\n", " # c\n---x\n", "\n"]


def test_the_common_manifest_is_left_to_the_fast_parser() -> None:
    text = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x-0, labels: {app: x}}\n"
        "spec:\n  containers:\n  - name: c\n    args: [--port=8000, '-1']\n"
    )
    assert yaml_text.plain(text)
