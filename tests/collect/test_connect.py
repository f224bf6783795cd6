from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from drainproof.collect import live
from drainproof.collect.connect import connect
from drainproof.errors import UserError
from tests.collect.api_server import FakeApi, serving

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def write(path: Path, user: dict[str, Any], server: str = "http://127.0.0.1:1") -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "elsewhere",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [
            {"name": "prod", "context": {"cluster": "c", "user": "u"}},
            {"name": "elsewhere", "context": {"cluster": "none", "user": "none"}},
        ],
    }
    path.write_text(yaml.safe_dump(config))


def plugin(path: Path, *lines: str) -> dict[str, Any]:
    """Return a user whose credentials come from a program of these shell lines."""
    program = path.parent / "plugin"
    program.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    program.chmod(0o755)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(program),
            "interactiveMode": "Never",
        }
    }


def test_the_named_context_is_taken_and_not_the_current_one(kubeconfig: Path) -> None:
    with serving(FakeApi()) as api:
        write(kubeconfig, {"token": "t-1"}, api.url)
        live.read(connect("prod"))
    assert set(api.tokens) == {"Bearer t-1"}


def test_an_unknown_context_lists_those_that_are_there(kubeconfig: Path) -> None:
    write(kubeconfig, {})
    with pytest.raises(UserError, match="there is no context 'prdo'") as error:
        connect("prdo")
    assert error.value.hint == "There are: elsewhere, prod."


def test_a_kubeconfig_that_is_not_there_has_no_contexts() -> None:
    with pytest.raises(UserError, match="there is no context 'prod'") as error:
        connect("prod")
    assert error.value.hint == "There is none at all."


def test_a_broken_kubeconfig_is_named(kubeconfig: Path) -> None:
    kubeconfig.write_text("a: [")
    with pytest.raises(UserError, match="cannot be read as a kubeconfig"):
        connect("prod")


def test_a_context_that_names_nothing_is_an_error(kubeconfig: Path) -> None:
    write(kubeconfig, {})
    with pytest.raises(UserError, match="its kubeconfig cannot be used"):
        connect("elsewhere")


@pytest.mark.parametrize(
    "lines", [["echo no such account >&2", "exit 1"], ["echo '{}'"], ["echo x"]]
)
def test_a_credential_plugin_that_fails_is_an_error(
    kubeconfig: Path, lines: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    write(kubeconfig, plugin(kubeconfig, *lines))
    with pytest.raises(UserError, match="its credential plugin failed"):
        connect("prod")
    assert "Traceback" not in capfd.readouterr().err


def test_a_credential_plugin_that_is_not_installed_is_an_error(kubeconfig: Path) -> None:
    user = plugin(kubeconfig)
    user["exec"]["command"] = "no-such-plugin"
    write(kubeconfig, user)
    with pytest.raises(UserError, match="its credential plugin failed"):
        connect("prod")


def test_a_credential_plugins_token_is_used(kubeconfig: Path) -> None:
    answer = (
        '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", '
        '"status": {"token": "t-2"}}'
    )
    with serving(FakeApi()) as api:
        write(kubeconfig, plugin(kubeconfig, f"echo '{answer}'"), api.url)
        live.read(connect("prod"))
    assert set(api.tokens) == {"Bearer t-2"}
