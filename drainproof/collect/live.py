"""Reads a live cluster into a Snapshot: GET requests only, page by page, nothing changed.

What it needs is in ``read-only-rbac.yaml`` beside this file. Secrets are never asked for.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import orjson

from drainproof.collect.api import FORBIDDEN, GONE, NOT_FOUND, OK, Api, refused
from drainproof.collect.kept import kept
from drainproof.collect.resources import CONFIG_MAP, RESOURCES, Resource
from drainproof.collect.sharing import Sharing
from drainproof.errors import UserError
from drainproof.model.snapshot import Item, Problem, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kubernetes.client import ApiClient

    from drainproof.model.shape import Raw
    from drainproof.model.workload import Workload

RBAC = Path(__file__).with_name("read-only-rbac.yaml")
"""The manifest that allows whoever audits all that is asked for here."""
PAGE = 250
"""Objects a list call may return; a page of large Deployments stays under about 3 MB."""
_AGGREGATED = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,"
    "application/json"
)
"""All groups with all their resources in one answer: Kubernetes 1.27 and later."""
_RESTARTS = 3
"""How often a listing may begin again because it took so long that its pages expired."""
_LAST = {"ReplicaSet": 1, "Pod": 2}
"""Kinds that are listed after all others: how much of them is kept depends on their owners."""
_RUNNING = "status.phase!=Succeeded,status.phase!=Failed"
_CONFIG_SOURCES = ("configMap", "configMapRef", "configMapKeyRef")
_INGRESS_NGINX = "app.kubernetes.io/name=ingress-nginx"


class Served(NamedTuple):
    """A resource that a cluster has."""

    resource: Resource
    version: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """As manifests write it: ``apps/v1``."""
        group = self.resource.group
        return f"{group}/{self.version}" if group else self.version

    def path(self, namespace: str | None, name: str = "") -> str:
        """Return the path of its list call, or of one object."""
        root = f"/apis/{self.resource.group}" if self.resource.group else "/api"
        within = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        tail = f"/{name}" if name else ""
        return f"{root}/{self.version}{within}/{self.resource.plural}{tail}"


def read(
    client: ApiClient,
    namespaces: Sequence[str] | None = None,
    *,
    source: str = "a live cluster",
    prometheus: str = "",
) -> Snapshot:
    """List what the audit looks at.

    A resource that may not be listed becomes a problem of the Snapshot that names verb and
    resource; the rest is read.

    Args:
        client: The cluster, as ``connect`` returns it.
        namespaces: Only these; None is all of them.
        source: The cluster, in words.
        prometheus: Where Prometheus is, as :func:`drainproof.collect.prometheus.find` takes it;
            empty is nowhere.

    Raises:
        UserError: A namespace does not exist, or the API server can't be reached or does not accept
            the credentials, or ``prometheus`` names nothing that there is.
    """
    return _Reading(Api(client), tuple(namespaces or ())).snapshot(source, prometheus)


class _Expired(Exception):  # noqa: N818 - a way out, not an error
    """The continue token is too old."""


class _Reading:
    """One reading of a cluster."""

    def __init__(self, api: Api, namespaces: tuple[str, ...]) -> None:
        self.api = api
        self.namespaces = namespaces
        self.items: list[Item] = []
        self.problems: list[Problem] = []
        self.unseen: dict[str, str] = {}
        self.sharing = Sharing()
        self.listed: set[str] = set()
        """Kinds of which everything in the namespaces is read."""

    def snapshot(self, source: str, prometheus: str) -> Snapshot:
        """Read everything."""
        for namespace in self.namespaces:
            self._exists(namespace)
        served = _served(self.api)
        for one in sorted(served, key=lambda one: _LAST.get(one.resource.kind, 0)):
            self._list(one)
        where = f"namespace{'s' * (len(self.namespaces) > 1)} {', '.join(self.namespaces)}"
        first = Snapshot(self.items, partial=False)
        self._config_maps(first.workloads)
        metrics = None
        if prometheus:
            from drainproof.collect import prometheus as prom  # noqa: PLC0415 - only if asked for

            try:
                metrics = prom.read(prom.find(prometheus, self.api), first, self.api)
            except prom.NoAnswerError as error:
                self.problems.append(Problem(error.message, hint=error.hint))
        return Snapshot(
            self.items,
            partial=False,
            problems=self.problems,
            taken_at=time.time(),
            source=f"{source}, {where if self.namespaces else 'all namespaces'}",
            metrics=metrics,
            unseen=self.unseen,
            calls=self.api.calls,
            namespaces=self.namespaces,
            cluster_version=self._version(),
        )

    def _version(self) -> str:
        """Ask what the cluster runs; empty if it does not say."""
        try:
            status, body = self.api.get("get /version", "/version")
            found = orjson.loads(body) if status == OK else {}
        except (UserError, orjson.JSONDecodeError):
            return ""
        return str(found.get("gitVersion") or "") if isinstance(found, dict) else ""

    def _exists(self, namespace: str) -> None:
        path = f"/api/v1/namespaces/{namespace}"
        status, body = self.api.get("get namespaces", path)
        if status == NOT_FOUND:
            raise UserError(f"there is no namespace {namespace!r} in this cluster")
        if status not in {OK, FORBIDDEN}:  # who may not get it may still list what is in it
            raise refused(status, body, "get", "namespaces", namespace)

    def _list(self, served: Served) -> None:
        """List a resource in every namespace that is asked for; note it if it is refused."""
        kind = served.resource.kind
        spaces: tuple[str | None, ...] = self.namespaces if served.namespaced else ()
        whole = True
        for namespace in spaces or (None,):
            found = self._restarted(served, namespace)
            if isinstance(found, UserError):
                whole = False
                self.unseen[kind] = served.resource.name
                if served.namespaced or not self.namespaces:
                    self.problems.append(Problem(found.message, hint=found.hint))
            else:
                self.items += found
        if whole:
            self.listed.add(kind)

    def _restarted(self, served: Served, namespace: str | None) -> list[Item] | UserError:
        for _ in range(_RESTARTS):
            try:
                return [Item(obj) for obj in self._pages(served, namespace)]
            except _Expired:
                continue
            except UserError as error:
                if not isinstance(error, _RefusedError):
                    raise
                return error
        return UserError(
            f"listing {served.resource.name} takes so long that the API server drops its pages"
        )

    def _pages(
        self, served: Served, namespace: str | None, label_selector: str = ""
    ) -> Iterator[Raw]:
        query = {"limit": str(PAGE)}
        if served.resource.kind == "Pod":
            query["fieldSelector"] = _RUNNING
        if label_selector:
            query["labelSelector"] = label_selector
        name, path = served.resource.name, served.path(namespace)
        while True:
            status, body = self.api.get(f"list {name}", path, query)
            if status == NOT_FOUND:
                return  # its operator went away meanwhile
            if status == GONE:
                raise _Expired
            if status != OK:
                error = refused(status, body, "list", name, namespace)
                hint = f"{error.hint}. All that an audit reads: {RBAC}" if error.hint else ""
                raise _RefusedError(error.message, hint=hint)
            answer = orjson.loads(body)
            del body
            for obj in answer.pop("items", None) or ():
                typed = {"apiVersion": served.api_version, "kind": served.resource.kind, **obj}
                short = kept(typed, self.listed)
                if short is not None:
                    yield cast("Raw", self.sharing.share(short))
            token = answer.get("metadata", {}).get("continue") or ""
            if not token:
                return
            query["continue"] = token

    def _config_maps(self, workloads: Sequence[Workload]) -> None:
        """Get the ConfigMaps that LLM workloads name, and ingress-nginx's own where it matters."""
        served = Served(CONFIG_MAP, "v1", namespaced=True)
        named = dict.fromkeys(
            (workload.namespace, name)
            for workload in workloads
            for name in _named_config_maps(workload.pod_spec)
        )
        for namespace, name in named:
            status, body = self.api.get("get configmaps", served.path(namespace, name))
            if status == OK:
                obj = {**orjson.loads(body), "apiVersion": "v1", "kind": "ConfigMap"}
                obj.pop("binaryData", None)
                short = kept(obj, self.listed)
                self.items += [] if short is None else [Item(short)]
            elif status != NOT_FOUND:
                self.unseen["ConfigMap"] = CONFIG_MAP.name
                error = refused(status, body, "get", "configmaps", namespace)
                self.problems.append(Problem(error.message, hint=error.hint))
                return
        if not self.namespaces and any(item.object["kind"] == "Ingress" for item in self.items):
            try:
                for obj in self._pages(served, None, _INGRESS_NGINX):
                    self.items.append(Item(obj))
            except _RefusedError:
                self.unseen["ConfigMap"] = CONFIG_MAP.name


class _RefusedError(UserError):
    """A list call was answered by something other than a list."""


def _served(api: Api) -> list[Served]:
    """Ask which of :data:`RESOURCES` the cluster has, and in which version."""
    status, body = api.get("get /apis", "/apis", accept=_AGGREGATED)
    if status != OK:
        error = refused(status, body, "get", "/apis", None)
        raise UserError(
            error.message.replace(" in all namespaces", ""),
            hint="Bind the ClusterRole system:discovery, which Kubernetes gives everybody.",
        )
    answer = orjson.loads(body)
    if answer.get("kind") == "APIGroupList":
        there = dict(_one_by_one(api, answer))
    else:
        there = dict(_together(answer))
    found = []
    for resource in dict.fromkeys(RESOURCES):
        if not resource.group:
            found.append(Served(resource, "v1", namespaced=resource.kind != "Node"))
        elif (resource.group, resource.plural) in there:
            found.append(Served(resource, *there[resource.group, resource.plural]))
    return found


_There = tuple[tuple[str, str], tuple[str, bool]]
"""Group and plural; version, and whether it has namespaces."""


def _together(answer: Raw) -> Iterator[_There]:
    for group in answer.get("items") or ():
        name = group["metadata"]["name"]
        for version in reversed(group.get("versions") or ()):  # the preferred one comes first
            for resource in version.get("resources") or ():
                namespaced = resource.get("scope") == "Namespaced"
                yield (name, resource["resource"]), (version["version"], namespaced)


def _one_by_one(api: Api, answer: Raw) -> Iterator[_There]:
    """Ask for each group that matters, where the server is older than 1.27."""
    wanted = {resource.group for resource in RESOURCES}
    for group in answer.get("groups") or ():
        if group["name"] not in wanted:
            continue
        for version in reversed(group.get("versions") or ()):
            path = f"/apis/{version['groupVersion']}"
            status, body = api.get("get /apis/*", path)
            for resource in orjson.loads(body).get("resources") or () if status == OK else ():
                yield (
                    (group["name"], resource["name"]),
                    (version["version"], resource.get("namespaced") is True),
                )


def _named_config_maps(part: object) -> Iterator[str]:
    """Yield the names of the ConfigMaps that a pod's spec names, wherever that is."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key in _CONFIG_SOURCES and isinstance(value, dict):
                name = value.get("name")
                if isinstance(name, str) and name:
                    yield name
            elif isinstance(value, (dict, list)):
                yield from _named_config_maps(value)
    elif isinstance(part, list):
        for value in part:
            yield from _named_config_maps(value)
