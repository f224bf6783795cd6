"""What the embedded cluster is built from, and in which order: the artefacts and their inputs."""

from __future__ import annotations

import json
import shutil
import string
from functools import cache
from pathlib import Path

from drainproof.clusters import debian, images
from drainproof.clusters.artefacts import Artefact
from drainproof.clusters.commands import run
from drainproof.clusters.golang import go_binaries, module_folder
from drainproof.clusters.images import (
    Image,
    ImageConfig,
    layer_identity,
    write_archive,
    write_layer,
)
from drainproof.clusters.versions import versions
from drainproof.content import content

_KUBE_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubeadm",
    "kubectl",
    "podnet",
)
_NODE_PROGRAMS = ("kubelet", "kubeadm", "kubectl")
_CNI_PLUGINS = ("host-local", "loopback", "ptp", "portmap")
# As kind's own node image does it: these units need a real machine.
_UNWANTED_UNITS = (
    "usr/lib/systemd/system/multi-user.target.wants/*",
    "usr/lib/systemd/system/local-fs.target.wants/*",
    "usr/lib/systemd/system/basic.target.wants/*",
    "usr/lib/systemd/system/sockets.target.wants/*udev*",
    "usr/lib/systemd/system/sockets.target.wants/*initctl*",
    "usr/lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
    "etc/systemd/system/*.wants/*",
)


def folder() -> Path:
    """Return the folder with the Go module, the manifests and the scripts."""
    return content("fixtures/clusters")


@cache
def programs() -> Artefact:
    """Every program that is built from Go source; ``kube`` is all of Kubernetes' in one."""
    kubernetes = versions().kubernetes
    major, minor, _ = kubernetes.removeprefix("v").split(".")
    version = "k8s.io/component-base/version"
    return go_binaries(
        "programs",
        folder(),
        [
            ["./cmd/...", "sigs.k8s.io/kind"],
            # It imports a module under another spelling of its name, so it is built apart.
            ["github.com/rancher/local-path-provisioner"],
        ],
        set_strings=[
            f"{version}.gitVersion={kubernetes}",
            f"{version}.gitMajor={major}",
            f"{version}.gitMinor={minor}",
        ],
        estimate_s=420,
    )


@cache
def system_root() -> Artefact:
    """The Debian root that the engine runs on, and that nodes are made of."""
    stated = versions()
    return debian.root_file_system(
        "system-root",
        stated.system_packages,
        debian.Release(stated.suite, stated.component),
        archive=False,
        estimate_s=70,
    )


@cache
def pod_root() -> Artefact:
    """The Debian root, with Python, that pods run on: the image ``drainproof/python``."""
    stated = versions()
    return debian.root_file_system(
        "pod-root",
        stated.pod_packages,
        debian.Release(stated.suite, stated.component),
        archive=True,
        estimate_s=60,
    )


@cache
def system_images() -> Artefact:
    """The images of everything that runs in ``kube-system``, and ``drainproof/python``."""
    return Artefact(
        name="system-images",
        inputs={
            "recipe": Path(__file__),
            "images": Path(images.__file__),
            "programs": programs(),
            "pod root": pod_root(),
            "names": repr(versions()),
        },
        build=_build_system_images,
        estimate_s=10,
    )


def _build_system_images(into: Path) -> None:
    built, base = programs().path, pod_root().path / "layer.tar"
    layers = into / "layers"
    layers.mkdir()

    def layer(program: str, links: tuple[str, ...] = ()) -> Path:
        tar = layers / f"{program}.tar"
        write_layer(
            {f"/usr/local/bin/{program}": built / program},
            tar,
            links={f"/usr/local/bin/{link}": program for link in links},
        )
        return tar

    kube = layer("kube", _KUBE_PROGRAMS)
    wanted = [Image((versions().python_image,), (base,), ImageConfig(command=("python3",)))]
    for name in _kubeadm_images():
        program = name.rsplit("/", 1)[1].split(":")[0]
        if program == "kube-proxy":
            # The manifest starts it by this path; the base has the iptables that it calls.
            wanted.append(Image((name,), (base, kube)))
        elif program.startswith("kube-"):
            wanted.append(Image((name,), (kube,)))
        else:
            entrypoint = ImageConfig(entrypoint=(f"/usr/local/bin/{program}",))
            wanted.append(Image((name,), (layer(program),), entrypoint))
    wanted += [
        Image((name,), (layer(program),), ImageConfig(entrypoint=(f"/usr/local/bin/{program}",)))
        for program, name in (
            ("local-path-provisioner", versions().local_path_image),
            ("metrics-server", versions().metrics_server_image),
        )
    ]
    write_archive(wanted, into / "images.tar")
    shutil.rmtree(layers)


def _kubeadm_images() -> list[str]:
    """Ask kubeadm which images it will look for."""
    kube, version = programs().path / "kube", versions().kubernetes
    return run(
        [kube, "kubeadm", "config", "images", "list", "--kubernetes-version", version]
    ).split()


def image_name(program: str) -> str:
    """Return the full name of the image that kubeadm looks for, such as that of ``pause``."""
    for name in _kubeadm_images():
        if name.rsplit("/", 1)[1].split(":")[0] == program:
            return name
    raise LookupError(program)


@cache
def node_image() -> Artefact:
    """The node image, named ``node_image_name()``, as an engine stores it: the folder ``docker``.

    An engine's own store can be used in place, with nothing to load; see ``engine.start``.
    """
    return Artefact(
        name="node-image",
        inputs={
            "recipe": Path(__file__),
            "on root": folder() / "on-root.sh",
            "preload": folder() / "preload.sh",
            "store": folder() / "store.sh",
            "manifests": folder() / "manifests",
            "programs": programs(),
            "system root": system_root(),
            "system images": system_images(),
            "kind": versions().kind,
        },
        build=_build_node_image,
        estimate_s=40,
    )


def node_image_name() -> str:
    """Return the name of the node image; its tag changes with what it is made from."""
    return f"drainproof/node:{versions().kubernetes}-{node_image().key}"


def _build_node_image(into: Path) -> None:
    root = into / "root"
    _copy_system_root(root)
    _add_kind_files(root)
    _add_kubernetes(root)
    _adjust_systemd(root)
    _preload_images(root)
    _on_system_root("store.sh", into / "docker", root, node_image_name())
    shutil.rmtree(root)
    for unused in (into / "docker").iterdir():
        if unused.name not in {"image", "overlay2"}:
            shutil.rmtree(unused)


def _copy_system_root(root: Path) -> None:
    """Copy the system root without Docker, which nodes have no use for."""
    run(["cp", "-a", "--reflink=auto", system_root().path / "root", root])
    listed = (root / "var/lib/dpkg/info/docker.io.list").read_text().splitlines()
    for name in listed:
        path = root / name.lstrip("/")
        if not path.is_dir():  # folders are shared, and /lib is a link to one
            path.unlink(missing_ok=True)
    for emptied in ("var/lib/apt", "var/cache", "var/log", "var/lib/dpkg/info"):
        shutil.rmtree(root / emptied, ignore_errors=True)
        (root / emptied).mkdir()


def _add_kind_files(root: Path) -> None:
    files = module_folder(folder(), "sigs.k8s.io/kind") / "images/base/files"
    for source in sorted(files.rglob("*")):
        target = root / source.relative_to(files)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.unlink(missing_ok=True)
            shutil.copyfile(source, target)
            script = target.parent.name == "bin"
            target.chmod(0o755 if script else 0o644)
    config = root / "etc/containerd/config.toml"
    text = config.read_text()
    pause = next(line for line in text.splitlines() if line.strip().startswith("sandbox_image"))
    text = text.replace(pause, f'  sandbox_image = "{image_name("pause")}"')
    # A node may not be allowed to lower its own scores, let alone those of its containers.
    text = text.replace("restrict_oom_score_adj = false", "restrict_oom_score_adj = true")
    config.write_text(text)
    for folder_name, names in {
        "usr/local/bin": ("containerd", "ctr", "containerd-shim-runc-v2"),
        "usr/local/sbin": ("runc",),
    }.items():
        for name in names:
            owner = "sbin" if (root / "usr/sbin" / name).exists() else "bin"
            (root / folder_name / name).symlink_to(f"/usr/{owner}/{name}")
    (root / "opt/cni/bin").mkdir(parents=True)
    for plugin in _CNI_PLUGINS:
        (root / "opt/cni/bin" / plugin).symlink_to(f"/usr/lib/cni/{plugin}")
    spec = json.loads(run(["chroot", root, "ctr", "oci", "spec"]))
    hooks = spec.setdefault("hooks", {}).setdefault("createContainer", [])
    hooks.append({"path": "/kind/bin/mount-product-files.sh"})
    del spec["process"]["rlimits"]
    (root / "etc/containerd/cri-base.json").write_text(json.dumps(spec))


def _add_kubernetes(root: Path) -> None:
    shutil.copy2(programs().path / "kube", root / "usr/bin/kube")
    for name in _NODE_PROGRAMS:
        (root / "usr/bin" / name).symlink_to("kube")
    (root / "etc/kubernetes/manifests").mkdir(parents=True)
    (root / "kind/version").write_text(versions().kubernetes)
    (root / "kind/manifests").mkdir()
    # kind applies these two, in this order. Metrics take a while to come: the sooner, the better.
    applied = root / "kind/manifests"
    (applied / "default-cni.yaml").write_text(manifest("default-cni.yaml"))
    (applied / "default-storage.yaml").write_text(
        "---\n".join(manifest(name) for name in ("default-storage.yaml", "metrics-server.yaml"))
    )


def manifest(name: str) -> str:
    """Return one of ``manifests/`` with the names of our images filled in."""
    text = string.Template((folder() / "manifests" / name).read_text())
    return text.substitute(
        KUBE_PROXY_IMAGE=image_name("kube-proxy"),
        PYTHON_IMAGE=versions().python_image,
        LOCAL_PATH_IMAGE=versions().local_path_image,
        METRICS_SERVER_IMAGE=versions().metrics_server_image,
    )


def _adjust_systemd(root: Path) -> None:
    for pattern in _UNWANTED_UNITS:
        for unit in root.glob(pattern):
            unit.unlink()
    with (root / "etc/systemd/journald.conf").open("a") as journald:
        journald.write("ReadKMsg=no\n")
    (root / "usr/sbin/init").unlink(missing_ok=True)
    (root / "usr/sbin/init").symlink_to("/usr/lib/systemd/systemd")
    run(["chroot", root, "systemctl", "enable", "kubelet", "containerd", "undo-mount-hacks"])
    run(["chroot", root, "systemctl", "mask", "systemd-binfmt"])


def _preload_images(root: Path) -> None:
    """Put the system images into the node's containerd, unpacked.

    ``/var`` is a volume of its own on each node, into which the engine copies what the image has
    there. What is large is kept elsewhere, and is linked to: nodes then share one copy of it.
    """
    store = root / "var/lib/containerd"
    base = layer_identity(pod_root().path / "layer.tar")
    _on_system_root("preload.sh", store, system_images().path / "images.tar", base)
    kept = root / "kind/containerd"
    kept.mkdir()
    content = store / "io.containerd.content.v1.content"
    _move_and_link(content, kept / "content", root)
    for unpacked in store.glob("io.containerd.snapshotter.v1.overlayfs/snapshots/*/fs"):
        _move_and_link(unpacked, kept / f"snapshot-{unpacked.parent.name}", root)


def _move_and_link(source: Path, target: Path, root: Path) -> None:
    source.rename(target)
    source.symlink_to(f"/{target.relative_to(root)}")


def _on_system_root(script: str, *arguments: str | Path) -> None:
    """Run one of the scripts with the programs of the system root, in namespaces of its own."""
    isolate = ["--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    on_root = ["sh", str(folder() / "on-root.sh"), str(system_root().path / "root")]
    run(["unshare", *isolate, *on_root, "sh", folder() / script, *arguments])


def needed(*, own_engine: bool) -> tuple[Artefact, ...]:
    """Return the artefacts that a cluster runs from, on an engine of its own or on the user's."""
    always = (programs(), pod_root(), system_images())
    return (*always, system_root(), node_image()) if own_engine else always
