from __future__ import annotations

import pytest

from drainproof.model import shell


def words(script: str, **env: str) -> list[tuple[str, ...]]:
    return [command.words for command in shell.commands(script, env)]


def test_a_line_continuation_joins_lines() -> None:
    assert words("vllm serve m \\\n  --port 8000\n") == [("vllm", "serve", "m", "--port", "8000")]


def test_comments_are_left_out() -> None:
    assert words("# wait\nsleep 5 # seconds\n") == [("sleep", "5")]


def test_a_hash_inside_a_word_is_no_comment() -> None:
    assert words("echo a#b") == [("echo", "a#b")]


def test_quotes_keep_spaces_and_operators() -> None:
    assert words("""echo "a; b" 'c && d' e\\ f""") == [("echo", "a; b", "c && d", "e f")]


def test_redirections_are_left_out_with_their_targets() -> None:
    assert words("vllm serve m >/var/log/vllm 2>&1 </dev/null") == [("vllm", "serve", "m")]


def test_exec_and_assignments_in_front_are_left_out() -> None:
    assert words("A=1 exec vllm serve m") == [("vllm", "serve", "m")]


@pytest.mark.parametrize("written", ["$PORT", "${PORT}", '"$PORT"', "${PORT:-1}"])
def test_a_variable_with_a_known_value_is_expanded(written: str) -> None:
    assert words(f"serve {written}", PORT="8000") == [("serve", "8000")]


def test_an_assignment_in_the_script_gives_a_value() -> None:
    assert words("DELAY=15\nsleep $DELAY") == [("sleep", "15")]


def test_a_default_is_taken_when_there_is_no_value() -> None:
    assert words("sleep ${DELAY:-20}") == [("sleep", "20")]


def test_a_variable_without_a_value_stays_as_it_is_written() -> None:
    assert words("sleep $DELAY") == [("sleep", "$DELAY")]


def test_single_quotes_keep_variables_unexpanded() -> None:
    assert words("echo '$PORT'", PORT="8000") == [("echo", "$PORT")]


def test_operators_are_told_apart() -> None:
    found = shell.commands("a && b || c; d | e\nf & g")
    assert [command.operator for command in found] == ["", "&&", "||", ";", "|", ";", ";"]
    assert [command.background for command in found] == [False] * 5 + [True, False]


def test_commands_in_loops_and_conditions_have_a_depth() -> None:
    script = "sleep 1\nwhile true; do\n  if x; then y; fi\ndone\nsleep 2"
    depths = {command.words: command.depth for command in shell.commands(script)}
    assert depths == {("sleep", "1"): 0, ("true",): 1, ("x",): 2, ("y",): 2, ("sleep", "2"): 0}


def test_a_command_substitution_is_one_word() -> None:
    assert words('n=$(curl -s "a;b"); echo $(date -u)') == [("echo", "$(date -u)")]


@pytest.mark.parametrize("script", ["'", '"a', "$(", "${", "`", "a &&", "))", "\\", "<"])
def test_what_no_shell_would_read_is_no_error(script: str) -> None:
    assert isinstance(shell.commands(script), tuple)


def test_a_line_continuation_in_double_quotes_joins_lines() -> None:
    assert words('eval "serve m \\\n --port 1"') == [("eval", "serve m  --port 1")]


@pytest.mark.parametrize(
    "script",
    [
        'ARGS="--port 1 -tp 2"\nserve $ARGS',
        'export ARGS="--port 1"; serve ${ARGS} -tp 2',
        'ARGS="--port 1"; ARGS="$ARGS -tp 2"; serve $ARGS',
        'ARGS="--port 1"; ARGS+=" -tp 2"; serve $ARGS',
        'ARGS=(--port 1)\nARGS+=(\n  -tp 2 # GPUs\n)\nserve "${ARGS[@]}"',
        "set -e && ARGS='--port 1 -tp 2' && serve $ARGS",
        "install && ARGS='--port 1 -tp 2' && serve $ARGS",
    ],
)
def test_a_variable_without_quotes_and_a_list_are_words_of_their_own(script: str) -> None:
    assert words(script)[-1] == ("serve", "--port", "1", "-tp", "2")


def test_an_expansion_in_an_expansion_is_one_word() -> None:
    script = 'count=${of["${name}"]}\necho "all read"'
    assert words(script) == [("echo", "all read")]


@pytest.mark.parametrize(
    ("script", "word"),
    [
        ("if x; then A=1; fi; serve $A", "$A"),
        ("A=1; [ $B ] && A=2; serve $A", "$A"),
        ("A=1; x || A=2; serve $A", "$A"),
        ("A=$(nproc --all); serve $A", "$A"),
        ('if x; then A=(1); fi; serve "${A[@]}"', "${A[@]}"),
    ],
)
def test_a_value_under_a_condition_is_not_known(script: str, word: str) -> None:
    assert words(script)[-1] == ("serve", word)


def test_a_scripts_arguments_are_filled_in_where_they_are_known() -> None:
    found = shell.commands('exec serve "$@"', {}, ["--port", "1"])
    assert [command.words for command in found] == [("serve", "--port", "1")]
    assert words('exec serve "$@"') == [("serve", "$@")]


@pytest.mark.parametrize(
    "argv",
    [
        ["sh", "-c", "x"],
        ["/bin/bash", "-ec", "x"],
        ["bash", "-o", "pipefail", "-c", "x"],
        ["bash", "-c", "--", "x"],
        ["bash", "-c", "-e", "x"],
        ["busybox", "sh", "-c", "x"],
        ["/usr/bin/env", "bash", "-c", "x"],
        ["tini", "-g", "--", "sh", "-c", "x"],
    ],
)
def test_the_script_is_found_behind_a_shells_options(argv: list[str]) -> None:
    assert shell.script_of(argv) == "x"


@pytest.mark.parametrize(
    "argv", [[], ["vllm", "-c", "x"], ["sh", "run.sh", "-c", "x"], ["sh", "-c"]]
)
def test_what_is_no_shell_with_a_script_has_none(argv: list[str]) -> None:
    assert shell.script_of(argv) is None


def test_arguments_behind_a_script_are_its_own() -> None:
    assert shell.arguments_of(["sh", "-c", "x", "sh", "--port", "1"]) == ("--port", "1")
    assert shell.arguments_of(["serve", "--port", "1"]) == ()


def test_kubernetes_references_are_expanded_and_their_escape_is_kept() -> None:
    env = {"PORT": "8000"}
    assert shell.expand_references("--port=$(PORT)", env) == "--port=8000"
    assert shell.expand_references("$$(PORT) $(OTHER)", env) == "$(PORT) $(OTHER)"


@pytest.mark.parametrize(
    "script",
    [
        "A=x\n" + "A=$A$A\n" * 100 + "serve $A",
        "A=(x)\n" + 'A=("${A[@]}" "${A[@]}")\n' * 100 + 'serve "${A[@]}"',
        "A=" + "x" * 16_000 + "\n" + ("serve " + "$A" * 60 + "\n") * 200,
    ],
)
def test_variables_that_grow_without_end_are_left_as_they_are_written(script: str) -> None:
    said = sum(len(word) for command in shell.commands(script) for word in command.words)
    assert said < 2 * 1024 * 1024


def test_references_that_grow_without_end_are_left_as_they_are_written() -> None:
    words = shell.expand_words(["$(A)" * 60] * 1000, {"A": "x" * 16_000})
    assert sum(map(len, words)) < 2 * 1024 * 1024
