"""Images are the same bytes each time, and say what they are made of."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from drainproof.clusters.artefacts import Artefact, ensure
from drainproof.clusters.images import (
    Image,
    ImageConfig,
    layer_identity,
    layered_image,
    write_archive,
    write_layer,
)
from drainproof.progress import NoProgress

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    (folder / "package").mkdir(parents=True)
    (folder / "package" / "main.py").write_text("print()")
    (folder / "start").write_text("#!/bin/sh\n")
    (folder / "start").chmod(0o755)
    (folder / "link").symlink_to("start")
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Artefact:
    def build(into: Path) -> None:
        write_layer({"/etc/os-release": source}, into / "layer.tar")

    source = tmp_path / "os-release"
    source.write_text("ID=debian\n")
    artefact = Artefact("base", {}, build, estimate_s=1)
    ensure([artefact], NoProgress())
    return artefact


def names(layer: Path) -> list[str]:
    with tarfile.open(layer) as tar:
        return tar.getnames()


def test_a_folder_becomes_a_layer_with_its_parents_first(app: Path, tmp_path: Path) -> None:
    write_layer({"/opt/app": app}, tmp_path / "layer.tar")
    assert names(tmp_path / "layer.tar") == [
        "opt",
        "opt/app",
        "opt/app/link",
        "opt/app/package",
        "opt/app/start",
        "opt/app/package/main.py",
    ]


def test_modes_and_links_are_kept_and_owners_are_not(app: Path, tmp_path: Path) -> None:
    write_layer({"/opt/app": app}, tmp_path / "layer.tar", links={"/bin/app": "/opt/app/start"})
    with tarfile.open(tmp_path / "layer.tar") as tar:
        assert tar.getmember("opt/app/start").mode & 0o111
        assert tar.getmember("opt/app/link").linkname == "start"
        assert tar.getmember("bin/app").linkname == "/opt/app/start"
        assert {(one.uid, one.gid, one.uname, one.mtime) for one in tar} == {(0, 0, "", 0)}


def test_what_is_left_out_is_not_in_the_layer(app: Path, tmp_path: Path) -> None:
    layer = tmp_path / "layer.tar"
    write_layer({"/opt/app": app}, layer, leave_out=lambda name: name.endswith(".py"))
    assert not [name for name in names(layer) if name.endswith(".py")]


def test_the_same_files_make_the_same_bytes(app: Path, tmp_path: Path) -> None:
    digests = set()
    for attempt in ("one", "two"):
        layer, archive = tmp_path / f"{attempt}.tar", tmp_path / f"{attempt}-image.tar"
        write_layer({"/opt/app": app}, layer)
        write_archive([Image(("app:1",), (layer,))], archive)
        digests.add(hashlib.sha256(archive.read_bytes()).hexdigest())
        (app / "start").touch()
    assert len(digests) == 1


def test_an_archive_names_each_image_with_its_layers_and_settings(
    app: Path, tmp_path: Path
) -> None:
    layer, archive = tmp_path / "layer.tar", tmp_path / "image.tar"
    write_layer({"/opt/app": app}, layer)
    config = ImageConfig(entrypoint=("/opt/app/start",), env=("A=b",), user="1000")
    write_archive([Image(("app:1", "app:2"), (layer,), config)], archive)
    with tarfile.open(archive) as tar:
        (entry,) = json.loads(read(tar, "manifest.json"))
        settings = json.loads(read(tar, entry["Config"]))
        content = read(tar, entry["Layers"][0])
    assert entry["RepoTags"] == ["app:1", "app:2"]
    assert settings["config"]["Entrypoint"] == ["/opt/app/start"]
    assert settings["config"]["User"] == "1000"
    assert "A=b" in settings["config"]["Env"]
    digest = hashlib.sha256(content).hexdigest()
    assert settings["rootfs"]["diff_ids"] == [f"sha256:{digest}"]


def test_a_layer_that_two_images_have_is_stored_once(app: Path, tmp_path: Path) -> None:
    layer, archive = tmp_path / "layer.tar", tmp_path / "image.tar"
    write_layer({"/opt/app": app}, layer)
    write_archive([Image(("a:1",), (layer,)), Image(("b:1",), (layer,))], archive)
    assert len([name for name in names(archive) if name.endswith(".tar")]) == 1


def test_an_image_on_a_base_refers_to_the_base_and_holds_only_what_is_above_it(
    app: Path, base: Artefact
) -> None:
    image = layered_image("drainproof/app", base, {"/opt/app": app}, ImageConfig())
    ensure([image.artefact], NoProgress())
    lowest = f"sha256:{layer_identity(base.path / 'layer.tar')}"
    with tarfile.open(image.archive) as tar:
        (entry,) = json.loads(read(tar, "index.json"))["manifests"]
        manifest = json.loads(read(tar, blob(entry["digest"])))
        settings = json.loads(read(tar, blob(manifest["config"]["digest"])))
        digests = [layer["digest"] for layer in manifest["layers"]]
        assert blob(lowest) not in tar.getnames()
        assert "opt/app/start" in layer_names(read(tar, blob(digests[1])))
    assert digests[0] == lowest
    assert settings["rootfs"]["diff_ids"] == digests
    assert entry["annotations"]["io.containerd.image.name"] == f"docker.io/{image.name}"


def test_every_blob_of_an_image_has_the_name_of_its_content(app: Path, base: Artefact) -> None:
    image = layered_image("drainproof/app", base, {"/opt/app": app}, ImageConfig())
    ensure([image.artefact], NoProgress())
    with tarfile.open(image.archive) as tar:
        blobs = [name for name in tar.getnames() if name.startswith("blobs/")]
        assert len(blobs) == 3
        for name in blobs:
            assert hashlib.sha256(read(tar, name)).hexdigest() == name.rsplit("/", 1)[1]


def test_an_image_that_changes_has_another_tag(app: Path, base: Artefact) -> None:
    def tag() -> str:
        return layered_image("drainproof/app", base, {"/opt/app": app}, ImageConfig()).name

    before = tag()
    assert tag() == before
    (app / "start").write_text("#!/bin/sh\nexit 1\n")
    assert tag() != before


def blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def layer_names(content: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return tar.getnames()


def read(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(name)
    assert member is not None
    return member.read()
