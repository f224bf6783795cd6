"""The few verbs that chaos needs of a Kubernetes API server, on plain JSON objects.

It uses the connection and the credentials of the official client, but not its generated models:
what is read goes into the History, and what is written is small.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import orjson

from drainproof.collect.api import MOST_PAGE, bounded
from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kubernetes.client import ApiClient

Object = dict[str, Any]
"""A Kubernetes object, as the API server writes it in JSON."""

NOT_FOUND = 404
CONFLICT = 409
GONE = 410
UNREACHABLE = 0
"""The ``status`` of an :class:`ApiError` when no answer came at all."""
_CONNECT_S = 5.0
_READ_S = 30.0
_CALM_S = 15.0
"""How much longer than it asked for a watch may stay open before it counts as dead."""


class ApiError(UserError):
    """The API server refused, or did not answer; a user may see it as it is.

    Args:
        status: HTTP status, or :data:`UNREACHABLE`.
        message: What was tried, and the server's own words.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether trying again may help: no answer, too many requests, or a fault of the server."""
        return self.status in (UNREACHABLE, 429) or self.status >= 500  # noqa: PLR2004 - HTTP's own numbers


class Resource(NamedTuple):
    """Where objects of a kind live."""

    group: str
    version: str
    plural: str
    namespaced: bool = True


RESOURCES = {
    "ConfigMap": Resource("", "v1", "configmaps"),
    "Deployment": Resource("apps", "v1", "deployments"),
    "EndpointSlice": Resource("discovery.k8s.io", "v1", "endpointslices"),
    "Event": Resource("", "v1", "events"),
    "HorizontalPodAutoscaler": Resource("autoscaling", "v2", "horizontalpodautoscalers"),
    "Job": Resource("batch", "v1", "jobs"),
    "Lease": Resource("coordination.k8s.io", "v1", "leases"),
    "Namespace": Resource("", "v1", "namespaces", namespaced=False),
    "Node": Resource("", "v1", "nodes", namespaced=False),
    "Pod": Resource("", "v1", "pods"),
    "PodDisruptionBudget": Resource("policy", "v1", "poddisruptionbudgets"),
    "Prometheus": Resource("monitoring.coreos.com", "v1", "prometheuses"),
    "ReplicaSet": Resource("apps", "v1", "replicasets"),
    "ScaledObject": Resource("keda.sh", "v1alpha1", "scaledobjects"),
    "SelfSubjectAccessReview": Resource(
        "authorization.k8s.io", "v1", "selfsubjectaccessreviews", namespaced=False
    ),
    "Service": Resource("", "v1", "services"),
    "StatefulSet": Resource("apps", "v1", "statefulsets"),
}


def path_of(kind: str, namespace: str = "", name: str = "") -> str:
    """Return the REST path of a collection, or of one object in it."""
    resource = RESOURCES[kind]
    root = f"/apis/{resource.group}" if resource.group else "/api"
    within = f"/namespaces/{namespace}" if resource.namespaced and namespace else ""
    return f"{root}/{resource.version}{within}/{resource.plural}" + (f"/{name}" if name else "")


class Api:
    """A Kubernetes API server. Safe to use from several threads.

    Every method raises :class:`ApiError` when the server refuses or can't be reached.

    Args:
        client: An ``ApiClient`` of the official client, as ``connect`` returns it.
    """

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._config = client.configuration
        self._pool = client.rest_client.pool_manager

    @property
    def client(self) -> ApiClient:
        """The official client's connection."""
        return self._client

    @property
    def host(self) -> str:
        """The API server's address, as the context has it."""
        return str(self._config.host)

    def serves(self, kind: str) -> bool:
        """Tell whether the API server knows a kind at all: one of a CRD may not be installed."""
        resource = RESOURCES[kind]
        try:
            self._json("GET", f"/apis/{resource.group}/{resource.version}")
        except ApiError as error:
            if error.status == NOT_FOUND:
                return False
            raise
        return True

    def version(self) -> str:
        """Return what the API server says that it is, such as ``v1.34.1``; empty if it doesn't."""
        try:
            return str(self._json("GET", "/version").get("gitVersion") or "")
        except ApiError:
            return ""

    def get(self, kind: str, namespace: str, name: str) -> Object:
        """Return one object."""
        return self._json("GET", path_of(kind, namespace, name))

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return one object, or None if there is none of that name."""
        try:
            return self.get(kind, namespace, name)
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def list(self, kind: str, namespace: str = "", *, labels: str = "", fields: str = "") -> Object:
        """Return the list object of a collection, of all namespaces if ``namespace`` is empty."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        return self._json("GET", path_of(kind, namespace), query)

    def create(self, kind: str, namespace: str, body: Object) -> Object:
        """Create an object and return it as it is stored."""
        return self._json("POST", path_of(kind, namespace), body=body)

    def replace(self, kind: str, namespace: str, body: Object) -> Object:
        """Replace an object; a ``resourceVersion`` in it must be the stored one."""
        return self._json("PUT", path_of(kind, namespace, body["metadata"]["name"]), body=body)

    def patch(self, kind: str, namespace: str, name: str, body: Object) -> Object:
        """Apply a JSON merge patch and return the object as it is stored."""
        return self._json(
            "PATCH",
            path_of(kind, namespace, name),
            body=body,
            content_type="application/merge-patch+json",
        )

    def patch_status(self, kind: str, namespace: str, name: str, status: Object) -> Object:
        """Merge into an object's status, lists by their keys; return the object as it is stored."""
        return self._json(
            "PATCH",
            path_of(kind, namespace, name) + "/status",
            body={"status": status},
            content_type="application/strategic-merge-patch+json",
        )

    def evict(self, namespace: str, pod: str) -> None:
        """Ask for a pod's eviction; the answer is 429 where a PodDisruptionBudget refuses."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
        }
        self._json("POST", path_of("Pod", namespace, pod) + "/eviction", body=body)

    def delete(
        self, kind: str, namespace: str, name: str, *, uid: str = "", grace_s: int | None = None
    ) -> bool:
        """Delete an object, what it owns in the background. Return whether it was there.

        With ``uid`` an object of the same name but another identity stays. ``grace_s`` is for pods;
        None is their own grace period.
        """
        options: Object = {"propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        try:
            self._json("DELETE", path_of(kind, namespace, name), body=options)
        except ApiError as error:
            if error.status in (NOT_FOUND, CONFLICT if uid else NOT_FOUND):
                return False
            raise
        return True

    def allowed(self, verb: str, kind: str, namespace: str, subresource: str = "") -> bool:
        """Ask whether the current user may do ``verb`` on a kind (or its subresource)."""
        resource = RESOURCES[kind]
        attributes = {
            "verb": verb,
            "group": resource.group,
            "resource": resource.plural,
            "subresource": subresource,
            "namespace": namespace if resource.namespaced else "",
            **({"name": namespace} if kind == "Namespace" else {}),
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self.create("SelfSubjectAccessReview", "", review)
        return bool(answer.get("status", {}).get("allowed"))

    def watch(  # noqa: PLR0913 - the parts of a query
        self,
        kind: str,
        namespace: str,
        version: str,
        *,
        labels: str = "",
        fields: str = "",
        timeout_s: int = 20,
    ) -> Iterator[Object]:
        """Yield watch events (``type``, ``object``) after ``version`` until the server ends it."""
        query = {
            "watch": "true",
            "resourceVersion": version,
            "labelSelector": labels,
            "fieldSelector": fields,
            "timeoutSeconds": str(timeout_s),
        }
        for line in self._lines(path_of(kind, namespace), query, timeout_s + _CALM_S):
            yield orjson.loads(line)

    def log(self, namespace: str, pod: str, *, since: str = "", follow: bool) -> Iterator[bytes]:
        """Yield a pod's log lines, each led by its timestamp, from the second of ``since`` on."""
        query = {
            "timestamps": "true",
            "follow": "true" if follow else "",
            "sinceTime": since,
        }
        yield from self._lines(path_of("Pod", namespace, pod) + "/log", query, _READ_S)

    def scrape(self, namespace: str, pod: str, port: int, path: str, *, timeout_s: float) -> str:
        """Return what a pod answers to a GET through the API server's proxy."""
        where = f"{path_of('Pod', namespace, pod)}:{port}/proxy/{path.lstrip('/')}"
        with closing(self._open("GET", where, None, timeout_s)) as answer:
            return self._read(answer, "GET", where, timeout_s).decode(errors="replace")

    def exec(
        self,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        ends: bool = False,
    ) -> str:
        """Run a command in a container and return what it printed, errors included.

        Args:
            namespace: The pod's.
            pod: The pod.
            container: The container's name.
            command: The program and its arguments.
            ends: Whether it may end its own container, which takes the exit code with it.

        Raises:
            ApiError: It could not be run, failed, or did not say how it ended.
        """
        from kubernetes.client import CoreV1Api  # noqa: PLC0415 - loaded with the client only
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415 - same
        from kubernetes.stream import stream  # noqa: PLC0415 - same
        from kubernetes.stream.ws_client import ERROR_CHANNEL  # noqa: PLC0415 - same

        what = f"exec in container {container} of pod/{pod}"
        try:
            shell = stream(
                CoreV1Api(self._client).connect_get_namespaced_pod_exec,
                pod,
                namespace,
                container=container,
                command=list(command),
                stdin=False,
                stdout=True,
                stderr=True,
                tty=False,
                _preload_content=False,
            )
            with closing(shell):
                shell.run_forever(timeout=_READ_S)
                late = shell.is_open()
                code = shell.returncode if shell.peek_channel(ERROR_CHANNEL) else None
                said = str(shell.read_all())  # and forget all channels
        except ApiException as error:
            raise ApiError(error.status or UNREACHABLE, f"{what}: {error.reason}") from None
        except OSError as error:
            raise ApiError(UNREACHABLE, f"{what}: {error}") from None
        if late:
            raise ApiError(UNREACHABLE, f"{what}: did not end within {_READ_S:g} s")
        if code is None and not ends:
            raise ApiError(UNREACHABLE, f"{what}: the connection ended before it did")
        if code:
            raise ApiError(UNREACHABLE, f"{what}: exit code {code}: {said.strip()[-300:]}")
        return said

    def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        raw = self._request(method, path, query, body=body, content_type=content_type)
        answer: Object = orjson.loads(raw)
        return answer

    def _request(  # noqa: PLR0913 - the parts of a request
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Object | None = None,
        content_type: str = "application/json",
        timeout_s: float = _READ_S,
    ) -> bytes:
        with closing(self._open(method, path, query, timeout_s, body, content_type)) as answer:
            return bytes(self._read(answer, method, path))

    def _lines(self, path: str, query: Mapping[str, str], timeout_s: float) -> Iterator[bytes]:
        """Yield the lines of an answer as they come; a last one without its newline is left out."""
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - loaded with the client only

        with closing(self._open("GET", path, query, timeout_s)) as answer:
            rest = b""
            try:
                for piece in answer.stream(65536, decode_content=False):
                    *lines, rest = (rest + piece).split(b"\n")
                    yield from lines
            except (HTTPError, OSError) as error:
                raise ApiError(UNREACHABLE, f"GET {path}: cut off: {error}") from None

    def _open(  # noqa: PLR0913, PLR0917 - the parts of a request
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        timeout_s: float,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Any:  # noqa: ANN401 - urllib3's response, whose package is loaded with the client only
        from urllib3 import Timeout  # noqa: PLC0415 - same
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - same

        headers = {"Accept": "application/json, */*", "User-Agent": "drainproof"}
        bearer = self._config.auth_settings().get("BearerToken")
        if bearer:
            headers["Authorization"] = bearer["value"]
        if body is not None:
            headers["Content-Type"] = content_type
        asked = urlencode({key: value for key, value in (query or {}).items() if value})
        try:
            answer = self._pool.request(
                method,
                f"{self._config.host}{path}" + (f"?{asked}" if asked else ""),
                body=None if body is None else orjson.dumps(body),
                headers=headers,
                timeout=Timeout(connect=_CONNECT_S, read=timeout_s),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except (HTTPError, OSError) as error:
            raise ApiError(
                UNREACHABLE, f"{method} {path}: the API server cannot be reached: {error}"
            ) from None
        if answer.status >= 400:  # noqa: PLR2004 - HTTP's own number
            with closing(answer):
                said = self._read(answer, method, path).decode(errors="replace")
            raise ApiError(answer.status, f"{method} {path}: HTTP {answer.status}: {_words(said)}")
        return answer

    @staticmethod
    def _read(answer: Any, method: str, path: str, within_s: float | None = None) -> bytes:  # noqa: ANN401 - same
        """Return the body; what has to come within some seconds has to be a page of metrics."""
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - same

        try:
            return bytes(
                answer.read() if within_s is None else bounded(answer, MOST_PAGE, within_s)
            )
        except UserError as error:
            raise ApiError(UNREACHABLE, f"{method} {path}: {error.message}") from None
        except (HTTPError, OSError) as error:
            raise ApiError(UNREACHABLE, f"{method} {path}: cut off: {error}") from None


def _words(said: str) -> str:
    """Return the message in a Status object, or the beginning of what is none."""
    try:
        status = orjson.loads(said)
    except ValueError:
        return said.strip()[:300] or "no reason given"
    message = status.get("message") if isinstance(status, dict) else None
    return str(message or said.strip()[:300])
