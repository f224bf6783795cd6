"""What containers see of ConfigMaps: files that are mounted, and variables that are set from them.

Engines' settings are often there: ``--config /etc/vllm/config.yaml``, a start script, ``envFrom``.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from drainproof.model.owners import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from drainproof.model.shape import Raw

_LARGEST = 256 * 1024
"""Characters of a file that are read; settings and scripts are shorter."""


class Seen(Struct, frozen=True):
    """What one container sees."""

    variables: Mapping[str, str]
    files: Mapping[str, str]
    """Text by path in the container."""

    def file(self, path: str) -> str | None:
        """Return the text of a mounted file; None if it is not one of a known ConfigMap."""
        return self.files.get(posixpath.normpath(path))


class Mounted(Struct, frozen=True):
    """Where ConfigMaps are looked up.

    Args:
        find: Returns ConfigMaps by namespace and name; the namespace may be empty.
    """

    find: Callable[[str, str], Raw | None]

    @classmethod
    def of(cls, config_maps: Iterable[Raw]) -> Mounted | None:
        """Return where these ConfigMaps are looked up; None if there are none.

        One that names no namespace is found from any.
        """
        by_name: dict[str, list[Raw]] = {}
        for obj in config_maps:
            by_name.setdefault(key_of(obj)[2], []).append(obj)
        if not by_name:
            return None

        def find(namespace: str, name: str) -> Raw | None:
            near = (
                obj
                for obj in by_name.get(name, ())
                if not namespace or key_of(obj)[1] in {"", namespace}
            )
            return next(near, None)

        return cls(find)

    def by(self, namespace: str, pod_spec: Raw, container: Raw) -> Seen:
        """Return what a container of a pod sees. What has a wrong type is left out."""
        return Seen(
            dict(self._variables(namespace, container)),
            {
                posixpath.normpath(path): text
                for path, text in self._files(namespace, pod_spec, container)
            },
        )

    def _data(self, namespace: str, name: object) -> dict[str, str]:
        found = self.find(namespace, name) if isinstance(name, str) else None
        data = found.get("data") if found else None
        if not isinstance(data, dict):
            return {}
        return {
            key: text[:_LARGEST]
            for key, text in data.items()
            if isinstance(key, str) and isinstance(text, str)
        }

    def _variables(self, namespace: str, container: Raw) -> Iterator[tuple[str, str]]:
        for item in _dicts(container.get("envFrom")):
            written = item.get("prefix")
            prefix = written if isinstance(written, str) else ""
            name = _dict(item.get("configMapRef")).get("name")
            for own, text in self._data(namespace, name).items():
                yield f"{prefix}{own}", text
        for item in _dicts(container.get("env")):
            ref = _dict(_dict(item.get("valueFrom")).get("configMapKeyRef"))
            variable, key = item.get("name"), ref.get("key")
            data = self._data(namespace, ref.get("name")) if ref else {}
            if isinstance(variable, str) and isinstance(key, str) and key in data:
                yield variable, data[key]

    def _files(self, namespace: str, pod_spec: Raw, container: Raw) -> Iterator[tuple[str, str]]:
        volumes = {str(item.get("name")): item for item in _dicts(pod_spec.get("volumes"))}
        for mount in _dicts(container.get("volumeMounts")):
            volume, at = volumes.get(str(mount.get("name"))), mount.get("mountPath")
            if volume is None or not isinstance(at, str):
                continue
            sub = mount.get("subPath")
            for name, text in self._contents(namespace, volume):
                if not isinstance(sub, str) or not sub:
                    yield posixpath.join(at, name), text
                elif name == sub:
                    yield at, text
                elif name.startswith(f"{sub}/"):
                    yield posixpath.join(at, name[len(sub) + 1 :]), text

    def _contents(self, namespace: str, volume: Raw) -> Iterator[tuple[str, str]]:
        """Yield the files of a volume, by path in it."""
        own = volume.get("configMap")
        sources = [own] if own else []
        projected = _dict(volume.get("projected"))
        sources += [item.get("configMap") for item in _dicts(projected.get("sources"))]
        for source in sources:
            ref = _dict(source)
            data = self._data(namespace, ref.get("name"))
            if not ref.get("items"):
                yield from data.items()
                continue
            for item in _dicts(ref.get("items")):
                key, path = item.get("key"), item.get("path")
                if isinstance(key, str) and isinstance(path, str) and key in data:
                    yield path, data[key]


def wanted(pod_spec: Raw) -> bool:
    """Tell whether a pod's containers may see a ConfigMap at all; quick."""
    for volume in _dicts(pod_spec.get("volumes")):
        if "configMap" in volume or "projected" in volume:
            return True
    for container in _dicts(pod_spec.get("containers")):
        if "envFrom" in container:
            return True
        for item in _dicts(container.get("env")):
            if "configMapKeyRef" in _dict(item.get("valueFrom")):
                return True
    return False


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
