"""Applies objects to a cluster by server-side apply, through the official client."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kubernetes.client import ApiClient

    from drainproof.install.objects import Object

MANAGER = "drainproof"
"""The field manager: what others set stays theirs."""
_CONFLICT = 409
_TIMEOUT_S = 30.0


@contextmanager
def applying(client: ApiClient) -> Iterator[Applier]:
    """Return a cluster to which objects are applied.

    Args:
        client: As :func:`drainproof.collect.connect.connect` returns it.

    Raises:
        UserError: The API server can't be reached, or refuses.
    """
    # by itself the client keeps the kinds in a file that anybody of this machine could have made
    with TemporaryDirectory(prefix="drainproof-") as folder:
        yield Applier(client, Path(folder) / "kinds.json")


class Applier:
    """A cluster to which objects are applied; :func:`applying` returns one."""

    def __init__(self, client: ApiClient, kinds: Path) -> None:
        from kubernetes.dynamic import DynamicClient  # noqa: PLC0415 - slow to load

        with _told("ask which kinds there are"):
            self._client: Any = DynamicClient(client, cache_file=str(kinds))  # type: ignore[no-untyped-call]

    def apply(self, objects: Sequence[Object], *, force: bool = False) -> Iterator[str]:
        """Apply objects in order; yield what became of each, as it is done.

        Nothing is changed if the cluster lacks one of the kinds.

        Args:
            objects: With kind, name and, where they have one, namespace.
            force: Whether to take over fields that somebody else set.

        Raises:
            UserError: A kind is missing, or the API server refuses; what was yielded is done.
        """
        kinds = [self._kind(obj["apiVersion"], obj["kind"]) for obj in objects]
        for obj, kind in zip(objects, kinds, strict=True):
            yield self._applied(kind, obj, force=force)

    def delete_others(
        self, api_version: str, kind: str, labels: str, keep: set[tuple[str, str]], namespace: str
    ) -> Iterator[str]:
        """Delete the objects of a kind with these labels that are not to be kept; yield each.

        Args:
            api_version: Of the kind.
            kind: The kind, one with namespaces.
            labels: A label selector, which those have that may be deleted.
            keep: Namespace and name of those that stay.
            namespace: Where; empty is everywhere.

        Raises:
            UserError: The API server refuses.
        """
        resource = self._kind(api_version, kind)
        where = {"namespace": namespace} if namespace else {}
        with _told(f"list {kind}"):
            found = resource.get(label_selector=labels, **where, _request_timeout=_TIMEOUT_S).items
        for item in found:
            at = (item.metadata.namespace, item.metadata.name)
            if at not in keep:
                with _told(f"delete {kind}/{'/'.join(at)}"):
                    resource.delete(
                        name=at[1], namespace=at[0], body={}, _request_timeout=_TIMEOUT_S
                    )
                yield f"deleted {kind}/{'/'.join(at)}"

    def _kind(self, api_version: str, kind: str) -> Any:  # noqa: ANN401 - the client has no types
        from kubernetes.dynamic.exceptions import (  # noqa: PLC0415 - slow to load
            ResourceNotFoundError,
        )

        try:
            with _told("ask which kinds there are"):
                return self._client.resources.get(api_version=api_version, kind=kind)
        except ResourceNotFoundError:
            raise UserError(
                f"the cluster has no {kind} ({api_version})",
                hint="Install what defines it, or leave out the option that adds it.",
            ) from None

    def _applied(self, kind: Any, obj: Object, *, force: bool) -> str:  # noqa: ANN401 - same
        from kubernetes.dynamic.exceptions import NotFoundError  # noqa: PLC0415 - slow to load

        metadata = obj["metadata"]
        where = {"namespace": metadata["namespace"]} if "namespace" in metadata else {}
        said = "/".join((obj["kind"], *where.values(), metadata["name"]))
        with _told(f"apply {said}"):
            try:
                before = kind.get(name=metadata["name"], **where, _request_timeout=_TIMEOUT_S)
            except NotFoundError:
                before = None
            after = kind.server_side_apply(
                body=obj,
                **where,
                field_manager=MANAGER,
                force_conflicts=force,
                _request_timeout=_TIMEOUT_S,
            )
        if before is None:
            return f"created {said}"
        same = before.metadata.resourceVersion == after.metadata.resourceVersion
        return f"{'unchanged' if same else 'changed'} {said}"


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what the client raises into one error that says what was tried."""
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415 - slow to load
    from kubernetes.dynamic.exceptions import NotFoundError  # noqa: PLC0415 - same
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - comes with the client

    try:
        yield
    except NotFoundError:
        raise UserError(f"cannot {what}: there is no such place (404)") from None
    except ApiException as error:
        hint = ""
        if error.status == _CONFLICT:
            hint = "Somebody else set a field of it: remove the object, or keep to their value."
        body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
        words = " ".join(str(body or error.reason).split())[:300]
        raise UserError(f"cannot {what}: HTTP {error.status}: {words}", hint=hint) from None
    except (HTTPError, OSError) as error:
        words = " ".join(str(error).split())[:200]
        raise UserError(f"cannot {what}: the API server cannot be reached: {words}") from None
