"""What an audit on a schedule is given in a cluster, and that it is no more than it needs."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml

from drainproof import __version__
from drainproof.cli import drainproof
from drainproof.collect.live import RBAC
from drainproof.errors import UserError
from drainproof.install import settings as installing
from drainproof.install.objects import NAME, command, documents, text
from drainproof.install.settings import Service, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

Object = dict[str, Any]
FULL = Settings(
    prometheus=Service("monitoring", "prometheus-operated", "9090"),
    policy_reports=True,
    prometheus_operator=True,
)
each_settings = pytest.mark.parametrize(
    "settings", [Settings(), FULL, Settings(namespaces=("a", "b"), policy_reports=True)]
)


def objects(settings: Settings) -> list[Object]:
    return list(yaml.safe_load_all(text(documents(settings))))


def of_kind(kind: str, settings: Settings) -> list[Object]:
    return [obj for obj in objects(settings) if obj["kind"] == kind]


def pods(listed: list[Object]) -> list[Object]:
    """Return the specs of all pods that these objects make."""
    found = []
    for obj in listed:
        spec = obj.get("spec", {})
        if obj["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            found.append(spec["template"]["spec"])
    return found


def lax(pod: Object) -> Iterator[str]:
    """Yield where a pod falls short of restricted Pod Security, or of what we want beside it."""
    wanted = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if any(pod["securityContext"].get(key) != value for key, value in wanted.items()):
        yield "the pod may do more than it needs"
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        if container.get("securityContext") != {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }:
            yield f"{container['name']} may do more than it needs"
        for bound in ("requests", "limits"):
            if set(container["resources"].get(bound, ())) != {"cpu", "memory"}:
                yield f"{container['name']} has no {bound}"
    for volume in pod["volumes"]:
        if not {"configMap", "persistentVolumeClaim", "emptyDir"} & volume.keys():
            yield f"volume {volume['name']}"


@each_settings
def test_each_pod_is_restricted_and_bounded(settings: Settings) -> None:
    listed = pods(objects(settings))
    assert len(listed) == 2
    assert [list(lax(pod)) for pod in listed] == [[], []]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("securityContext", "runAsNonRoot"), False),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}),
        (("containers", 0, "securityContext", "readOnlyRootFilesystem"), False),
        (("containers", 0, "securityContext", "privileged"), True),
        (("containers", 0, "resources", "limits"), {}),
        (("volumes", 0), {"name": "host", "hostPath": {"path": "/"}}),
    ],
)
def test_a_pod_that_may_do_more_is_seen(path: tuple[str | int, ...], value: object) -> None:
    pod = deepcopy(pods(objects(Settings()))[0])
    at: Any = pod
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    assert list(lax(pod)) != []


def granted(listed: list[Object]) -> set[tuple[str, str, str]]:
    """Return each verb that roles give: group, resource or path, and verb."""
    return {
        (group, what, verb)
        for obj in listed
        for rule in obj.get("rules", ())
        for group in rule.get("apiGroups", ("",))
        for what in (*rule.get("resources", ()), *rule.get("nonResourceURLs", ()))
        for verb in rule["verbs"]
    }


def test_it_may_do_what_the_read_only_manifest_says_and_nothing_else() -> None:
    truth = granted(list(yaml.safe_load_all(RBAC.read_text())))
    assert granted(objects(Settings(prometheus=FULL.prometheus))) == truth
    assert {verb for _, _, verb in granted(objects(Settings()))} == {"get", "list"}
    assert granted(objects(FULL)) - truth == {
        ("wgpolicyk8s.io", "policyreports", verb)
        for verb in ("get", "list", "create", "patch", "delete")
    }


def test_for_named_namespaces_it_has_a_role_in_each_and_none_in_the_cluster() -> None:
    listed = objects(Settings(namespaces=("a", "b")))
    kinds = {obj["kind"] for obj in listed}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}
    roles = [obj for obj in listed if obj["kind"] == "Role"]
    assert [obj["metadata"]["namespace"] for obj in roles] == ["a", "b"]
    assert not any("nonResourceURLs" in rule for obj in roles for rule in obj["rules"])


def test_only_the_prometheus_that_is_named_may_be_asked() -> None:
    (role,) = of_kind("Role", FULL)
    assert role["metadata"]["namespace"] == "monitoring"
    assert role["rules"][0]["resourceNames"] == ["prometheus-operated:9090"]


@each_settings
def test_what_the_cron_job_starts_is_a_command_that_there_is(settings: Settings) -> None:
    (job,) = of_kind("CronJob", settings)
    spec = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        words = list(container["args"])
        called: click.Command | None = drainproof
        while isinstance(called, click.Group):
            called = called.get_command(click.Context(called), words.pop(0))
        assert called is not None
        with called.make_context("it", words) as made:
            assert made.params["context"] == "in-cluster"


def test_runs_do_not_overlap_and_end() -> None:
    (job,) = of_kind("CronJob", Settings(schedule="@daily"))
    spec = job["spec"]
    assert (spec["schedule"], spec["concurrencyPolicy"]) == ("@daily", "Forbid")
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 3600
    assert spec["startingDeadlineSeconds"] > 0
    assert {"successfulJobsHistoryLimit", "failedJobsHistoryLimit"} <= spec.keys()


def test_the_kubeconfig_names_the_context_and_holds_no_token() -> None:
    config = yaml.safe_load(
        next(
            obj["data"]["kubeconfig"]
            for obj in of_kind("ConfigMap", Settings())
            if obj["metadata"]["name"] == NAME
        )
    )
    assert [item["name"] for item in config["contexts"]] == ["in-cluster"]
    assert config["users"][0]["user"].keys() == {"tokenFile"}


def policy(settings: Settings, name: str) -> Object:
    found = of_kind("NetworkPolicy", settings)
    spec: Object = next(obj["spec"] for obj in found if obj["metadata"]["name"] == name)
    return spec


def test_nobody_reaches_the_audit_and_it_reaches_named_ports_only() -> None:
    spec = policy(Settings(api_server=("10.0.0.1/32",)), NAME)
    assert "ingress" not in spec
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    api, dns = spec["egress"]
    assert api["to"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}]
    assert {item["port"] for item in dns["ports"]} == {53}


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        (
            "http://prometheus.monitoring.svc:9090",
            {
                "to": [
                    {
                        "namespaceSelector": {
                            "matchLabels": {"kubernetes.io/metadata.name": "monitoring"}
                        }
                    }
                ]
            },
        ),
        ("https://prom.example.com", {"ports": [{"protocol": "TCP", "port": 443}]}),
    ],
)
def test_a_prometheus_that_is_named_by_url_is_reached(url: str, rule: Object) -> None:
    settings = Settings(prometheus=installing.prometheus(url))
    assert policy(settings, NAME)["egress"][2] == rule
    assert url in command(settings)


def test_the_metrics_reach_nothing_and_are_reached_at_one_port() -> None:
    spec = policy(Settings(), "drainproof-metrics")
    assert "egress" not in spec
    assert spec["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8080}]}]


def test_each_document_says_why_it_is_there_and_the_text_is_stable() -> None:
    whole = text(documents(FULL))
    assert all(part.startswith("# ") for part in whole.split("---\n"))
    assert whole == text(documents(FULL))
    assert "&id" not in whole


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-n", "a", "-A"], "found both"),
        (["-n", "Not_One"], "expected the name of a namespace, found 'Not_One'"),
        (["--namespace", "x\nkind: Secret"], "expected the name of a namespace"),
        (["--schedule", "hourly"], "expected --schedule as a CronJob has it"),
        (["--image", "a b"], "expected the name of an image"),
        (["--api-server", "10.0.0.1/33"], "expected a CIDR"),
        (["--prometheus", "auto"], "expected a URL or NAMESPACE/SERVICE"),
        (["--prometheus", "http://me:secret@prom"], "a user or a password"),
        (["--prometheus", "http://[x"], "is not a URL"),
        (["--apply"], "--apply and --context together"),
        (["--context", "prod"], "--apply and --context together"),
        (["--apply", "--context", "nowhere", "--kustomize", "x"], "found both"),
    ],
)
def test_a_wrong_option_is_one_error_and_nothing_is_printed(words: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "drainproof", "install", "audit", *words],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "secret@" not in done.stderr
    assert "Traceback" not in done.stderr


def test_the_image_is_pinned_to_this_version() -> None:
    assert installing.IMAGE.rpartition(":")[2] == __version__
    with pytest.raises(UserError):
        installing.checked(Settings(image=""))
