"""What deployments of language models lean on, from its published manifests: KEDA, Prometheus."""

from __future__ import annotations

import json
import shutil
import string
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drainproof.clusters import images, recipe
from drainproof.clusters.artefacts import Artefact
from drainproof.clusters.commands import run
from drainproof.clusters.golang import go_binaries, module_folder, required_version
from drainproof.clusters.images import BuiltImage, Image, ImageConfig, write_layer
from drainproof.content import content
from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drainproof.clusters import Cluster

_LABEL = "drainproof.dev/stack"
"""On all objects of a stack: its name. The kustomizations set it."""
_RECIPE = "drainproof.dev/recipe"
"""On a stack's namespace once it served: the key of what it was installed from."""
_READY_S = 180
_NOBODY = "65532:65532"
_HUNDRED = 100


@dataclass(frozen=True, slots=True)
class Module:
    """A Go module with programs of a stack.

    Args:
        name: The name of the artefact with its programs.
        folder: Where its go.mod and go.sum are, in ``fixtures/stacks``.
        path: Its import path.
        programs: Packages of its ``cmd`` folder, and their paths in the stack's image.
        version_variable: What the linker sets to its version.
        build_s: Seconds that its programs take to build on two cores.
        flags: What else the build is told.
    """

    name: str
    folder: str
    path: str
    programs: Mapping[str, str]
    version_variable: str
    build_s: float
    flags: tuple[str, ...] = ()

    @property
    def home(self) -> Path:
        """The folder with its go.mod and go.sum."""
        return content("fixtures/stacks") / self.folder

    @property
    def version(self) -> str:
        """Its version, as its programs say it."""
        version = required_version(self.home, self.path).removeprefix("v")
        major, minor, patch = map(int, version.split("."))
        # Prometheus 3.13.5 is v0.313.5 of its module.
        return version if major or minor < _HUNDRED else f"{minor // 100}.{minor % 100}.{patch}"

    @property
    def built(self) -> Artefact:
        """The artefact with its programs."""
        return go_binaries(
            self.name,
            self.home,
            [[*self.flags, *(f"{self.path}/cmd/{program}" for program in self.programs)]],
            set_strings=[f"{self.version_variable}={self.version}"],
            estimate_s=self.build_s,
        )


@dataclass(frozen=True, slots=True)
class Stack:
    """Something that one command installs.

    Args:
        name: Its name; that of its folder in ``fixtures/stacks``, too.
        namespace: Where it runs.
        modules: What it is built from.
        manifests: The files and folders of the first module that the kustomization refers to.
        waits: What must be Available before it serves, beside its Deployments.
        entrypoint: What a container starts that names no command.
    """

    name: str
    namespace: str
    modules: tuple[Module, ...]
    manifests: tuple[str, ...]
    waits: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder with its kustomization."""
        return content("fixtures/stacks") / self.name


_KEDA = Module(
    name="keda",
    folder="keda",
    path="github.com/kedacore/keda/v2",
    programs={"adapter": "/keda-adapter", "operator": "/keda"},
    version_variable="github.com/kedacore/keda/v2/version.Version",
    build_s=430,
)
_OPERATOR = Module(
    name="prometheus-operator",
    folder="prometheus/operator",
    path="github.com/prometheus-operator/prometheus-operator",
    programs={
        "operator": "/bin/operator",
        "prometheus-config-reloader": "/bin/prometheus-config-reloader",
    },
    version_variable="github.com/prometheus/common/version.Version",
    build_s=95,
)
# Not Debian's, which can't find targets by Kubernetes. Of the ways to find them, this one has no
# other: clients of two dozen clouds would take most of the time.
_PROMETHEUS = Module(
    name="prometheus",
    folder="prometheus/server",
    path="github.com/prometheus/prometheus",
    programs={"prometheus": "/bin/prometheus"},
    version_variable="github.com/prometheus/common/version.Version",
    flags=("-tags=remove_all_sd,enable_kubernetes_sd",),
    build_s=130,
)
_ALL = (
    Stack(
        name="keda",
        namespace="keda",
        modules=(_KEDA,),
        manifests=("config",),
        waits=("apiservice/v1beta1.external.metrics.k8s.io",),
    ),
    Stack(
        name="prometheus",
        namespace="monitoring",
        modules=(_OPERATOR, _PROMETHEUS),
        manifests=("bundle.yaml", "example/rbac/prometheus"),
        waits=("prometheus/prometheus",),
        entrypoint=("/bin/prometheus",),
    ),
)
STACKS: Mapping[str, Stack] = {stack.name: stack for stack in _ALL}


def named(names: Sequence[str]) -> list[Stack]:
    """Return the stacks of these names, each once.

    Raises:
        UserError: There is none of a name; the message has all that there are.
    """
    unknown = [name for name in names if name not in STACKS]
    if unknown:
        raise UserError(
            f"there is no stack {', '.join(map(repr, unknown))}; there are: {', '.join(STACKS)}"
        )
    return [STACKS[name] for name in dict.fromkeys(names)]


@cache
def artefact(name: str) -> Artefact:
    """Return all that a stack is installed from: its image, its kinds and its other objects."""
    stack = STACKS[name]
    inputs: dict[str, str | Path | Artefact] = {
        "recipe": Path(__file__),
        "images": Path(images.__file__),
        "folder": stack.folder,
        "base": recipe.pod_root(),
        "kubectl": recipe.programs(),
    }
    inputs |= {module.name: module.built for module in stack.modules}
    return Artefact(f"stack-{name}", inputs, lambda into: _build(stack, into), estimate_s=20)


def image(stack: Stack) -> BuiltImage:
    """Return the image that all containers of a stack run."""
    made = artefact(stack.name)
    return BuiltImage(f"drainproof/{stack.name}:{made.key}", made)


def _build(stack: Stack, into: Path) -> None:
    files = {
        target: module.built.path / program
        for module in stack.modules
        for program, target in module.programs.items()
    }
    layer = into / "files.tar"
    write_layer(files, layer)
    config = ImageConfig(entrypoint=stack.entrypoint, user=_NOBODY)
    layers = (recipe.pod_root().path / "layer.tar", layer)
    images.write_upper_layers(Image((image(stack).name,), layers, config), into / "image.tar")
    layer.unlink()
    kinds, others = split(_rendered(stack, into / "kustomize"))
    (into / "kinds.yaml").write_text(kinds)
    (into / "objects.yaml").write_text(others)


def _rendered(stack: Stack, work: Path) -> str:
    """Let kustomize put together what the module has and what we change in it."""
    first = stack.modules[0]
    source = module_folder(first.home, first.path)
    for part in stack.manifests:
        target = work / "upstream" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        # Modules are read-only; copies need not be.
        run(["cp", "--recursive", "--no-preserve=mode", source / part, target])
    name, tag = image(stack).name.split(":")
    known = {"IMAGE": name, "TAG": tag, "PROMETHEUS_VERSION": f"v{_PROMETHEUS.version}"}
    for ours in stack.folder.glob("*.yaml"):
        (work / ours.name).write_text(string.Template(ours.read_text()).substitute(known))
    text = run([recipe.programs().path / "kube", "kubectl", "kustomize", work])
    shutil.rmtree(work)
    return text


def split(text: str) -> tuple[str, str]:
    """Part the documents that define kinds, which must be there first, from all others."""
    documents = text.split("\n---\n")
    kinds = [one for one in documents if "\nkind: CustomResourceDefinition\n" in f"\n{one}\n"]
    others = [one for one in documents if one not in kinds]
    return "\n---\n".join(kinds), "\n---\n".join(others)


def installed(cluster: Cluster) -> dict[str, str]:
    """Return each stack that is there, and what is wrong with it; empty if it serves."""
    done = cluster.run(
        [
            cluster.kubectl_bin, "get", "namespaces,deployments,statefulsets",
            "--all-namespaces", "--selector", _LABEL, "--output=json", "--request-timeout=10s",
        ],
        check=False,
    )  # fmt: skip
    items = json.loads(done.stdout)["items"] if done.returncode == 0 else []
    labels = [item["metadata"]["labels"] for item in items]
    found: dict[str, str] = {}
    for name, stack in STACKS.items():
        own = [item for item, its in zip(items, labels, strict=True) if its[_LABEL] == name]
        if own:
            found[name] = _problem(stack, own)
    return found


def _problem(stack: Stack, objects: Sequence[dict[str, Any]]) -> str:
    namespaces = [item for item in objects if item["kind"] == "Namespace"]
    recipes = [item["metadata"]["labels"].get(_RECIPE) for item in namespaces]
    if recipes in ([], [None]):
        return "it was never installed to the end"
    if recipes != [artefact(stack.name).key]:
        return "it was installed from another recipe"
    unready = [
        item["metadata"]["name"]
        for item in objects
        if item["kind"] != "Namespace"
        and item["status"].get("readyReplicas", 0) < item["spec"]["replicas"]
    ]
    return f"not ready: {', '.join(unready)}" if unready else ""


def install(cluster: Cluster, wanted: Sequence[Stack]) -> None:
    """Install stacks whose artefacts were built, and wait until they serve.

    Raises:
        UserError: They do not, after three minutes.
    """
    for stack in wanted:
        cluster.load_image(image(stack))
        _apply(cluster, artefact(stack.name).path / "kinds.yaml")
    for stack in wanted:
        kinds = ("crd", "--selector", f"{_LABEL}={stack.name}")
        _wait(cluster, "Established", *kinds)
        _apply(cluster, artefact(stack.name).path / "objects.yaml")
    for stack in wanted:
        for what in ("deployment", *stack.waits):
            everything = ("--selector", f"{_LABEL}={stack.name}") if "/" not in what else ()
            _wait(cluster, "Available", "--namespace", stack.namespace, what, *everything)
        cluster.kubectl(
            *("label", "--overwrite", "namespace", stack.namespace),
            f"{_RECIPE}={artefact(stack.name).key}",
        )


def _apply(cluster: Cluster, manifests: Path) -> None:
    # On the server's side: kinds are too long to be kept in an annotation, too.
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(manifests))


def _wait(cluster: Cluster, condition: str, *what: str) -> None:
    cluster.kubectl("wait", f"--for=condition={condition}", f"--timeout={_READY_S}s", *what)
