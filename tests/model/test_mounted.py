"""Settings and scripts in ConfigMaps count as if they were in the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.model.snapshot import Snapshot
from tests.manifests import Raw, deployment

if TYPE_CHECKING:
    from drainproof.model.engine import Engine

SETTINGS = "max-model-len: 8192\nenable_prefix_caching: true\ntensor-parallel-size: 2\n"


def config_map(data: Raw, *, name: str = "settings", namespace: str = "inference") -> Raw:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def mounting(volume: Raw | None = None, mount: Raw | None = None, **container: object) -> Raw:
    """Return a deployment whose container mounts the ConfigMap at /etc/engine."""
    mounts = [mount or {"name": "settings", "mountPath": "/etc/engine"}]
    obj = deployment(volumeMounts=mounts, **container)
    volume = volume or {"configMap": {"name": "settings"}}
    obj["spec"]["template"]["spec"]["volumes"] = [{"name": "settings", **volume}]
    return obj


def engine(*objects: Raw) -> Engine:
    (found,) = Snapshot.of(objects).workloads
    assert found.engine is not None
    return found.engine


FILE = ["--model=m", "--config", "/etc/engine/vllm.yaml"]


def test_flags_in_a_config_file_are_the_engines() -> None:
    found = engine(mounting(args=FILE), config_map({"vllm.yaml": SETTINGS}))
    assert found.flags["--max-model-len"] == "8192"
    assert found.flags["--enable-prefix-caching"] == "true"
    assert found.tensor_parallel == 2
    assert found.flags_known
    assert "--max-model-len" in found.config_flags


def test_the_command_line_comes_before_the_config_file() -> None:
    args = [*FILE, "--max-model-len=4096"]
    found = engine(mounting(args=args), config_map({"vllm.yaml": SETTINGS}))
    assert found.flags["--max-model-len"] == "4096"


def test_the_file_of_trtllm_serve_comes_before_its_command_line() -> None:
    args = ["m", "--tp_size=1", "--extra_llm_api_options", "/etc/engine/api.yaml"]
    fields: Raw = {
        "image": "nvcr.io/nvidia/tensorrt-llm/release:1.0.0",
        "command": ["trtllm-serve"],
    }
    text = "tensor_parallel_size: 4\nreturn_perf_metrics: true\nkv_cache_config:\n  dtype: fp8\n"
    found = engine(mounting(args=args, **fields), config_map({"api.yaml": text}))
    assert found.tensor_parallel == 4
    assert found.metrics_enabled is True
    assert found.flags["--kv-cache-config.dtype"] == "fp8"


@pytest.mark.parametrize(
    "objects",
    [
        [],
        [config_map({"other.yaml": SETTINGS})],
        [config_map({"vllm.yaml": SETTINGS}, namespace="elsewhere")],
        [config_map({"vllm.yaml": "a: [1\n"})],
        [config_map({"vllm.yaml": "- a\n"})],
        [config_map({"vllm.yaml": 7})],
    ],
    ids=["none", "another file", "another namespace", "broken", "a list", "no text"],
)
def test_a_config_file_that_cannot_be_read_leaves_flags_unknown(objects: list[Raw]) -> None:
    found = engine(mounting(args=FILE), *objects)
    assert not found.flags_known
    assert found.flags["--model"] == "m"


def test_a_config_file_in_one_word_is_ignored_as_the_engine_does() -> None:
    args = ["--model=m", "--config=/etc/engine/vllm.yaml"]
    found = engine(mounting(args=args), config_map({"vllm.yaml": SETTINGS}))
    assert found.ignored_config == "--config=/etc/engine/vllm.yaml"
    assert "--max-model-len" not in found.flags


@pytest.mark.parametrize(
    ("volume", "mount"),
    [
        ({"configMap": {"name": "settings"}}, {"mountPath": "/etc/engine/"}),
        (
            {"configMap": {"name": "settings", "items": [{"key": "k", "path": "vllm.yaml"}]}},
            {"mountPath": "/etc/engine"},
        ),
        (
            {"configMap": {"name": "settings"}},
            {"mountPath": "/etc/engine/vllm.yaml", "subPath": "k"},
        ),
        (
            {"projected": {"sources": [{"configMap": {"name": "settings"}}]}},
            {"mountPath": "/etc/engine"},
        ),
    ],
    ids=["folder", "items", "subPath", "projected"],
)
def test_a_file_is_found_however_it_is_mounted(volume: Raw, mount: Raw) -> None:
    obj = mounting(volume, {"name": "settings", **mount}, args=FILE)
    found = engine(obj, config_map({"k": SETTINGS, "vllm.yaml": SETTINGS}))
    assert found.flags["--max-model-len"] == "8192"


@pytest.mark.parametrize(
    "command", [["/etc/engine/start.sh"], ["sh", "/etc/engine/start.sh"], ["bash", "-c", "x.sh"]]
)
def test_a_start_script_in_a_config_map_is_read(command: list[str]) -> None:
    script = "#!/bin/sh\nexec vllm serve m \\\n  --port 9000\n"
    if command[-1] == "x.sh":
        command = ["bash", "-c", "exec /etc/engine/start.sh"]
    obj = mounting(image="registry.example/ours:1", command=command, args=None)
    found = engine(obj, config_map({"start.sh": script}))
    assert (found.name, found.port) == ("vllm", 9000)


def test_variables_from_config_maps_are_filled_in() -> None:
    ref = {"configMapKeyRef": {"name": "settings", "key": "port"}}
    obj = deployment(
        args=["--model=$(MODEL)", "--port=$(PORT)"],
        env=[{"name": "PORT", "valueFrom": ref}],
        envFrom=[{"configMapRef": {"name": "settings"}}],
    )
    found = engine(obj, config_map({"port": "9000", "MODEL": "llama"}))
    assert (found.port, found.flags["--model"]) == (9000, "llama")


def test_what_is_written_comes_before_what_a_config_map_says() -> None:
    obj = deployment(
        args=["--port=$(PORT)"],
        env=[{"name": "PORT", "value": "7000"}],
        envFrom=[{"configMapRef": {"name": "settings"}}],
    )
    assert engine(obj, config_map({"PORT": "9000"})).port == 7000


def test_a_workload_that_starts_nothing_known_from_its_config_map_is_left_alone() -> None:
    obj = mounting(image="registry.example/ours:1", command=["/etc/engine/start.sh"], args=None)
    snapshot = Snapshot.of([obj, config_map({"start.sh": "exec nginx\n"})])
    assert (snapshot.workloads, snapshot.other_workloads) == ((), 1)


def test_a_workload_that_a_config_map_shows_to_be_an_engine_counts_once() -> None:
    obj = mounting(image="registry.example/ours:1", command=["/etc/engine/start.sh"], args=None)
    snapshot = Snapshot.of([obj, config_map({"start.sh": "exec vllm serve m\n"})])
    assert (len(snapshot.workloads), snapshot.other_workloads) == (1, 0)
