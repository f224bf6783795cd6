"""Where a model's weights come from, what keeps them for the next replica, and who can mount that.

Joins a workload with its PersistentVolumeClaims and ConfigMaps.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.model import language_model, shape
from drainproof.model.finding import Located, Origin, named
from drainproof.model.selector import same_namespace
from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.shape import Raw
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

HUB_CACHE = "/root/.cache/huggingface"
"""Where the Hugging Face libraries keep what they download, for root and by default."""
_HUB_CACHE_ENDS = ("/.cache", "/.cache/huggingface", "/.cache/huggingface/hub")
"""How the default ends, whoever the image's user is."""
_CACHE_OF_ENGINE = {"tgi": "/data", "nim": "/opt/nim/.cache"}
"""The defaults that TGI's and NIM's images set."""
_NIM_MODELS = ("NIM_MODEL_PATH", "NIM_MODEL_NAME", "NIM_FT_MODEL")
"""Variables by which NIM is given a folder instead of what it downloads."""
_CACHE_FLAGS = ("--download-dir", "--huggingface-hub-cache")
_CACHE_VARIABLES = (
    ("HF_HUB_CACHE", ""),
    ("HUGGINGFACE_HUB_CACHE", ""),
    ("HF_HOME", ""),
    ("TRANSFORMERS_CACHE", ""),
    ("NIM_CACHE_PATH", ""),
    ("XDG_CACHE_HOME", "/huggingface"),
)
"""Variables that say where downloads are kept, and what is appended to their value."""
_STREAMED = ("s3://", "gs://", "az://")
"""Object stores that vLLM and SGLang stream from straight to the GPU, without a copy on disk."""
_FETCHED = ("hf://", "s3://", "gs://", "az://", "abfs://", "http://", "https://", "webhdfs://")
"""URIs that KServe's storage initializer downloads."""
_STREAMING_FORMATS = frozenset(
    {"dummy", "tensorizer", "remote", "remote_instance", "modelexpress", "mx", "gms"}
)
"""Values of ``--load-format`` that take no weights from the hub."""
_DOWNLOADS = regex(
    r"""
      \bhf\s+download\b | huggingface[-_]cli\b | snapshot_download | huggingface[-_]downloader
    | \b(?:aws|s5cmd)\s[^;|&]*\b(?:cp|sync|run)\b | \bgsutil\b | \bgcloud\s+storage\b | \bazcopy\b
    | \b(?:wget|curl)\s | \bgit\s+(?:clone|lfs)\b | \brclone\s+(?:copy|sync)\b | \bmodelscope\b
    | \bngc\s+registry\b | storage-initializer | \b(?:mc|gcloud|az)\s+(?:cp|mirror|storage)\b
    | \bdownload
    """,
    re.VERBOSE,
)
"""Found in the command line or image of a container that fetches weights over the network."""
_LOST = frozenset({"emptyDir", "ephemeral"})
_SHARED = frozenset({"ReadWriteMany", "ReadOnlyMany"})
_HOSTNAME = "kubernetes.io/hostname"
_FOR_WEIGHTS = regex(r"model|weight|(?<!kv)(?<!kv-)cache|hugging|hub|data|storage|nim")
"""In the name or the mount path of a volume that is to hold weights."""


class Claim(Located, frozen=True, kw_only=True):
    """A PersistentVolumeClaim."""

    access_modes: tuple[str, ...]

    def goes_with_all(self, workload: Workload) -> bool:
        """Tell whether all replicas of a workload can mount it at once, also on other nodes."""
        if not self.access_modes or not _SHARED.isdisjoint(self.access_modes):
            return True
        return set(self.access_modes) != {"ReadWriteOncePod"} and _on_one_node(workload)

    @classmethod
    def from_object(cls, obj: Raw, origin: Origin | None = None) -> Claim:
        """Read a PersistentVolumeClaim.

        Raises:
            ShapeError: A field holds another type than Kubernetes wants.
        """
        spec = shape.mapping(obj, "spec", "")
        modes = shape.strings(spec, "accessModes", "spec")
        return cls(**named(obj), object=obj, origin=origin, access_modes=modes)


class Held(Struct, frozen=True):
    """A volume that the engine's container mounts."""

    mount_path: str
    name: str
    path: str
    """Field path of the volume; of the container's mounts, if the volume is declared elsewhere."""
    kind: str
    """``persistentVolumeClaim``, ``emptyDir``, ``hostPath`` …; ``volumeClaimTemplate``."""
    claim: str
    """Name of the PersistentVolumeClaim; empty for another kind."""

    @property
    def outlives_pod(self) -> bool:
        """Whether the next replica finds what this one wrote."""
        return self.kind not in _LOST


class Weights(Struct, frozen=True):
    """Where an engine's weights come from."""

    model: str
    """As it is written; empty if it can't be told."""
    source: str
    """``hub``: downloaded by the engine; ``folder``: read from one; ``bucket``: copied from an
    object store at start; ``streamed``: no copy on disk; ``unknown``."""
    folder: str
    """The folder with the model, or the one that keeps what is downloaded."""
    sure: bool
    """Whether nothing unseen may set another folder."""
    by_default: bool
    """Whether the folder is the engine's own default."""


def weights_of(workload: Workload, engine: Engine, container: Container) -> Weights:
    """Return where an engine's weights come from."""
    folder, by_default = _cache(engine, container)
    model, source = "", "hub"
    if engine.name == "triton":
        model = engine.flags.get("--model-repository") or engine.flags.get("--model-store", "")
        source = "bucket" if "://" in model else "folder" if model.startswith("/") else "unknown"
    elif engine.name == "nim":
        written = (container.env.get(name, "") for name in _NIM_MODELS)
        model = next((name for name in written if name.startswith("/")), "")
        source = "folder" if model else "hub"
    else:
        model = language_model.of(workload).name
        source = _source(engine, container, model)
    if source == "folder":
        folder, by_default = model, False
    return Weights(model, source, folder, not _may_set_more(container), by_default)


def kept_by(workload: Workload) -> tuple[Weights, Held | None]:
    """Return where a workload's weights come from, and the volume that holds them, if any.

    It depends on nothing but the pod template, and is for :meth:`Workload.once`.
    """
    if workload.engine is None or workload.container is None:
        return _NO_WEIGHTS, None
    weights = weights_of(workload, workload.engine, workload.container)
    return weights, holds(workload, workload.container, weights)


_NO_WEIGHTS = Weights("", "unknown", "", sure=False, by_default=False)


def _source(engine: Engine, container: Container, model: str) -> str:
    streams = engine.flags.get("--load-format", "") in _STREAMING_FORMATS
    if streams or model.startswith(_STREAMED):
        return "streamed"
    if not model:
        return "unknown"
    in_folder = model.startswith(("/", "./", "~")) or _mounted(container, model)
    return "folder" if in_folder else "hub"


def _mounted(container: Container, model: str) -> bool:
    """Tell whether a relative name is a folder below the working directory."""
    where = container.raw.get("workingDir")
    return isinstance(where, str) and f"{where.rstrip('/')}/{model}" in container.mounts


def _cache(engine: Engine, container: Container) -> tuple[str, bool]:
    for flag in _CACHE_FLAGS:
        if flag in engine.flags:
            return engine.flags[flag].rstrip("/"), False
    for variable, below in _CACHE_VARIABLES:
        value = container.env.get(variable)
        if value:
            return value.rstrip("/") + below, False
    home = container.env.get("HOME")
    if home and engine.name not in _CACHE_OF_ENGINE:
        return f"{home.rstrip('/')}/.cache/huggingface", False
    return _CACHE_OF_ENGINE.get(engine.name, HUB_CACHE), True


def _may_set_more(container: Container) -> bool:
    """Tell whether a variable or a script that isn't in the manifest may move the cache."""
    raw = container.raw
    if raw.get("envFrom"):
        return True
    return any(
        name in container.env_names and name not in container.env for name, _ in _CACHE_VARIABLES
    ) or any("HF_H" in word for word in (*container.command, *container.args))


def holds(workload: Workload, container: Container, weights: Weights) -> Held | None:
    """Return the volume that holds the folder of the weights; None if none is mounted there."""
    folder = weights.folder
    best = ""
    for mount_path in container.mounts:
        inside = folder == mount_path or folder.startswith(f"{mount_path}/")
        around = weights.source == "hub" and mount_path.startswith(f"{folder}/")
        usual = weights.by_default and folder == HUB_CACHE and mount_path.endswith(_HUB_CACHE_ENDS)
        if (inside or around or usual) and len(mount_path) > len(best):
            best = mount_path
    return _held(workload, container, best) if best else None


def volumes_for_data(workload: Workload) -> list[Held]:
    """Return the volumes of the engine's container that look as if they were to hold weights.

    They depend on nothing but the pod template, and this is for :meth:`Workload.once`.
    """
    found: list[Held] = []
    container = workload.container
    if container is None:
        return found
    for mount_path in container.mounts:
        held = _held(workload, container, mount_path)
        said = f"{held.name} {mount_path}".lower()
        if held.claim or (held.outlives_pod and _FOR_WEIGHTS.search(said)):
            found.append(held)
    return found


def _held(workload: Workload, container: Container, mount_path: str) -> Held:
    name = container.mounts[mount_path]
    raw = workload.volumes.get(name)
    if raw is None:  # a StatefulSet's volumeClaimTemplates, or what an operator adds
        return Held(mount_path, name, f"{container.path}.volumeMounts", "volumeClaimTemplate", "")
    path = workload.volume_path(name)
    kind = next((key for key in raw if key != "name"), "emptyDir")
    claim = ""
    if kind == "persistentVolumeClaim":
        source = shape.mapping(raw, kind, path)
        claim = shape.text(source, "claimName", f"{path}.{kind}")
    return Held(mount_path, name, f"{path}.{kind}", kind, claim)


def fillers(workload: Workload, container: Container, volume: str) -> list[Container]:
    """Return the other containers of the pod that mount a volume: one of them may fill it."""
    return [
        one
        for one in (*workload.init_containers, *workload.containers)
        if one is not container and volume in one.mounts.values()
    ]


def downloads(container: Container) -> bool:
    """Tell whether a container's command line or image shows that it fetches over the network."""
    return bool(_DOWNLOADS.search(" ".join((container.image, *container.command, *container.args))))


class Uri(Struct, frozen=True):
    """A model that an operator brings to the pods: KServe's ``storageUri`` and ``model.uri``."""

    path: str
    uri: str

    @property
    def claim(self) -> str:
        """The PersistentVolumeClaim that it is in; empty if it is in none."""
        rest = self.uri.removeprefix("pvc://")
        return rest.partition("/")[0] if rest != self.uri else ""

    @property
    def is_fetched(self) -> bool:
        """Whether an init container fetches it over the network for each new pod."""
        return self.uri.startswith(_FETCHED)


def uri_of(workload: Workload) -> Uri | None:
    """Return the model that an operator brings to a workload's pods; None if none does."""
    if workload.kind == "LLMInferenceService":
        parents = [("spec.model", "uri")]
    elif workload.kind == "InferenceService":
        parents = [("spec.predictor.model", "storageUri")]
        predictor = shape.mapping(shape.mapping(workload.object, "spec", ""), "predictor", "spec")
        parents += [(f"spec.predictor.{key}", "storageUri") for key in predictor if key != "model"]
    else:
        return None
    for path, key in parents:
        at: object = workload.object
        for step in path.split("."):
            at = at.get(step) if isinstance(at, dict) else None
        if isinstance(at, dict) and key in at:
            return Uri(f"{path}.{key}", shape.text(at, key, path))
    return None


def is_cached_on_nodes(snapshot: Snapshot, uri: str) -> bool:
    """Tell whether a KServe LocalModelCache keeps a model on the nodes."""
    return any(source and uri.startswith(source) for source in snapshot.join(_local_caches))


def _local_caches(snapshot: Snapshot) -> list[str]:
    return [
        source
        for kind in ("LocalModelCache", "LocalModelNamespaceCache")
        for source in snapshot.read("serving.kserve.io", kind, _local_cache)
    ]


def _local_cache(obj: Raw, _: Origin | None) -> str:
    return shape.text(shape.mapping(obj, "spec", ""), "sourceModelUri", "spec")


def _claims(snapshot: Snapshot) -> dict[str, list[Claim]]:
    found: dict[str, list[Claim]] = {}
    for claim in snapshot.read("", "PersistentVolumeClaim", Claim.from_object):
        found.setdefault(claim.name, []).append(claim)
    return found


def claim_of(snapshot: Snapshot, workload: Workload, name: str) -> Claim | None:
    """Return the PersistentVolumeClaim that a workload names; None if it isn't there."""
    for claim in snapshot.join(_claims).get(name, ()):
        if same_namespace(claim, workload):
            return claim
    return None


def claim_of_one(snapshot: Snapshot, workload: Workload) -> Claim | None:
    """Return the first PersistentVolumeClaim that not all replicas can mount at once."""
    for volume in shape.mappings(workload.pod_spec, "volumes", workload.pod_path):
        held = volume.get("persistentVolumeClaim")
        name = held.get("claimName") if isinstance(held, dict) else None
        claim = claim_of(snapshot, workload, name) if isinstance(name, str) else None
        if claim is not None and not claim.goes_with_all(workload):
            return claim
    return None


def _on_one_node(workload: Workload) -> bool:
    """Tell whether all pods go to one node by name."""
    selector = workload.pod_spec.get("nodeSelector")
    return bool(workload.pod_spec.get("nodeName")) or (
        isinstance(selector, dict) and _HOSTNAME in selector
    )


def _config_maps(snapshot: Snapshot) -> dict[str, list[Located]]:
    found: dict[str, list[Located]] = {}
    for one in snapshot.read("", "ConfigMap", _config_map):
        found.setdefault(one.name, []).append(one)
    return found


def _config_map(obj: Raw, origin: Origin | None) -> Located:
    shape.string_map(obj, "data", "")
    return Located(**named(obj), object=obj, origin=origin)


def config_maps_for(snapshot: Snapshot, workload: Workload) -> tuple[Located, ...]:
    """Return the ConfigMaps that a workload's pods read, as variables or as files."""
    there = snapshot.join(_config_maps)
    if not there:
        return ()
    return tuple(
        one
        for name in dict.fromkeys(_config_map_names(workload))
        for one in there.get(name, ())
        if same_namespace(one, workload)
    )


def _config_map_names(workload: Workload) -> Iterator[str]:
    for container in (*workload.containers, *workload.init_containers):
        for field in ("envFrom", "env"):
            for index, item in enumerate(shape.mappings(container.raw, field, container.path)):
                path = f"{container.path}.{field}[{index}]"
                source = item if field == "envFrom" else shape.mapping(item, "valueFrom", path)
                for key in ("configMapRef", "configMapKeyRef"):
                    if key in source:
                        yield shape.text(shape.mapping(source, key, path), "name", path)
    for name, volume in workload.volumes.items():
        path = workload.volume_path(name)
        yield shape.text(shape.mapping(volume, "configMap", path), "name", f"{path}.configMap")
        projected = shape.mapping(volume, "projected", path)
        for item in shape.mappings(projected, "sources", f"{path}.projected"):
            yield shape.text(shape.mapping(item, "configMap", path), "name", path)
