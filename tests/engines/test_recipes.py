"""What the engines are installed from is pinned, and what is made on the spot is made alike."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from drainproof.clusters.artefacts import Artefact
from drainproof.errors import ExitCode
from drainproof.progress import NoProgress
from fixtures.engines import install
from fixtures.engines.vllm.make_model import byte_alphabet, make_model
from tests.engines.running import ROOT

if TYPE_CHECKING:
    from pathlib import Path

RECIPES = ROOT / "fixtures" / "engines"
NAME = "TinyLlama/TinyLlama-1.1B-Chat-v1.0"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "drainproof"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Build a file in place of vLLM; note each time that it is built."""
    times: list[str] = []

    def build(folder: Path) -> None:
        times.append(folder.name)
        (folder / "engine").write_text("the engine\n")

    artefact = Artefact("engine-test", {"recipe": "1"}, build, 0.1)
    monkeypatch.setattr(install, "vllm_artefact", lambda: artefact)
    return times


@pytest.mark.parametrize("engine", install.LOCKED)
def test_every_package_is_pinned_by_version_and_hash(engine: str) -> None:
    lock = (RECIPES / engine / "requirements.lock").read_text()
    for entry in re.split(r"\n(?=\S)", lock.strip()):
        assert re.match(r"[a-z0-9.-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("engine", install.LOCKED)
def test_no_lock_file_names_an_index(engine: str) -> None:
    lock = (RECIPES / engine / "requirements.lock").read_text()
    assert "://" not in lock
    assert "index-url" not in lock


def test_the_model_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_model(tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["config.json", "tokenizer.json", "tokenizer_config.json"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_tokenizer_has_one_token_for_each_byte(tmp_path: Path) -> None:
    make_model(tmp_path)
    vocabulary = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(258))
    assert len(set(byte_alphabet())) == 256
    assert byte_alphabet()[ord(" ")] == "Ġ"


def test_the_model_has_as_many_tokens_as_its_tokenizer(tmp_path: Path) -> None:
    make_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    vocabulary = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]
    assert config["vocab_size"] == len(vocabulary)
    assert vocabulary["<s>"] == config["bos_token_id"]
    assert vocabulary["</s>"] == config["eos_token_id"]


def installed(tmp_path: Path) -> Path:
    """Lay the commands and the model out as the installer does; return the folder."""
    (tmp_path / "vllm" / "bin").mkdir(parents=True)
    for source, name in (("launch.sh", "vllm"), ("fill-cache.sh", "fill-cache")):
        command = tmp_path / "vllm" / "bin" / name
        command.write_text((RECIPES / "vllm" / source).read_text())
        command.chmod(0o755)
    make_model(tmp_path / "vllm" / "model")
    return tmp_path / "vllm"


def test_the_command_becomes_the_engine_so_that_it_gets_signals(tmp_path: Path) -> None:
    folder = installed(tmp_path)
    (tmp_path / "path").mkdir()
    python = tmp_path / "path" / "python3"
    python.write_text('#!/bin/sh\necho "$$ $PYTHONPATH $*"\n')
    python.chmod(0o755)
    link = tmp_path / "current"
    link.symlink_to(folder)
    process = subprocess.Popen(
        [link / "bin" / "vllm", "serve", "a model"],
        env={"PATH": f"{python.parent}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    said, _ = process.communicate()
    assert said.split() == [
        str(process.pid),
        f"{folder}/site-packages",
        *["-m", "vllm.entrypoints.cli.main", "serve", "a", "model"],
    ]


def test_the_cache_is_filled_as_a_download_would_fill_it(tmp_path: Path) -> None:
    folder, hub = installed(tmp_path), tmp_path / "cache"
    for _ in range(2):
        subprocess.run([folder / "bin" / "fill-cache", NAME, hub], check=True, capture_output=True)
    repository = hub / "hub" / "models--TinyLlama--TinyLlama-1.1B-Chat-v1.0"
    revision = (repository / "refs" / "main").read_text()
    assert re.fullmatch("[0-9a-f]{40}", revision)
    assert [path.name for path in (repository / "snapshots").iterdir()] == [revision]
    config = repository / "snapshots" / revision / "config.json"
    assert config.read_bytes() == (folder / "model" / "config.json").read_bytes()


def test_pods_that_share_a_cache_may_fill_it_at_once(tmp_path: Path) -> None:
    folder, hub = installed(tmp_path), tmp_path / "cache"
    fill: list[str | Path] = [folder / "bin" / "fill-cache", NAME, hub]
    running = [subprocess.Popen(fill, stdout=subprocess.DEVNULL) for _ in range(8)]
    assert [process.wait() for process in running] == [0] * 8
    snapshots = hub / "hub" / "models--TinyLlama--TinyLlama-1.1B-Chat-v1.0" / "snapshots"
    assert len(list(snapshots.iterdir())) == 1


def test_an_engine_is_installed_once_and_seen_under_its_name(cache: Path, built: list[str]) -> None:
    for _ in range(2):
        folder = install.publish(NoProgress())
    assert folder == cache / "engines"
    assert (folder / "vllm" / "engine").read_text() == "the engine\n"
    assert len(built) == 1


def test_the_link_resolves_within_the_folder_that_nodes_mount(
    cache: Path, built: list[str]
) -> None:
    install.publish(NoProgress())
    link = cache / "engines" / "vllm"
    assert built
    assert not link.readlink().is_absolute()
    assert link.resolve().parent == cache / "engines"


def test_a_run_that_was_killed_half_way_does_not_spoil_the_next(
    cache: Path, built: list[str]
) -> None:
    key = install.vllm_artefact().key
    left = cache / "engines" / f".vllm-{key}"
    left.mkdir(parents=True)
    (left / "engine").write_text("half")
    (cache / "engines" / ".vllm.link").symlink_to("nowhere")
    install.publish(NoProgress())
    assert (cache / "engines" / "vllm" / "engine").read_text() == "the engine\n"
    assert len(built) == 1


def test_what_is_not_asked_for_rightly_ends_with_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert install.main(["tgi"]) == ExitCode.ERROR
    assert "found `tgi`" in capsys.readouterr().err


def test_the_installer_starts_without_what_it_installs() -> None:
    argv = [sys.executable, "-m", "fixtures.engines.install", "nothing"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.ERROR
