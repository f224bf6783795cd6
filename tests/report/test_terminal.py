from __future__ import annotations

import io

import pytest

from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.model.snapshot import Problem, Snapshot
from drainproof.report import terminal
from drainproof.report.rows import rows
from tests.manifests import Raw, deployment, scaled_object

CHECKS = registry.load(kind="manifest").checks


def written(*objects: Raw, colour: bool = False, problems: tuple[Problem, ...] = ()) -> str:
    snapshot = Snapshot(Snapshot.of(objects).items, partial=False, problems=problems, source="here")
    result = audit.run(snapshot, PROFILES["production"], CHECKS)
    return terminal.write(result, rows(result), colour=colour)


def test_a_clean_audit_says_what_it_looked_at() -> None:
    assert written(deployment(), scaled_object()).splitlines() == [
        "Deployment/inference/llama  vLLM 0.32.0, 10 of 10 checks pass",
        "",
        "no findings. 1 LLM workload in here; profile production.",
    ]


def test_a_finding_says_where_what_happens_and_the_fix() -> None:
    text = written(deployment(lifecycle=None), scaled_object())
    expected = """\
  error  prestop-delay DP104  Deployment/inference/llama
      spec.template.spec.containers[0].lifecycle.preStop
      no preStop hook: SIGTERM comes at once, while the Service still sends new requests, and those
      fail; expected a delay of at least 5 s
      fix: Add lifecycle: {preStop: {sleep: {seconds: 15}}} to the engine's container, and raise
"""
    assert text.splitlines()[1:6] == expected.splitlines()


def test_the_tally_counts_by_severity() -> None:
    text = written(deployment(lifecycle=None, readinessProbe=None))
    assert text.splitlines()[-1].startswith("3 errors. 1 LLM workload")


def test_what_cannot_be_read_is_listed_with_its_hint() -> None:
    problem = Problem("not YAML", file="a.yaml", line=3, hint="Look.")
    lines = written(deployment(), problems=(problem,)).splitlines()
    assert lines[-4:-2] == ["error: a.yaml:3: not YAML", "  hint: Look."]


def test_control_characters_of_a_manifest_never_reach_the_terminal() -> None:
    obj = deployment(image="vllm/vllm-openai:v0.32.0\x1b[2J", args=["--port=\x9b31m\u202e"])
    obj["metadata"]["name"] = "x\x1b]0;owned\x07"
    text = written(obj)
    assert "\\x1b]0;owned\\x07" in text
    assert not any(ord(character) < 32 and character != "\n" for character in text)
    assert not any(bad in text for bad in "\x7f\x9b\u202e")


def test_letters_of_other_scripts_are_left_alone() -> None:
    assert terminal.printable("Привіт, 日本") == "Привіт, 日本"


def test_colours_are_written_only_when_wanted() -> None:
    assert "\x1b[31merror\x1b[0m" in written(deployment(lifecycle=None), colour=True)
    assert "\x1b" not in written(deployment(lifecycle=None))


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "env", "wanted"),
    [
        (Screen(), {}, True),
        (Screen(), {"NO_COLOR": "1"}, False),
        (Screen(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colours_are_for_terminals_without_no_color(
    out: io.StringIO, env: dict[str, str], *, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert terminal.coloured(out) is wanted
