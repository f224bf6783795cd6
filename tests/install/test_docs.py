"""docs/production.md names every metric, alert and option, and a command that there is."""

from __future__ import annotations

import re
import shlex

from drainproof.content import content
from drainproof.install import monitoring
from drainproof.install.command import audit as install_audit
from drainproof.install.objects import command
from drainproof.install.settings import Settings
from drainproof.judge.command import audit
from drainproof.report import metrics

TEXT = (content("deploy").parent / "docs" / "production.md").read_text()
_METRIC = re.compile(r"^\| `(drainproof_\w+)` \|([^|]*)\|", re.MULTILINE)
_ALERT = re.compile(r"^\| `(Drainproof\w+)` \|", re.MULTILINE)
_COMMAND = re.compile(r"^    drainproof (audit .*)$", re.MULTILINE)


def test_each_metric_is_there_with_its_labels() -> None:
    found = {name: re.findall(r"`(\w+)`", labels) for name, labels in _METRIC.findall(TEXT)}
    assert set(found) == set(metrics.HELP)
    assert tuple(found["drainproof_findings"]) == metrics.LABELS


def test_each_alert_is_there() -> None:
    rules = monitoring.groups(60)[1]["rules"]
    assert _ALERT.findall(TEXT) == [rule["alert"] for rule in rules]


def unnamed(text: str) -> list[str]:
    options = [max(item.opts, key=len) for item in install_audit.params]
    return [name for name in options if not re.search(rf"{name}(?![\w-])", text)]


def test_each_option_is_there() -> None:
    assert unnamed(TEXT) == ["--all-namespaces"]  # it is -A there
    assert "--image" in unnamed(TEXT.replace("--image", "--imagery"))


def test_the_command_is_the_one_that_runs() -> None:
    (line,) = _COMMAND.findall(TEXT)
    written = shlex.split(line)[1:]
    with audit.make_context("audit", written) as by_hand:
        pass
    with audit.make_context("audit", command(Settings())[1:]) as scheduled:
        pass
    differ = {name for name, value in by_hand.params.items() if scheduled.params[name] != value}
    assert differ == {"context", "since", "formats", "profile_name"}
