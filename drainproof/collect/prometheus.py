"""Asks Prometheus for the few metrics that live checks judge, once, and keeps what it said.

Credentials come from the environment: ``DRAINPROOF_PROMETHEUS_TOKEN`` (bearer), or
``DRAINPROOF_PROMETHEUS_USER`` and ``DRAINPROOF_PROMETHEUS_PASSWORD``; and
``DRAINPROOF_PROMETHEUS_CA``, a file, for a certificate of one's own authority.
"""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import orjson
from msgspec import Struct

from drainproof.collect import chain
from drainproof.collect.api import OK, Api, refused
from drainproof.errors import UserError
from drainproof.model.metrics import Histogram, Metrics
from drainproof.model.running import pods_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_api_client import PrometheusConnect
    from requests import Session

    from drainproof.model.running import Pod
    from drainproof.model.snapshot import Snapshot

AUTO = "auto"
"""What stands for the one Prometheus that the cluster has."""
WINDOW_S = 3600
"""Seconds back that latencies are looked at: an hour has a load worth judging, and shows today's
version."""
LATENCIES = ("ttft", "latency", "e2e")
_TIMEOUT_S = 30
_SERVICE = re.compile(r"(?P<namespace>[a-z0-9-]+)/(?P<name>[a-z0-9-]+)(?::(?P<port>[\w-]+))?")
_DEFAULT_PORT = "9090"
_SELECTORS = ("operated-prometheus=true", "app.kubernetes.io/name=prometheus")
"""Labels of the Services that the Prometheus Operator, and its Helm chart, make."""
_NAMESPACES = ("namespace", "kubernetes_namespace", "exported_namespace")
_PODS = ("pod", "kubernetes_pod_name", "pod_name", "exported_pod")
"""Labels that name a pod, by the scrape configurations that people use."""
_KEPT = ("le", *_NAMESPACES, *_PODS, "instance")
_ENV = "DRAINPROOF_PROMETHEUS_"


class NoAnswerError(UserError):
    """Prometheus is there or not, but does not answer as it should; the rest can be audited."""

    status = 0
    """The HTTP status that it answered with; 0 if it did not."""


class Place(Struct, frozen=True):
    """Where a Prometheus is, and how to be let in."""

    url: str
    said: str
    """The place in words, without credentials."""
    headers: Mapping[str, str]
    auth: tuple[str, str] | None
    verify: str | bool
    """A file with certificates of authorities, or whether to verify at all."""
    cert: tuple[str, str] | None
    through: Api | None = None
    """The API server that it is reached through."""


def find(where: str, api: Api) -> Place:
    """Return where a Prometheus is.

    Args:
        where: A URL, ``NAMESPACE/SERVICE[:PORT]`` for one that is reached through the API server
            (which needs ``get`` on ``services/proxy``), or ``auto`` for the cluster's only one.
        api: The cluster.

    Raises:
        UserError: It has another form, or there is none, or there are several.
    """
    if where == AUTO:
        where = _only_service(api)
    if where.startswith(("http://", "https://")):
        return _direct(where)
    found = _SERVICE.fullmatch(where)
    if found is None:
        raise UserError(
            f"expected a URL, NAMESPACE/SERVICE[:PORT] or {AUTO} for --prometheus, found {where!r}"
        )
    port = found["port"] or _DEFAULT_PORT
    config = api.config
    path = f"/api/v1/namespaces/{found['namespace']}/services/{found['name']}:{port}/proxy"
    cert = (config.cert_file, config.key_file) if config.cert_file and config.key_file else None
    return Place(
        url=f"{config.host}{path}",
        said=f"Service {found['namespace']}/{found['name']}:{port}",
        headers=api.headers(),
        auth=None,
        verify=(config.ssl_ca_cert or True) if config.verify_ssl else False,
        cert=cert,
        through=api,
    )


def read(place: Place, snapshot: Snapshot, api: Api | None = None) -> Metrics:
    """Ask for the metrics of every LLM workload's pods, each metric once.

    Args:
        place: As :func:`find` returned it.
        snapshot: The cluster, with its pods.
        api: The cluster, to ask pods themselves; None leaves out what needs them.

    Raises:
        NoAnswerError: Prometheus can't be reached, lets nobody in, or is none.
    """
    pods = _Pods(pod for workload in snapshot.workloads for pod in pods_of(snapshot, workload))
    asking = Conversation(place)
    at = asking.clock()
    ages, histograms = {}, {}
    for name in _names(snapshot, "waiting"):
        found = asking.query(name, f"time() - timestamp({name})")
        if found is not None:
            ages[name] = _ages(found, pods)
    labels = ", ".join(_KEPT)
    for meaning in LATENCIES:
        for name in _names(snapshot, meaning):
            query = f"sum by ({labels}) (increase({name}_bucket[{WINDOW_S}s]))"
            found = asking.query(name, query)
            if found is not None:
                unit_s = 0.001 if name.endswith("_ms") else 1.0
                histograms[name] = _histograms(found, pods, unit_s)
    links = None
    if api is not None:
        links = chain.read(
            chain.Asking(asking.at, asking.targets, asking.clock, pods.of, named_by), api, snapshot
        )
    return Metrics(place.said, at, WINDOW_S, ages, histograms, asking.failures, links)


class Conversation:
    """A conversation with one Prometheus."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.failures: dict[str, str] = {}
        self._connect = _connect(place)

    def clock(self) -> float:
        """Return Prometheus' own time; this is also how it shows that it is one."""
        answer = self._ask("time()")
        try:
            return float(answer[1])
        except (LookupError, TypeError, ValueError):
            raise NoAnswerError(f"{self.place.said} does not answer as Prometheus does") from None

    def query(self, name: str, query: str) -> list[dict[str, Any]] | None:
        """Return a query's series; None if it failed, which is noted under the metric's name."""
        try:
            found = self._ask(query)
        except NoAnswerError as error:
            self.failures[name] = error.message
            return None
        return [item for item in found if isinstance(item, dict)]

    def at(self, query: str, when: float) -> list[dict[str, Any]]:
        """Return a query's series at a time; a scalar is one without labels.

        Raises:
            NoAnswerError: It failed.
        """
        found = self._ask(query, {"time": f"{when:.3f}"})
        if found and not isinstance(found[0], dict):
            return [{"metric": {}, "value": found}]
        return [item for item in found if isinstance(item, dict)]

    def targets(self) -> list[dict[str, Any]]:
        """Return the active targets.

        Raises:
            NoAnswerError: There is no telling, as by a server that scrapes nothing itself.
        """
        found = self._call(lambda: self._connect.get_targets("active"))
        active = found.get("activeTargets") if isinstance(found, dict) else None
        return [item for item in active or () if isinstance(item, dict)]

    def _ask(self, query: str, params: dict[str, str] | None = None) -> list[Any]:
        found = self._call(lambda: self._connect.custom_query(query, params, timeout=_TIMEOUT_S))
        return found if isinstance(found, list) else []

    def _call(self, ask: Callable[[], object]) -> object:
        from prometheus_api_client.exceptions import (  # noqa: PLC0415 - slow to load
            PrometheusApiClientException,
        )
        from requests import RequestException  # noqa: PLC0415 - comes with it

        if self.place.through is not None:
            self.place.through.calls["get services/proxy"] += 1
        try:
            return ask()
        except PrometheusApiClientException as error:
            raise self._refused(str(error)) from None
        except (RequestException, LookupError, TypeError, ValueError) as error:
            raise NoAnswerError(
                f"Prometheus at {self.place.said} does not answer: {_plain(error, self.place)}"
            ) from None

    def _refused(self, said: str) -> NoAnswerError:
        status = int(next(iter(re.findall(r"\d{3}", said)), "0"))
        error = self._error(status, said)
        error.status = status
        return error

    def _error(self, status: int, said: str) -> NoAnswerError:
        if status == 403 and self.place.through is not None:  # noqa: PLR2004 - HTTP's own number
            return NoAnswerError(
                f"forbidden: no permission to get services/proxy for {self.place.said}",
                hint="The Role drainproof-prometheus in read-only-rbac.yaml allows it.",
            )
        if status in {401, 403}:
            return NoAnswerError(
                f"Prometheus at {self.place.said} lets nobody in without credentials (HTTP "
                f"{status})",
                hint=f"Set {_ENV}TOKEN, or {_ENV}USER and {_ENV}PASSWORD.",
            )
        why = re.search(r'"(?:error|message)":\s*"([^"\\]{1,200})', said)
        return NoAnswerError(
            f"Prometheus at {self.place.said} answers HTTP {status}"
            + (f": {why[1]}" if why else "")
        )


class _Pods:
    """Finds the pod that a series is of."""

    def __init__(self, pods: Iterable[Pod]) -> None:
        self._known: dict[str, str] = {}
        self._by_name: dict[str, list[str]] = {}
        self._by_ip: dict[str, str] = {}
        for pod in pods:
            key = f"{pod.namespace}/{pod.name}"
            self._known[key] = key
            self._by_name.setdefault(pod.name, []).append(key)
            if pod.ip:
                self._by_ip[pod.ip] = key

    def of(self, labels: Mapping[str, Any]) -> str | None:
        """Return the pod as ``namespace/name``; None if it is no known one."""
        spaces = [str(labels[name]) for name in _NAMESPACES if name in labels]
        for label in _PODS:
            name = str(labels.get(label, ""))
            for space in spaces:
                if f"{space}/{name}" in self._known:
                    return self._known[f"{space}/{name}"]
            alike = self._by_name.get(name, ())
            if len(alike) == 1 and not spaces:
                return alike[0]
        instance = str(labels.get("instance", ""))
        return self._by_ip.get(instance.rpartition(":")[0].strip("[]"))


def named_by(labels: Mapping[str, Any]) -> str:
    """Return the pod that labels name, as ``namespace/name``; empty if they name none."""
    space = next((str(labels[name]) for name in _NAMESPACES if name in labels), "")
    name = next((str(labels[name]) for name in _PODS if name in labels), "")
    return f"{space}/{name}" if space and name else name


def _names(snapshot: Snapshot, meaning: str) -> list[str]:
    """Return the metrics with a meaning that some workload's engine exports, each once."""
    return list(
        dict.fromkeys(
            name
            for workload in snapshot.workloads
            if workload.engine is not None
            for name in workload.engine.metric_names(meaning)
        )
    )


def _ages(found: Iterable[dict[str, Any]], pods: _Pods) -> dict[str, float]:
    ages: dict[str, float] = {}
    for labels, value in _values(found):
        pod = pods.of(labels)
        if pod is not None:
            ages[pod] = min(max(value, 0.0), ages.get(pod, math.inf))
    return ages


def _histograms(
    found: Iterable[dict[str, Any]], pods: _Pods, unit_s: float
) -> dict[str, Histogram]:
    counts: dict[str, dict[float, float]] = {}
    for labels, value in _values(found):
        pod, bound = pods.of(labels), _number(labels.get("le"))
        if pod is not None and bound is not None:
            of_pod = counts.setdefault(pod, {})
            of_pod[bound * unit_s] = of_pod.get(bound * unit_s, 0.0) + value
    return {pod: Histogram.of(of_pod) for pod, of_pod in counts.items()}


def _values(found: Iterable[dict[str, Any]]) -> Iterator[tuple[Mapping[str, Any], float]]:
    for series in found:
        labels, pair = series.get("metric"), series.get("value")
        value = _number(pair[1]) if isinstance(pair, list) and len(pair) == 2 else None  # noqa: PLR2004 - time and value
        if isinstance(labels, dict) and value is not None and not math.isinf(value):
            yield labels, value


def _number(written: object) -> float | None:
    """Read a number as Prometheus writes it; None for what is none, NaN among them."""
    try:
        value = float(str(written))
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _direct(url: str) -> Place:
    parts = urlsplit(url)
    if not parts.hostname:
        raise UserError(f"expected a URL such as http://HOST:9090 for --prometheus, found {url!r}")
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
    user = os.environ.get(f"{_ENV}USER") or parts.username or ""
    password = os.environ.get(f"{_ENV}PASSWORD") or parts.password or ""
    token = os.environ.get(f"{_ENV}TOKEN", "")
    authorities = os.environ.get(f"{_ENV}CA", "")
    if authorities and not os.path.isfile(authorities):  # noqa: PTH113 - a word of the environment
        raise UserError(f"{_ENV}CA: expected a file, found {authorities!r}")
    return Place(
        url=bare.rstrip("/"),
        said=bare.rstrip("/"),
        headers={"Authorization": f"Bearer {token}"} if token else {},
        auth=(user, password) if user and not token else None,
        verify=authorities or True,
        cert=None,
    )


def _only_service(api: Api) -> str:
    """Return the Service of the cluster's only Prometheus, as ``NAMESPACE/SERVICE:PORT``."""
    for selector in _SELECTORS:
        status, body = api.get("list services", "/api/v1/services", {"labelSelector": selector})
        if status != OK:
            error = refused(status, body, "list", "services", None)
            raise UserError(error.message, hint="Or name it: --prometheus NAMESPACE/SERVICE:PORT")
        found = [
            f"{item['metadata']['namespace']}/{item['metadata']['name']}:{port}"
            for item in orjson.loads(body).get("items") or ()
            if (port := _port(item)) is not None
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(
                f"expected one Prometheus in the cluster, found {len(found)}: {', '.join(found)}",
                hint="Name one: --prometheus NAMESPACE/SERVICE:PORT",
            )
    raise UserError(
        "there is no Service of a Prometheus in the cluster (labels looked for: "
        f"{' or '.join(_SELECTORS)})",
        hint="Name it: --prometheus URL, or --prometheus NAMESPACE/SERVICE:PORT",
    )


def _port(service: Mapping[str, Any]) -> str | None:
    """Return the port of a Service that Prometheus answers at; None if it has none of its names."""
    ports = (service.get("spec") or {}).get("ports") or ()
    for port in ports:
        if port.get("name") in {"web", "http-web", "http"} or str(port.get("port")) == "9090":
            return str(port["port"])
    return None


def _connect(place: Place) -> PrometheusConnect:
    """Open a session; loading the library takes a third of a second, so it is loaded only here."""
    from prometheus_api_client import PrometheusConnect  # noqa: PLC0415 - see above
    from urllib3 import Retry  # noqa: PLC0415 - same

    return PrometheusConnect(
        url=place.url,
        headers=dict(place.headers),
        auth=place.auth,
        retry=Retry(0),
        session=_session(place),
        timeout=_TIMEOUT_S,
    )


def _session(place: Place) -> Session:
    from requests import Session  # noqa: PLC0415 - as above

    session = Session()
    session.verify = place.verify
    session.cert = place.cert
    if place.through is not None:
        session.trust_env = False  # the kubeconfig alone says how the API server is reached
    return session


def _plain(error: Exception, place: Place) -> str:
    """Return an error on one line, without what may be a password."""
    said = " ".join(str(error).split()) or type(error).__name__
    for secret in (*(place.auth or ()), *place.headers.values()):
        if len(secret) > 3:  # noqa: PLR2004 - shorter ones are parts of words
            said = said.replace(secret, "(hidden)")
    return said[:200]
