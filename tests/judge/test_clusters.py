"""An audit of several clusters: one report, in which each workload names its cluster."""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import orjson
import pytest
import yaml
from jsonschema import Draft202012Validator

from drainproof.collect import live
from drainproof.judge import command
from tests.collect.api_server import FakeApi, serving
from tests.collect.test_live import DEPLOYMENTS, stored
from tests.manifests import deployment
from tests.report.test_json import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drainproof.model.snapshot import Snapshot
    from tests.commands import Done

FEW = ("--select", "prestop-delay", "--select", "waivers", "-A")
MANY = ("--contexts", "prod-*", *FEW)
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Serve clusters with these Deployments, by context; None is one that can't be reached."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with ExitStack() as servers:

        def serve(**contexts: list[dict[str, Any]] | None) -> None:
            urls = {
                name.replace("_", "-"): NOWHERE
                if objects is None
                else servers.enter_context(
                    serving(FakeApi({DEPLOYMENTS: [stored(obj) for obj in objects]}))
                ).url
                for name, objects in contexts.items()
            }
            config = {
                "apiVersion": "v1",
                "kind": "Config",
                "users": [{"name": "u", "user": {"token": "t"}}],
                "clusters": [{"name": n, "cluster": {"server": url}} for n, url in urls.items()],
                "contexts": [{"name": n, "context": {"cluster": n, "user": "u"}} for n in urls],
            }
            (tmp_path / "config").write_text(yaml.safe_dump(config), encoding="utf-8")

        yield serve


BAD = deployment(lifecycle=None)


def report(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(done.out)
    Draft202012Validator(SCHEMA).validate(found)
    return found


def subjects(done: Done) -> list[str]:
    return [item["subject"]["cluster"] for item in report(done)["findings"]]


def test_each_workload_names_its_cluster(
    clusters: Callable[..., None], run: Callable[..., Done]
) -> None:
    clusters(prod_us=[BAD], prod_eu=[BAD], staging=[BAD], prod_good=[deployment()])
    done = run("audit", *MANY, "--format", "json")
    found = report(done)
    assert done.code == 1
    assert subjects(done) == ["prod-eu", "prod-us"]
    assert found["findings"][0]["object"] == "prod-eu: Deployment/inference/llama"
    assert (found["summary"]["workloads"], found["summary"]["pass"]) == (3, 1)
    assert found["summary"]["api_calls"]["list deployments.apps"] == 3


def test_patterns_may_be_repeated_and_count_once(
    clusters: Callable[..., None], run: Callable[..., Done]
) -> None:
    clusters(prod_us=[BAD], prod_eu=[BAD], staging=[BAD])
    done = run("audit", *MANY, "--contexts", "staging", "--contexts", "*-us", "--format", "json")
    assert subjects(done) == ["prod-eu", "prod-us", "staging"]


def test_every_format_tells_the_clusters_apart(
    clusters: Callable[..., None], run: Callable[..., Done], tmp_path: Path
) -> None:
    clusters(prod_us=[BAD], prod_eu=[BAD])
    forms = ("terminal", "junit", "sarif", "github", "markdown", "html", "policyreport")
    run("audit", *MANY, *(word for one in forms for word in ("--format", f"{one}={one}")))
    for form in forms:
        text = (tmp_path / form).read_text(encoding="utf-8")
        assert "prod-us" in text, form
        assert "prod-eu" in text, form
    names = {suite.get("name") for suite in ET.parse(tmp_path / "junit").iter("testsuite")}  # noqa: S314 - our own
    assert {f"prod-{where}: Deployment/inference/llama" for where in ("eu", "us")} <= names
    policies = list(yaml.safe_load_all((tmp_path / "policyreport").read_text(encoding="utf-8")))
    assert len({one["metadata"]["name"] for one in policies}) == 2
    assert [one["metadata"]["annotations"] for one in policies] == [
        {"drainproof.dev/cluster": "prod-eu"}, {"drainproof.dev/cluster": "prod-us"}
    ]  # fmt: skip


def test_one_cluster_that_is_away_does_not_lose_the_others(
    clusters: Callable[..., None], run: Callable[..., Done]
) -> None:
    clusters(prod_us=None, prod_eu=[BAD])
    done = run("audit", *MANY, "--format", "json")
    (problem,) = report(done)["problems"]
    assert (done.code, subjects(done)) == (2, ["prod-eu"])
    assert problem["message"].startswith("prod-us: the API server at http://127.0.0.1:1 cannot be")


def test_nothing_but_clusters_that_are_away_is_a_report_too(
    clusters: Callable[..., None], run: Callable[..., Done]
) -> None:
    clusters(prod_us=None, prod_eu=None)
    done = run("audit", *MANY, "--format", "json")
    assert (done.code, len(report(done)["problems"])) == (2, 2)


def test_clusters_without_a_language_model_are_nothing_to_audit(
    clusters: Callable[..., None], run: Callable[..., Done]
) -> None:
    clusters(prod_us=[], prod_eu=[])
    done = run("audit", *MANY)
    assert done.code == 2
    assert "nothing to audit: expected a workload" in done.errors


def fingerprints(done: Done) -> set[str]:
    results = orjson.loads(done.out)["runs"][0]["results"]
    return {value for one in results for value in one["partialFingerprints"].values()}


def test_fingerprints_tell_clusters_apart_and_one_cluster_keeps_its_own(
    clusters: Callable[..., None], run: Callable[..., Done], tmp_path: Path
) -> None:
    clusters(prod_us=[BAD], prod_eu=[BAD])
    many = fingerprints(run("audit", *MANY, "--format", "sarif"))
    one = fingerprints(run("audit", "--context", "prod-us", *FEW, "--format", "sarif"))
    other = fingerprints(run("audit", "--context", "prod-eu", *FEW, "--format", "sarif"))
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(BAD), encoding="utf-8")
    file = fingerprints(run("audit", "a.yaml", *FEW[:-1], "--format", "sarif"))
    assert (len(many), one == other == file, many.isdisjoint(one)) == (2, True, True)


def test_a_baseline_is_of_each_cluster(
    clusters: Callable[..., None], run: Callable[..., Done]
) -> None:
    clusters(prod_us=[BAD], prod_eu=[deployment()])
    assert run("audit", *MANY, "--write-baseline", "base.json").code == 0
    same = run("audit", *MANY, "--baseline", "base.json", "--format", "json")
    clusters(prod_us=[deployment()], prod_eu=[BAD])
    moved = run("audit", *MANY, "--baseline", "base.json", "--format", "json")
    assert (same.code, moved.code, subjects(moved)) == (0, 1, ["prod-eu"])


@pytest.mark.parametrize(
    ("subject", "waived"),
    [
        ("Deployment/inference/llama", ["waived", "waived"]),
        ("prod-us: Deployment/inference/*", ["fail", "waived"]),
    ],
)
def test_a_waiver_is_for_all_clusters_or_for_the_one_that_it_names(
    clusters: Callable[..., None],
    run: Callable[..., Done],
    tmp_path: Path,
    subject: str,
    waived: list[str],
) -> None:
    clusters(prod_us=[BAD], prod_eu=[BAD])
    waiver = {
        "check": "prestop-delay", "subject": subject, "reason": "short answers",
        "owner": "team-batch", "expires": "2099-01-31",
    }  # fmt: skip
    file = tmp_path / "w.yaml"
    file.write_text(yaml.safe_dump({"waivers": [waiver]}), encoding="utf-8")
    found = report(run("audit", *MANY, "--waivers", file, "--format", "json"))
    assert [item["verdict"] for item in found["findings"]] == waived


def test_an_annotation_waives_in_its_own_cluster(
    clusters: Callable[..., None], run: Callable[..., Done]
) -> None:
    own = deployment(lifecycle=None)
    text = "{reason: short answers, owner: team-batch, expires: 2099-01-31}"
    own["metadata"]["annotations"] = {"waive.drainproof.dev/prestop-delay": text}
    clusters(prod_us=[own], prod_eu=[BAD])
    found = report(run("audit", *MANY, "--format", "json"))
    assert [item["verdict"] for item in found["findings"]] == ["fail", "waived"]


def test_no_more_clusters_are_in_memory_than_are_read_at_once(
    clusters: Callable[..., None], run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters(**{f"prod_{number}": [BAD] for number in range(12)})
    there: list[weakref.ref[Snapshot]] = []
    most = 0
    read = live.read

    def watched(*given: Any, **options: Any) -> Snapshot:  # noqa: ANN401 - as live.read
        nonlocal most
        snapshot = read(*given, **options)
        there.append(weakref.ref(snapshot))
        most = max(most, sum(one() is not None for one in there))
        return snapshot

    monkeypatch.setattr(live, "read", watched)
    done = run("audit", *MANY, "--format", "json")
    assert len(subjects(done)) == len(there) == 12
    assert most <= command.AT_ONCE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--contexts", "dev-*", "-A"), "there is no context 'dev-*' in"),
        (("--contexts", "prod-*"), "expected -n NAMESPACE or -A with --contexts, found neither"),
        ((*MANY, "--context", "prod-us"), "either --context or --contexts, found both"),
        ((*MANY, "deploy/"), "expected either paths or --contexts, found both"),
        ((*MANY, "--save", "a.json"), "--save keeps Snapshots of one cluster"),
        ((*MANY, "--since", "kept"), "--since keeps Snapshots of one cluster"),
        ((*MANY, "--prometheus", "http://p:9090"), "a URL is the Prometheus of one cluster"),
    ],
)
def test_bad_usage_is_one_clear_error(
    clusters: Callable[..., None], run: Callable[..., Done], words: tuple[str, ...], said: str
) -> None:
    clusters(prod_us=[BAD])
    done = run("audit", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.errors
    assert "Traceback" not in done.errors
