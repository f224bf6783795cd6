"""Reads a live cluster into a Snapshot: list calls only, page by page, nothing changed.

What it needs is ``list`` on :data:`RESOURCES`, and no more. Secrets are never asked for.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import orjson

from drainproof.errors import UserError
from drainproof.model.snapshot import Item, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kubernetes.client import ApiClient

    from drainproof.model.shape import Raw

PAGE = 250
"""Objects a list call may return; a page of large Deployments stays under about 3 MB."""
_CONNECT_S = 5.0
_READ_S = 30.0
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _GONE = 401, 403, 404, 410
_RESTARTS = 3
"""How often a listing may begin again because it took so long that its pages expired."""


class Resource(NamedTuple):
    """A kind of object that is listed."""

    group: str
    version: str
    plural: str
    kind: str
    optional: bool = False
    """Whether its kind may be missing from a cluster (it comes with an operator)."""

    @property
    def api_version(self) -> str:
        """As manifests write it: ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None) -> str:
        """Return the path of its list call."""
        root = f"/apis/{self.group}" if self.group else "/api"
        within = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}/{self.version}{within}/{self.plural}"


RESOURCES = (
    Resource("apps", "v1", "deployments", "Deployment"),
    Resource("apps", "v1", "statefulsets", "StatefulSet"),
    Resource("apps", "v1", "daemonsets", "DaemonSet"),
    Resource("apps", "v1", "replicasets", "ReplicaSet"),
    Resource("batch", "v1", "jobs", "Job"),
    Resource("", "v1", "pods", "Pod"),
    Resource("", "v1", "services", "Service"),
    Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    Resource("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject", optional=True),
)


def read(
    client: ApiClient, namespaces: Sequence[str] | None = None, *, source: str = "a live cluster"
) -> Snapshot:
    """List what the audit looks at.

    Args:
        client: The cluster, as ``connect`` returns it.
        namespaces: Only these; None is all of them.
        source: The cluster, in words.

    Raises:
        UserError: A namespace does not exist, a list call is forbidden (the verb and the resource
            are named), or the API server can't be reached.
    """
    for namespace in namespaces or ():
        _exists(client, namespace)
    items = [
        Item(obj)
        for resource in RESOURCES
        for namespace in (namespaces or (None,))
        for obj in _list(client, resource, namespace)
    ]
    where = f"namespace {', '.join(namespaces)}" if namespaces else "all namespaces"
    return Snapshot(items, partial=False, taken_at=time.time(), source=f"{source}, {where}")


def _exists(client: ApiClient, namespace: str) -> None:
    status, body = _get(client, f"/api/v1/namespaces/{namespace}", {})
    if status == _NOT_FOUND:
        raise UserError(f"there is no namespace {namespace!r} in this cluster")
    if status not in {200, _FORBIDDEN}:  # who may not get namespaces may still list what is in them
        raise _refused(status, body, "get", "namespaces", namespace)


def _list(client: ApiClient, resource: Resource, namespace: str | None) -> Iterator[Raw]:
    for _ in range(_RESTARTS):
        try:
            found = list(_pages(client, resource, namespace))
        except _Expired:
            continue
        yield from found
        return
    raise UserError(f"listing {resource.plural} takes so long that the API server drops its pages")


class _Expired(Exception):  # noqa: N818 - a way out, not an error
    """The continue token is too old."""


def _pages(client: ApiClient, resource: Resource, namespace: str | None) -> Iterator[Raw]:
    token = ""
    while True:
        query = {"limit": str(PAGE), **({"continue": token} if token else {})}
        status, body = _get(client, resource.path(namespace), query)
        if status == _NOT_FOUND and resource.optional:
            return
        if status == _GONE:
            raise _Expired
        if status != 200:  # noqa: PLR2004 - HTTP's own number
            raise _refused(status, body, "list", _named(resource), namespace)
        answer = orjson.loads(body)
        for obj in answer.get("items") or ():
            if _owned(obj):
                continue
            metadata = obj["metadata"]
            metadata.pop("managedFields", None)
            annotations = metadata.get("annotations") or {}
            annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None)
            obj.pop("status", None)
            yield {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
        token = answer.get("metadata", {}).get("continue") or ""
        if not token:
            return


def _owned(obj: Raw) -> bool:
    """Tell whether a controller owns it; dropped at once, since most pods and ReplicaSets are."""
    owners = obj["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") for owner in owners)


def _named(resource: Resource) -> str:
    return resource.plural + (f".{resource.group}" if resource.group else "")


def _get(client: ApiClient, path: str, query: dict[str, str]) -> tuple[int, bytes]:
    from urllib3 import Timeout  # noqa: PLC0415 - comes with the client
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - same

    config: Any = client.configuration
    headers = {"Accept": "application/json", "User-Agent": "drainproof"}
    for setting in config.auth_settings().values():
        headers[setting["key"]] = setting["value"]
    try:
        answer = client.rest_client.pool_manager.request(
            "GET",
            f"{config.host}{path}" + (f"?{urlencode(query)}" if query else ""),
            headers=headers,
            timeout=Timeout(connect=_CONNECT_S, read=_READ_S),
            retries=False,
            redirect=False,
        )
    except (HTTPError, OSError) as error:
        raise UserError(
            f"the API server at {config.host} cannot be reached: "
            f"{' '.join(str(error).split())[:200]}"
        ) from None
    return int(answer.status), bytes(answer.data)


def _refused(
    status: int, body: bytes, verb: str, resource: str, namespace: str | None
) -> UserError:
    where = f"in namespace {namespace}" if namespace else "in all namespaces"
    if status == _FORBIDDEN:
        scope = f"-n {namespace}" if namespace else "-A"
        return UserError(
            f"forbidden: no permission to {verb} {resource} {where}",
            hint=f"Check with: kubectl auth can-i {verb} {resource} {scope}",
        )
    if status == _UNAUTHORIZED:
        return UserError("the API server does not accept the context's credentials (401)")
    return UserError(f"cannot {verb} {resource} {where}: HTTP {status}: {_words(body)}")


def _words(body: bytes) -> str:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = {}
    message = said.get("message") if isinstance(said, dict) else None
    return " ".join(str(message or body[:200].decode(errors="replace")).split())
