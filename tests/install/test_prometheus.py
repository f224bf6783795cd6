"""A real Prometheus scrapes the page of metrics and takes the rules; no cluster is needed."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from drainproof.clusters import artefacts, golang, stacks
from drainproof.install import monitoring
from drainproof.install.objects import documents
from drainproof.install.settings import Settings
from drainproof.progress import NoProgress
from tests.install.test_monitoring import QUERIES
from tests.manifests import deployment, scaled_object
from tests.report.audits import audited, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEADLINE_S = 60
OBJECTS = {item.key[::2]: item.object for item in documents(Settings(prometheus_operator=True))}
ENDPOINT = OBJECTS["ServiceMonitor", "drainproof-metrics"]["spec"]["endpoints"][0]


@pytest.fixture(scope="session")
def prometheus() -> str:
    if golang.go_tool() is None:
        pytest.skip("Go is not installed, so Prometheus cannot be built")
    (module,) = [one for one in stacks.STACKS["prometheus"].modules if one.name == "prometheus"]
    artefacts.ensure([module.built], NoProgress())
    return str(module.built.path / "prometheus")


def waited(condition: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever is waited for
    """Return the first true answer; the last one when the time is up."""
    until = time.monotonic() + DEADLINE_S
    while not (found := condition()) and time.monotonic() < until:
        time.sleep(0.2)
    return found


@contextmanager
def page(folder: Path) -> Iterator[str]:
    """Serve a folder by what the Deployment runs; yield host and port."""
    pod = OBJECTS["Deployment", "drainproof-metrics"]["spec"]["template"]["spec"]
    words = [*pod["containers"][0]["command"], "--bind", "127.0.0.1"]
    python, port, at = words.index("python3"), words.index("8080"), words.index("--directory") + 1
    words[python], words[port], words[at] = sys.executable, "0", str(folder)
    words.insert(1, "-u")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            assert server.stdout is not None
            said = re.search(rb"port (\d+)", server.stdout.readline())
            assert said is not None
            yield f"127.0.0.1:{int(said[1])}"
        finally:
            server.kill()


def configured(folder: Path, target: str, groups: list[dict[str, Any]]) -> list[str]:
    """Return the arguments of a Prometheus that scrapes as the ServiceMonitor says."""
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    scrape = {
        "job_name": "drainproof",
        "metrics_path": ENDPOINT["path"],
        "honor_labels": ENDPOINT["honorLabels"],
        "static_configs": [{"targets": [target], "labels": {"namespace": "drainproof"}}],
    }
    often = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config = {"global": often, "rule_files": ["rules.yaml"], "scrape_configs": [scrape]}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}",
    ]


@contextmanager
def running(program: str, words: list[str]) -> Iterator[Callable[..., Any]]:
    """Run a Prometheus; yield what asks it."""
    url = f"http://{words[-1].partition('=')[2]}/api/v1"

    def ask(path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
        try:
            return httpx.get(f"{url}/{path}", params=query, timeout=5).json().get("data")
        except (httpx.HTTPError, ValueError):
            return None

    with subprocess.Popen([program, *words], stderr=subprocess.DEVNULL) as server:
        try:
            yield ask
        finally:
            server.kill()


def test_what_it_serves_is_scraped_recorded_alerted_on_and_shown(
    prometheus: str, tmp_path: Path
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    result = audited(tmp_path / "a.yaml", deployment(lifecycle=None), scaled_object())
    (served / "metrics.txt").write_text(report("metrics", result))
    groups = monitoring.groups(10800)
    with (
        page(served) as target,
        running(prometheus, configured(tmp_path, target, groups)) as ask,
    ):

        def fired() -> list[dict[str, Any]]:
            """Return the alerts; before the first scrape there is one that no audit was done."""
            listed = (ask("alerts") or {"alerts": []})["alerts"]
            return [one for one in listed if one["labels"]["alertname"] != "DrainproofAuditStale"]

        (alert,) = waited(fired)
        assert alert["labels"]["alertname"] == "DrainproofCutsStreams"
        assert alert["labels"]["namespace"] == "inference"
        assert alert["annotations"]["summary"] == (
            "Deployment/inference/llama has 1 findings that cut off answers"
        )
        recorded = waited(lambda: (ask("query", query=monitoring.BY_SEVERITY) or {}).get("result"))
        assert recorded[0]["metric"]["severity"] == "error"
        rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}
        assert len(rules) == sum(len(group["rules"]) for group in groups)
        queries = [query.replace('"$namespace"', '".*"') for query in QUERIES]
        assert [query for query in queries if ask("query", query=query) is None] == []


@pytest.mark.parametrize(
    ("field", "value"), [("expr", "sum("), ("for", "soon"), ("annotations", {"a": "{{ $nothing"})]
)
def test_rules_that_are_wrong_are_refused(
    prometheus: str, tmp_path: Path, field: str, value: object
) -> None:
    groups = monitoring.groups(10800)
    groups[1]["rules"][0][field] = value
    words = configured(tmp_path, "127.0.0.1:9", groups)
    done = subprocess.run(
        [prometheus, *words], capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )
    assert done.returncode != 0
    assert "rules.yaml" in done.stderr
