"""The objects of an audit on a schedule: the one source of what is printed, applied and charted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import yaml

from drainproof.collect.live import RBAC
from drainproof.install import monitoring
from drainproof.install.settings import Service, Settings, Url
from drainproof.policies.write import dumped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Object = dict[str, Any]

NAME = "drainproof-audit"
METRICS = "drainproof-metrics"
PORT = 8080
_STATE = "/var/lib/drainproof"
_SNAPSHOTS = f"{_STATE}/snapshots"
_PAGE = f"{_STATE}/metrics"
_KUBECONFIG = "/etc/drainproof/kubeconfig"
_CONTEXT = "in-cluster"
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_REPORTS = "/tmp/policyreports.yaml"  # noqa: S108 - an emptyDir of the pod's own
_NOBODY = 65532
_RBAC_GROUP = "rbac.authorization.k8s.io"
_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
_POD = {
    "fsGroup": _NOBODY,
    "runAsGroup": _NOBODY,
    "runAsNonRoot": True,
    "runAsUser": _NOBODY,
    "seccompProfile": {"type": "RuntimeDefault"},
}


_ABOUT_AUDIT = """\
The audit. It exits with 0 whatever it finds; a Job that fails could not audit.
Waivers and settings: a ConfigMap drainproof-settings with drainproof.toml and
drainproof-waivers.yaml, if there is one."""
_ABOUT_NETWORK = """\
The audit reaches the API server (any address on its ports, unless --api-server names
some), DNS, and a Prometheus that is named by URL. Nobody reaches the audit."""


class Document(NamedTuple):
    """One object."""

    file: str
    """The file that it is in, without ``.yaml``."""
    comment: str
    """Why it is there."""
    object: Object

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is known by: kind, namespace and name."""
        metadata = self.object["metadata"]
        return self.object["kind"], metadata.get("namespace", ""), metadata["name"]

    @property
    def text(self) -> str:
        """It as YAML, below its comment."""
        said = "".join(f"# {line}\n" for line in self.comment.splitlines())
        # values that several objects share are written out in each
        return said + dumped(orjson.loads(orjson.dumps(self.object)))


def documents(settings: Settings) -> tuple[Document, ...]:
    """Return all objects, in an order in which they can be applied."""
    return tuple(
        Document(file, comment, obj)
        for file, found in (
            ("namespace", _namespace(settings)),
            ("rbac", _rbac(settings)),
            ("audit", _audit(settings)),
            ("metrics", _metrics(settings)),
            ("network", _network(settings)),
            ("monitoring", _monitoring(settings)),
        )
        for comment, obj in found
    )


def text(listed: Iterable[Document]) -> str:
    """Return objects as one YAML text."""
    return "---\n".join(item.text for item in listed)


_Found = tuple[str, Object]


def _named(kind: str, api: str, settings: Settings, name: str, **rest: object) -> Object:
    metadata = {"name": name, "namespace": settings.namespace, "labels": _labels(name)}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


def _labels(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "drainproof"}


def _namespace(settings: Settings) -> Iterator[_Found]:
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    yield (
        "Where the audit lives. Pod Security refuses here whatever asks for more than it needs.",
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": settings.namespace, "labels": levels},
        },
    )


def _rbac(settings: Settings) -> Iterator[_Found]:
    yield (
        "Whom the audit acts as. It reads; what it keeps is in a volume, not at the API server.",
        _named("ServiceAccount", "v1", settings, NAME, automountServiceAccountToken=False),
    )
    rules = _rules()
    yield from _granted(
        settings, NAME, rules[NAME], "All that an audit reads, and no more: no Secret, no change."
    )
    if settings.prometheus is not None:
        yield from _granted(
            settings,
            "drainproof-pods",
            rules["drainproof-pods"],
            "To hold an autoscaler's query against what pods say themselves: their metrics.",
        )
    if isinstance(settings.prometheus, Service):
        where = settings.prometheus
        (rule,) = rules["drainproof-prometheus"]
        yield from _role(
            settings,
            "drainproof-prometheus",
            [{**rule, "resourceNames": [f"{where.name}:{where.port}"]}],
            where.namespace,
            "To ask Prometheus through the API server.",
        )
    if settings.policy_reports:
        verbs = ["list", "create", "patch", "delete"]
        yield from _granted(
            settings,
            "drainproof-policy-reports",
            [
                {
                    "apiGroups": ["wgpolicyk8s.io"],
                    "resources": ["policyreports"],
                    "verbs": ["get", *verbs],
                }
            ],
            "To write PolicyReports: the only thing that is written at the API server.",
        )


def _rules() -> dict[str, list[Object]]:
    """Return the rules of each role in ``read-only-rbac.yaml``, which is where they are kept."""
    listed = yaml.safe_load_all(RBAC.read_text(encoding="utf-8"))
    return {item["metadata"]["name"]: item["rules"] for item in listed if "rules" in item}


def _granted(
    settings: Settings, name: str, rules: Sequence[Object], comment: str
) -> Iterator[_Found]:
    if settings.namespaces:
        # a Role can't name paths; everybody may read which APIs there are (system:discovery)
        inside = [rule for rule in rules if "nonResourceURLs" not in rule]
        for namespace in settings.namespaces:
            yield from _role(settings, name, inside, namespace, comment)
        return
    yield (
        comment,
        {
            "apiVersion": f"{_RBAC_GROUP}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name, "labels": _labels(name)},
            "rules": list(rules),
        },
    )
    yield (
        "In all namespaces.",
        {
            "apiVersion": f"{_RBAC_GROUP}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name, "labels": _labels(name)},
            **_binds(settings, "ClusterRole", name),
        },
    )


def _role(
    settings: Settings, name: str, rules: Sequence[Object], namespace: str, comment: str
) -> Iterator[_Found]:
    metadata = {"name": name, "namespace": namespace, "labels": _labels(name)}
    api = f"{_RBAC_GROUP}/v1"
    role = {"apiVersion": api, "kind": "Role", "metadata": metadata, "rules": list(rules)}
    yield comment, role
    yield (
        "In this namespace.",
        {
            "apiVersion": api,
            "kind": "RoleBinding",
            "metadata": metadata,
            **_binds(settings, "Role", name),
        },
    )


def _binds(settings: Settings, kind: str, name: str) -> Object:
    return {
        "roleRef": {"apiGroup": _RBAC_GROUP, "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": settings.namespace}],
    }


def _kubeconfig() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": _CONTEXT,
                "cluster": {
                    "certificate-authority": f"{_ACCOUNT}/ca.crt",
                    "server": "https://kubernetes.default.svc",
                },
            }
        ],
        "users": [{"name": _CONTEXT, "user": {"tokenFile": f"{_ACCOUNT}/token"}}],
        "contexts": [{"name": _CONTEXT, "context": {"cluster": _CONTEXT, "user": _CONTEXT}}],
    }


def command(settings: Settings) -> list[str]:
    """Return the arguments of ``drainproof`` in the CronJob."""
    scope = [word for name in settings.namespaces for word in ("-n", name)] or ["-A"]
    words = ["audit", "--context", _CONTEXT, *scope, "--profile", settings.profile]
    where = settings.prometheus
    if isinstance(where, Service):
        words += ["--prometheus", f"{where.namespace}/{where.name}:{where.port}"]
    elif isinstance(where, Url):
        words += ["--prometheus", where.url]
    words += ["--since", _SNAPSHOTS, "--exit-zero", "--format", f"metrics={_PAGE}/metrics.txt"]
    if settings.policy_reports:
        words += ["--format", f"policyreport={_REPORTS}"]
    return [*words, "--format", "terminal"]


def _container(settings: Settings, name: str, args: list[str], *, keeps: bool) -> Object:
    mounts = [
        {"name": "kubeconfig", "mountPath": _KUBECONFIG, "subPath": "kubeconfig", "readOnly": True},
        {"name": "settings", "mountPath": "/etc/drainproof/settings", "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the pod
    ]
    if keeps:
        mounts += [
            {"name": "state", "mountPath": _SNAPSHOTS, "subPath": "snapshots"},
            {"name": "state", "mountPath": _PAGE, "subPath": "metrics"},
        ]
    return {
        "name": name,
        "image": settings.image,
        "args": args,
        "workingDir": "/etc/drainproof/settings",
        "env": [
            {"name": "KUBECONFIG", "value": _KUBECONFIG},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - in the pod
        ],
        "resources": {
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"cpu": "1", "memory": "1Gi"},
        },
        "securityContext": _CONTAINER,
        "volumeMounts": mounts,
    }


def _audit(settings: Settings) -> Iterator[_Found]:
    yield (
        "How the audit reaches the API server: as its own service account.",
        _named("ConfigMap", "v1", settings, NAME, data={"kubeconfig": dumped(_kubeconfig())}),
    )
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    yield (
        "What outlasts a run: the last ten Snapshots, and the metrics of the last audit.",
        _named("PersistentVolumeClaim", "v1", settings, NAME, spec=claim),
    )
    yield (
        _ABOUT_AUDIT,
        _named(
            "CronJob",
            "batch/v1",
            settings,
            NAME,
            spec={
                "schedule": settings.schedule,
                "timeZone": "Etc/UTC",
                "concurrencyPolicy": "Forbid",
                "startingDeadlineSeconds": 600,
                "successfulJobsHistoryLimit": 1,
                "failedJobsHistoryLimit": 3,
                "jobTemplate": {"spec": _job(settings)},
            },
        ),
    )


def _job(settings: Settings) -> Object:
    audit = _container(settings, "audit", command(settings), keeps=True)
    running: Object = {"containers": [audit]}
    if settings.policy_reports:
        words = ["install", "policy-reports", _REPORTS, "--context", _CONTEXT]
        words += [word for name in settings.namespaces for word in ("-n", name)]
        publish = _container(settings, "policy-reports", words, keeps=False)
        running = {"initContainers": [audit], "containers": [publish]}
    beside = {
        "labelSelector": {"matchLabels": {"app.kubernetes.io/name": METRICS}},
        "topologyKey": "kubernetes.io/hostname",
    }
    return {
        "backoffLimit": 1,
        "activeDeadlineSeconds": 900,
        "template": {
            "metadata": {"labels": _labels(NAME)},
            "spec": {
                "serviceAccountName": NAME,
                "automountServiceAccountToken": True,
                "restartPolicy": "Never",
                "securityContext": _POD,
                # a ReadWriteOnce volume is on one node at a time
                "affinity": {
                    "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [beside]}
                },
                **running,
                "volumes": [
                    {"name": "kubeconfig", "configMap": {"name": NAME}},
                    {
                        "name": "settings",
                        "configMap": {"name": "drainproof-settings", "optional": True},
                    },
                    {"name": "state", "persistentVolumeClaim": {"claimName": NAME}},
                    {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
                ],
            },
        },
    }


def _metrics(settings: Settings) -> Iterator[_Found]:
    probe = {"tcpSocket": {"port": "metrics"}}
    container = {
        "name": "metrics",
        "image": settings.image,
        "command": ["python3", "-m", "http.server", str(PORT), "--directory", _PAGE],
        "ports": [{"name": "metrics", "containerPort": PORT}],
        "readinessProbe": probe,
        "livenessProbe": probe,
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi"},
            "limits": {"cpu": "100m", "memory": "64Mi"},
        },
        "securityContext": _CONTAINER,
        "volumeMounts": [
            {"name": "state", "mountPath": _PAGE, "subPath": "metrics", "readOnly": True}
        ],
    }
    pod = {
        "metadata": {"labels": _labels(METRICS)},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": _POD,
            "containers": [container],
            "volumes": [{"name": "state", "persistentVolumeClaim": {"claimName": NAME}}],
        },
    }
    chosen = {"app.kubernetes.io/name": METRICS}
    yield (
        "Serves the metrics of the last audit, at /metrics.txt. It has no rights in the cluster.",
        _named(
            "Deployment",
            "apps/v1",
            settings,
            METRICS,
            spec={
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": chosen},
                "template": pod,
            },
        ),
    )
    ports = [{"name": "metrics", "port": PORT, "targetPort": "metrics"}]
    yield (
        "What Prometheus scrapes.",
        _named("Service", "v1", settings, METRICS, spec={"selector": chosen, "ports": ports}),
    )


def _network(settings: Settings) -> Iterator[_Found]:
    api: Object = {"ports": [{"protocol": "TCP", "port": port} for port in (443, 6443)]}
    if settings.api_server:
        api["to"] = [{"ipBlock": {"cidr": cidr}} for cidr in settings.api_server]
    dns: Object = {
        "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")],
        "to": [{"namespaceSelector": {}}],
    }
    egress = [api, dns]
    where = settings.prometheus
    if isinstance(where, Url) and where.namespace:
        inside = {"matchLabels": {"kubernetes.io/metadata.name": where.namespace}}
        egress.append({"to": [{"namespaceSelector": inside}]})
    elif isinstance(where, Url):
        egress.append({"ports": [{"protocol": "TCP", "port": where.port}]})
    yield (
        _ABOUT_NETWORK,
        _named(
            "NetworkPolicy",
            "networking.k8s.io/v1",
            settings,
            NAME,
            spec={
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
                "policyTypes": ["Ingress", "Egress"],
                "egress": egress,
            },
        ),
    )
    yield (
        "The metrics are reached at their port, and reach nothing.",
        _named(
            "NetworkPolicy",
            "networking.k8s.io/v1",
            settings,
            METRICS,
            spec={
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": METRICS}},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"ports": [{"protocol": "TCP", "port": PORT}]}],
            },
        ),
    )


def _monitoring(settings: Settings) -> Iterator[_Found]:
    dashboard = orjson.dumps(monitoring.dashboard(), option=orjson.OPT_INDENT_2).decode() + "\n"
    board = _named(
        "ConfigMap",
        "v1",
        settings,
        "drainproof-dashboard",
        data={"drainproof.json": dashboard},
    )
    board["metadata"]["labels"]["grafana_dashboard"] = "1"
    yield "A dashboard, where Grafana's sidecar finds it; or import its JSON.", board
    if settings.prometheus_operator:
        endpoint = {"port": "metrics", "path": "/metrics.txt", "honorLabels": True}
        spec = {
            "endpoints": [endpoint],
            "selector": {"matchLabels": {"app.kubernetes.io/name": METRICS}},
        }
        yield (
            "Tells the Prometheus Operator to scrape. Add the labels that your Prometheus selects.",
            _named("ServiceMonitor", "monitoring.coreos.com/v1", settings, METRICS, spec=spec),
        )
        yield (
            "Recording and alert rules.",
            _named(
                "PrometheusRule",
                "monitoring.coreos.com/v1",
                settings,
                NAME,
                spec={"groups": monitoring.groups(settings.stale_after_s)},
            ),
        )
