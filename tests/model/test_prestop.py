from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from drainproof.model import prestop
from drainproof.model.shape import ShapeError

if TYPE_CHECKING:
    from drainproof.model.prestop import PreStop


def hook(action: object) -> PreStop:
    return prestop.read({"lifecycle": {"preStop": action}}, "c", {"DELAY": "15"})


def script(text: str) -> PreStop:
    return hook({"exec": {"command": ["/bin/sh", "-c", text]}})


def test_no_hook_delays_nothing() -> None:
    found = prestop.read({}, "c", {})
    assert (found.form, found.delay_s) == ("", 0)


def test_a_sleep_action_delays_its_seconds() -> None:
    assert hook({"sleep": {"seconds": 15}}).delay_s == 15


def test_what_an_http_request_takes_cannot_be_told() -> None:
    assert hook({"httpGet": {"path": "/drain", "port": 8000}}).delay_s is None


@pytest.mark.parametrize(
    ("command", "seconds"),
    [
        (["sleep", "15"], 15),
        (["/bin/sleep", "1m"], 60),
        (["sleep", "1", "2s"], 3),
        (["sleep", "infinity"], math.inf),
        (["sleep", "$(DELAY)"], 15),
        (["timeout", "10", "sleep", "60"], 10),
        (["timeout", "10", "sh", "-c", "sleep 60"], 10),
        (["env", "sh", "-c", "sleep 15"], 15),
        (["python3", "-c", "import time; time.sleep(12.5)"], 12.5),
        (["true"], 0),
    ],
)
def test_a_command_that_waits_is_understood(command: list[str], seconds: float) -> None:
    assert hook({"exec": {"command": command}}).delay_s == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("sleep 5", 5),
        ("sleep 5; sleep 10", 15),
        ("echo bye && sleep 15", 15),
        ("sleep 15 || true", 15),
        ("curl -s localhost/drain; sleep 15", 15),
        ("sleep ${DELAY:-5}", 15),
        ("sleep $DELAY && exit 0; sleep 99", 15),
        ("exec sleep 7", 7),
        ("kill -TERM 1; sleep 30", 0),
        ("sleep 5\npkill vllm\nsleep 30", 5),
        ("kill -0 1; sleep 30", 30),
        ("sh -c 'sleep 9'", 9),
    ],
)
def test_the_sleeps_that_surely_run_before_sigterm_add_up(text: str, seconds: float) -> None:
    assert script(text).delay_s == seconds


@pytest.mark.parametrize(
    "text",
    [
        "/drain.sh",
        "test -f /x && sleep 15",
        "curl -s localhost/drain && sleep 15",
        "test -f /x || sleep 15",
        "if test -f /x; then sleep 15; fi",
        "while busy; do sleep 1; done",
        "sleep 15 &",
        "sleep $UNKNOWN",
    ],
)
def test_a_sleep_that_may_not_run_cannot_be_told(text: str) -> None:
    assert script(text).delay_s is None


@pytest.mark.parametrize(
    "action", [{"exec": {"command": ["sleep 15"]}}, {"exec": {}}, {"tcpSocket": {"port": 1}}]
)
def test_a_hook_that_fails_at_once_is_broken(action: object) -> None:
    found = hook(action)
    assert found.broken
    assert found.delay_s == 0


@pytest.mark.parametrize(
    "action", ["sleep", [], {"sleep": {"seconds": "5"}}, {"exec": {"command": "sleep 5"}}]
)
def test_a_wrong_type_is_named_with_its_path(action: object) -> None:
    with pytest.raises(ShapeError) as error:
        hook(action)
    assert error.value.path.startswith("c.lifecycle.preStop")


def test_a_secret_in_a_broken_command_is_not_repeated() -> None:
    assert "hunter2" not in hook({"exec": {"command": ["sleep 5 --token=hunter2"]}}).broken
