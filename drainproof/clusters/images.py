"""Container images are written straight to archives: no registry, no engine, the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from drainproof.clusters.artefacts import Artefact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_OCI = "application/vnd.oci.image"
_EPOCH = "1970-01-01T00:00:00Z"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """How a container of an image starts; the words are those of the OCI image specification."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    """``NAME=value``."""
    workdir: str = "/"
    user: str = ""
    stop_signal: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """An image to be written: its names, its layers (tar files, lowest first), its settings."""

    names: tuple[str, ...]
    layers: tuple[Path, ...]
    config: ImageConfig = field(default_factory=ImageConfig)


def write_archive(images: Sequence[Image], archive: Path) -> None:
    """Write images to one archive that ``docker load`` and ``ctr images import`` read.

    A layer that several images have is in it once.
    """
    identities = {layer: layer_identity(layer) for image in images for layer in image.layers}
    manifest = []
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for layer, identity in {value: key for key, value in identities.items()}.items():
            tar.add(identity, arcname=f"{layer}.tar", filter=_plain)
        for image in images:
            settings = _settings(image, [identities[one] for one in image.layers])
            config = json.dumps(settings).encode()
            name = f"{hashlib.sha256(config).hexdigest()}.json"
            _add(tar, name, config)
            layers = [f"{identities[layer]}.tar" for layer in image.layers]
            manifest.append({"Config": name, "RepoTags": list(image.names), "Layers": layers})
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def write_upper_layers(image: Image, archive: Path, below: int = 1) -> None:
    """Write an image without its lowest layers to an OCI archive, for nodes that have those.

    Args:
        image: The image; it has one name.
        archive: The archive to write, for ``ctr images import``.
        below: How many of its layers nodes have already, in the content that images share.
    """
    identities = [layer_identity(layer) for layer in image.layers]
    layers = [
        {"mediaType": f"{_OCI}.layer.v1.tar", "digest": f"sha256:{identity}", "size": size}
        for identity, size in zip(
            identities, (layer.stat().st_size for layer in image.layers), strict=True
        )
    ]
    config = json.dumps(_settings(image, identities)).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": _described(f"{_OCI}.config.v1+json", config),
            "layers": layers,
        }
    ).encode()
    named = _described(f"{_OCI}.manifest.v1+json", manifest)
    named["annotations"] = {"io.containerd.image.name": f"docker.io/{image.names[0]}"}
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for identity, layer in list(zip(identities, image.layers, strict=True))[below:]:
            tar.add(layer, arcname=f"blobs/sha256/{identity}", filter=_plain)
        for blob in (config, manifest):
            _add(tar, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
        _add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [named]}).encode())


def _described(media_type: str, content: bytes) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def layer_identity(layer: Path) -> str:
    """Return the SHA-256 of a layer, by which images and engines know it."""
    with layer.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _settings(image: Image, identities: Sequence[str]) -> dict[str, object]:
    config = image.config
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": _EPOCH,
        "config": {
            "Entrypoint": list(config.entrypoint) or None,
            "Cmd": list(config.command) or None,
            "Env": [f"PATH={_PATH}", *config.env],
            "WorkingDir": config.workdir,
            "User": config.user,
            **({"StopSignal": config.stop_signal} if config.stop_signal else {}),
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{one}" for one in identities]},
        "history": [{"created": _EPOCH} for _ in identities],
    }


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime = 0
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o644
    tar.addfile(entry, io.BytesIO(content))


def write_layer(
    files: Mapping[str, Path],
    layer: Path,
    *,
    links: Mapping[str, str] | None = None,
    leave_out: Callable[[str], bool] = lambda _: False,
    own_all: bool = True,
) -> None:
    """Write files and folders to a layer.

    Args:
        files: Absolute path in the image, and the file or folder of this machine to put there.
        layer: The tar file to write.
        links: Absolute path in the image of each symbolic link, and what it points to.
        leave_out: Is asked for each absolute path in the image.
        own_all: Whether everything belongs to root and has no time; otherwise as found.
    """
    change = _plain if own_all else _without_names
    with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as tar:
        made: set[str] = set()
        for target, source in sorted(files.items()):
            _add_parents(tar, target, made)
            for path, name in _walk(source, target):
                if leave_out(name):
                    continue
                entry = tar.gettarinfo(path, arcname=name.lstrip("/") or ".")
                if entry is None or name in made:
                    continue  # a socket, or a folder that is there already
                _attributes(entry, path)
                change(entry)
                if entry.isreg():
                    with path.open("rb") as content:
                        tar.addfile(entry, content)
                else:
                    tar.addfile(entry)
                made.add(name)
        for target, points_to in sorted((links or {}).items()):
            _add_parents(tar, target, made)
            entry = tarfile.TarInfo(target.lstrip("/"))
            entry.type, entry.linkname = tarfile.SYMTYPE, points_to
            tar.addfile(entry)


def _without_names(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uname = entry.gname = ""
    return entry


def _attributes(entry: tarfile.TarInfo, path: Path) -> None:
    """Keep file capabilities and overlay marks, which are extended attributes."""
    if entry.issym():
        return
    for name in os.listxattr(path):
        value = os.getxattr(path, name).decode("utf-8", "surrogateescape")
        entry.pax_headers = {**entry.pax_headers, f"SCHILY.xattr.{name}": value}


def _walk(source: Path, target: str) -> Iterable[tuple[Path, str]]:
    base = target.rstrip("/")
    if source.is_symlink() or not source.is_dir():
        yield source, base
        return
    if base:
        yield source, base
    for folder, folders, names in os.walk(source):
        folders.sort()
        linked = [one for one in folders if (Path(folder) / one).is_symlink()]
        real = [one for one in folders if one not in linked]
        for name in sorted([*names, *linked, *real]):
            path = Path(folder) / name
            if "__pycache__" not in path.parts:
                yield path, f"{base}/{path.relative_to(source)}"


def _add_parents(tar: tarfile.TarFile, target: str, made: set[str]) -> None:
    for parent in reversed(Path(target).parents):
        name = str(parent)
        if name not in {"/", *made}:
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
            made.add(name)


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that is, or will be, in the cache: its name and the artefact with its archive."""

    name: str
    artefact: Artefact

    @property
    def archive(self) -> Path:
        """The archive to load once the artefact is built."""
        return self.artefact.path / "image.tar"


def layered_image(
    name: str,
    base: Artefact,
    files: Mapping[str, Path],
    config: ImageConfig,
) -> BuiltImage:
    """Return an image of ``files`` on a base root that nodes have.

    Its tag is the hash of what it is made from: one that changed has another name, so no node can
    run an old one by mistake. Build it with ``artefacts.ensure([image.artefact], progress)``.

    Args:
        name: The name without a tag, such as ``drainproof/engine``.
        base: ``recipe.pod_root()``, or another artefact with a ``layer.tar`` that nodes have.
        files: Absolute path in the image, and the file or folder of this machine to put there.
        config: How its containers start.
    """
    inputs: dict[str, str | Path | Artefact] = {
        "recipe": Path(__file__),
        "base": base,
        "config": repr(config),
        "name": name,
        **{f"file {target}": source for target, source in files.items()},
    }
    tag: list[str] = []

    def build(into: Path) -> None:
        layer = into / "files.tar"
        write_layer(files, layer)
        image = Image((tag[0],), (base.path / "layer.tar", layer), config)
        write_upper_layers(image, into / "image.tar")
        layer.unlink()

    artefact = Artefact(f"image-{name.replace('/', '-')}", inputs, build, estimate_s=3)
    tag.append(f"{name}:{artefact.key}")
    return BuiltImage(tag[0], artefact)
