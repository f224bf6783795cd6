"""Which accelerators an engine's pod is given, whoever made them, and how many the engine takes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from drainproof.model import arguments, shape
from drainproof.model.engine import ONE_RANK
from drainproof.model.finding import Located, Origin, named
from drainproof.model.quantity import GIB, quantity
from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.placement import Placement
    from drainproof.model.shape import Raw
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

_VENDORS: dict[str, tuple[str, tuple[str, ...]]] = {
    "nvidia.com": ("NVIDIA", ("gpu", "mig-", "pgpu")),  # others of theirs are network cards
    "amd.com": ("AMD", ("gpu", "cpx", "spx", "dpx", "qpx")),
    "gpu.intel.com": ("Intel", ("i915", "xe")),
    "habana.ai": ("Habana", ("gaudi",)),
    "aws.amazon.com": ("AWS", ("neuron",)),
    "google.com": ("Google", ("tpu",)),
    "huawei.com": ("Huawei", ("ascend", "npu")),
    "cambricon.com": ("Cambricon", ("mlu", "real-mlu")),
    "hygon.com": ("Hygon", ("dcu",)),
    "kunlunxin.com": ("Kunlunxin", ("xpu", "vxpu")),
    "enflame.com": ("Enflame", ("gcu", "shared-gcu")),
    "qualcomm.com": ("Qualcomm", ("qaic",)),
    "furiosa.ai": ("Furiosa", ("",)),
    "rebellions.ai": ("Rebellions", ("",)),
    "tenstorrent.com": ("Tenstorrent", ("",)),
}
"""Vendor and the beginnings of its resources' names, by the domain of its device plugin."""

_AMOUNT = regex(r"mem|vcore|gpucores?$|gpu-core|millicores|tiles|percentage|ratio|monitoring")
_MIG = regex(r"mig-\d+g\.(\d+)gb")
_CPU = regex(r"(?:^|[-_./:])cpu(?:$|[-_.:/@\d])")
_CPU_ENV = ("VLLM_CPU_KVCACHE_SPACE", "VLLM_CPU_OMP_THREADS_BIND", "VLLM_CPU_NUM_OF_RESERVED_CPU")
_OWN_RUNTIMES = ("nvidia", "nvidia-cdi", "nvidia-legacy", "amd")
_DRA_CLASSES = ("gpu", "mig", "tpu", "neuron", "gaudi", "npu", "xpu")
_TRUE = frozenset({"1", "true", "yes", "on"})


class DeviceKind(Struct, frozen=True):
    """What an extended resource stands for."""

    vendor: str
    """``NVIDIA``, ``AMD`` …; empty if it isn't known."""
    shared: bool
    """Whether one is a part of a device that others use too: a MIG slice, a time-sliced GPU."""
    mig: bool
    amount: bool
    """Whether its number is no count of devices: memory, cores, per cent."""
    comparable: bool
    """Whether one of it holds one process of tensor parallelism. A Neuron device has 2 to 8
    cores, and a process takes a core."""
    memory: float | None
    """Bytes of each, where the name says so."""


class Device(Struct, frozen=True):
    """An accelerator resource that a container asks for."""

    resource: str
    """As it is written: ``nvidia.com/gpu``."""
    path: str
    """Its field path."""
    count: int
    kind: DeviceKind


class Accelerators(Struct, frozen=True):
    """The accelerators of a workload's pods, as its engine sees them."""

    devices: tuple[Device, ...]
    """What the engine's container is given, by resource; amounts of memory or cores left out."""
    claims: tuple[str, ...]
    """Resource claims (DRA) that the engine's container uses, by their name in the pod."""
    count: int | None
    """Devices that the engine's container gets, claimed ones too; None if that can't be told."""
    fractions: tuple[str, ...]
    """Field paths of limits that are no whole numbers."""
    elsewhere: tuple[str, ...]
    """Other containers of the pod that ask for accelerators, by name."""
    portioned: bool
    """Whether it gets a portion of each device: MIG, time slices, a share of its memory."""
    cpu: str
    """What shows that the engine runs on a CPU, in words; empty if nothing does."""
    uncounted: str
    """How it reaches GPUs that the scheduler doesn't count, in words; empty if it doesn't."""

    @property
    def written(self) -> str:
        """What it is given, as people write it: ``2 x nvidia.com/gpu``."""
        return " and ".join(f"{device.count} x {device.resource}" for device in self.devices)


NONE = Accelerators((), (), 0, (), (), portioned=False, cpu="", uncounted="")
"""What a pod without any is given."""


class DeviceClaim(Located, frozen=True, kw_only=True):
    """A ResourceClaim or a ResourceClaimTemplate."""

    requests: Mapping[str, int | None]
    """Accelerators by the request's name; None if the request takes all, or one of several."""

    @classmethod
    def from_object(cls, obj: Raw, origin: Origin | None = None) -> DeviceClaim:
        """Read a claim, or a template of one, of any version of ``resource.k8s.io``.

        Raises:
            ShapeError: A field holds another type than Kubernetes wants.
        """
        path, spec = "spec", shape.mapping(obj, "spec", "")
        if obj.get("kind") == "ResourceClaimTemplate":
            path, spec = "spec.spec", shape.mapping(spec, "spec", "spec")
        devices = shape.mapping(spec, "devices", path)
        requests: dict[str, int | None] = {}
        for index, request in enumerate(shape.mappings(devices, "requests", f"{path}.devices")):
            where = f"{path}.devices.requests[{index}]"
            name = shape.text(request, "name", where)
            exactly = shape.mapping(request, "exactly", where) or request
            if "firstAvailable" in request:
                requests[name] = None
                continue
            device_class = shape.text(exactly, "deviceClassName", where).lower()
            if not any(word in device_class for word in _DRA_CLASSES):
                continue
            everything = shape.text(exactly, "allocationMode", where) == "All"
            requests[name] = None if everything else shape.integer(exactly, "count", where, 1)
        return cls(**named(obj), object=obj, origin=origin, requests=requests)


class Spread(Struct, frozen=True):
    """Over how many accelerators an engine spreads its model."""

    in_pod: int | None
    """Those of its own pod that it takes; None if that can't be told."""
    across: bool
    """Whether it may take those of other pods too (Ray, MPI)."""
    written: str
    """The product, as people write it: ``tensor parallelism 2 x pipeline parallelism 2``."""


_SIZES = frozenset(
    {
        "--pipeline-parallel-size",
        "-pp",
        "--pp-size",
        "--pp",
        "--data-parallel-size",
        "-dp",
        "--dp-size",
        "--dp",
        "--data-parallel-size-local",
        "-dpl",
        "--prefill-context-parallel-size",
        "-pcp",
        "--cp-size",
        "--nnodes",
        "--tensor-parallel-size",
        "-tp",
        "--tp-size",
        "--tp",
        "--num-shard",
    }
)
"""Flags whose number spreads an engine over several accelerators."""
_SPREADING = _SIZES | {"--distributed-executor-backend", "--data-parallel-backend", "-dpb"}
_UNTOLD = Spread(None, across=False, written="")
_ONE = Spread(1, across=False, written="tensor parallelism 1")


@lru_cache(maxsize=512)
def kind_of_device(resource: str) -> DeviceKind | None:
    """Return what an extended resource stands for; None if it is no accelerator."""
    domain, slash, name = resource.partition("/")
    if not slash:
        return None
    name = name.lower()
    vendor, beginnings = _VENDORS.get(domain, ("", ()))
    known = name.startswith(beginnings) if vendor else "gpu" in name
    if not known:
        return None
    core = "neuroncore" in name
    mig = _MIG.search(name) if "mig-" in name else None
    return DeviceKind(
        vendor=vendor,
        shared=mig is not None or "shared" in name or "vgpu" in name,
        mig="mig-" in name,
        amount=not core and bool(_AMOUNT.search(name)),
        comparable=vendor != "AWS" or core,
        memory=int(mig[1]) * float(GIB) if mig else None,
    )


def devices_of(container: Container, field: str = "limits") -> tuple[Device, ...]:
    """Return the accelerators in a container's ``limits`` or ``requests``, amounts too.

    Raises:
        ShapeError: A count is no quantity.
    """
    if not container.raw.get("resources"):
        return ()
    resources = shape.mapping(container.raw, "resources", container.path)
    path = f"{container.path}.resources.{field}"
    return _devices(path, shape.mapping(resources, field, f"{container.path}.resources"))


def _devices(path: str, wanted: Raw) -> tuple[Device, ...]:
    found = []
    for resource, count in wanted.items():
        kind = kind_of_device(resource) if "/" in resource else None
        if kind is not None and count is not None:
            where = shape.join(path, resource)
            found.append(Device(resource, where, int(quantity(count, where)), kind))
    return tuple(found)


def of(snapshot: Snapshot, workload: Workload) -> Accelerators:
    """Return the accelerators of a workload's pods.

    Raises:
        ShapeError: A field holds another type than Kubernetes wants.
    """
    container, engine = workload.container, workload.engine
    if container is None or engine is None:
        return NONE
    resources = shape.mapping(container.raw, "resources", container.path)
    limits = shape.mapping(resources, "limits", container.path)
    try:
        given = _given(container.path, tuple(limits.items()))
    except TypeError:  # a value that is no quantity
        given = _read(container.path, limits)
    if "claims" in resources:
        claims, claimed = _claims(snapshot, workload, container)
        count = None if claimed is None or given.count is None else given.count + claimed
        given = replace(given, claims=claims, count=count)
    if len(workload.containers) > 1 or "initContainers" in workload.pod_spec:
        given = replace(given, elsewhere=_elsewhere(workload, container))
    if given.devices or given.claims or given.portioned:
        return (
            replace(given, cpu="--device cpu") if engine.flags.get("--device") == "cpu" else given
        )
    cpu = _cpu(container, engine)
    return replace(given, cpu=cpu, uncounted="" if cpu else _uncounted(workload, container))


@lru_cache(maxsize=4096)
def _given(path: str, limits: tuple[tuple[str, object], ...]) -> Accelerators:
    """Return what limits give; most workloads of a cluster have the same few."""
    return _read(path, dict(limits))


def _read(path: str, limits: Raw) -> Accelerators:
    path = f"{path}.resources.limits"
    asked = _devices(path, limits)
    devices = tuple(device for device in asked if device.count > 0 and not device.kind.amount)
    amounts = any(device.count > 0 and device.kind.amount for device in asked)
    return replace(
        NONE,
        devices=devices,
        count=sum(device.count for device in devices),
        fractions=tuple(
            device.path
            for device in asked
            if type(limits[device.resource]) is not int
            and quantity(limits[device.resource], device.path) != device.count
        ),
        portioned=amounts or any(device.kind.shared for device in devices),
    )


def _elsewhere(workload: Workload, container: Container) -> tuple[str, ...]:
    """Return the other containers of the pod that ask for accelerators."""
    return tuple(
        other.name
        for other in (*workload.containers, *workload.init_containers)
        if other is not container and any(device.count > 0 for device in devices_of(other))
    )


def spread_of(engine: Engine, container: Container) -> Spread:
    """Return over how many accelerators an engine's flags spread the model."""
    name = engine.name
    if name in {"triton", "nim"}:
        return _UNTOLD
    if engine.tensor_parallel == 1 and _SPREADING.isdisjoint(engine.flags):
        return _ONE
    if engine.flag("--distributed-executor-backend") == "external_launcher":
        return _UNTOLD
    if any(not engine.flags[name].isdecimal() for name in _SIZES & engine.flags.keys()):
        return _UNTOLD
    tensor, pipeline, nodes = engine.tensor_parallel, engine.pipeline_parallel, engine.nodes
    context = _count(engine, "--prefill-context-parallel-size", "-pcp", "--cp-size")
    local = _data_parallel(engine)
    if name == "tgi" and arguments.setting(engine, container, "--sharded") == "false":
        tensor = 1
    if not (tensor and pipeline and context and local and nodes):
        return _UNTOLD
    in_pod = max(tensor * pipeline * context * local // nodes, 1)
    factors = (
        ("tensor parallelism", tensor),
        ("pipeline parallelism", pipeline),
        ("context parallelism", context),
        ("data parallelism", local),
    )
    said = " x ".join(f"{what} {size}" for what, size in factors if size > 1)
    said = f"{said} over {nodes} nodes" if nodes > 1 else said
    ray = "ray" in {
        engine.flag("--distributed-executor-backend"),
        engine.flag("--data-parallel-backend", "-dpb"),
    }
    return Spread(in_pod, across=ray, written=said or "tensor parallelism 1")


def _data_parallel(engine: Engine) -> int | None:
    """Return how many copies of the model the pod holds; None if that can't be told."""
    if engine.name == "sglang":
        # data-parallel attention divides the tensor-parallel group, and adds no GPU
        return 1 if engine.flag_on("--enable-dp-attention") else engine.data_parallel
    if engine.flag("--data-parallel-size-local", "-dpl"):
        local = _count(engine, "--data-parallel-size-local", "-dpl")
    else:
        local = 1 if not ONE_RANK.isdisjoint(engine.flags) else engine.data_parallel
    both = engine.nodes > 1 and local != engine.data_parallel
    return None if both else local


def _count(engine: Engine, *names: str) -> int | None:
    """Return a flag's whole number, 1 if it is not set; None if its value can't be told."""
    written = engine.flag(*names)
    if not written:
        return 1
    return int(written) if written.isdecimal() and len(written) < 6 else None  # noqa: PLR2004 - no cluster has more


def _cpu(container: Container, engine: Engine) -> str:
    if engine.flag("--device") == "cpu":
        return "--device cpu"
    image = container.image
    if "cpu" in image and _CPU.search(image):
        return f"image {image}"
    env = container.env
    for name in _CPU_ENV:
        if name in container.env_names:
            return name
    if env.get("VLLM_TARGET_DEVICE") == "cpu":
        return "VLLM_TARGET_DEVICE=cpu"
    if env.get("SGLANG_USE_CPU_ENGINE", "").lower() in _TRUE:
        return "SGLANG_USE_CPU_ENGINE"
    return ""


def _uncounted(workload: Workload, container: Container) -> str:
    runtime = workload.pod_spec.get("runtimeClassName")
    if runtime in _OWN_RUNTIMES:
        return f"runtimeClassName: {runtime}"
    visible = container.env.get("NVIDIA_VISIBLE_DEVICES", "")
    if visible and visible not in {"none", "void"}:
        return f"NVIDIA_VISIBLE_DEVICES={visible}"
    return ""


def _claims(
    snapshot: Snapshot, workload: Workload, container: Container
) -> tuple[tuple[str, ...], int | None]:
    """Return the claims that a container uses, and how many accelerators they give."""
    resources = container.raw.get("resources")
    if not isinstance(resources, dict) or not resources.get("claims"):
        return (), 0
    used = shape.mappings(resources, "claims", f"{container.path}.resources")
    pod_claims = {
        shape.text(item, "name", f"{workload.pod_path}.resourceClaims"): item
        for item in shape.mappings(workload.pod_spec, "resourceClaims", workload.pod_path)
    }
    names, total = [], 0
    known = True
    for item in used:
        name = shape.text(item, "name", f"{container.path}.resources.claims")
        names.append(name)
        claim = _written_claim(snapshot, workload, pod_claims.get(name) or {})
        counts = claim.requests if claim else {"": None}
        only = shape.text(item, "request", f"{container.path}.resources.claims")
        for count in [counts.get(only)] if only else counts.values():
            known = known and count is not None
            total += count or 0
    return tuple(names), total if known else None


def _written_claim(snapshot: Snapshot, workload: Workload, item: Raw) -> DeviceClaim | None:
    index = snapshot.join(_claim_index)
    for field, kind in (
        ("resourceClaimTemplateName", "ResourceClaimTemplate"),
        ("resourceClaimName", "ResourceClaim"),
    ):
        for claim in index.get((kind, str(item.get(field, ""))), ()):
            spaces = {claim.namespace, workload.namespace}
            if len(spaces) == 1 or "" in spaces:
                return claim
    return None


def _claim_index(snapshot: Snapshot) -> dict[tuple[str, str], list[DeviceClaim]]:
    found: Iterable[DeviceClaim] = (
        claim
        for kind in ("ResourceClaimTemplate", "ResourceClaim")
        for claim in snapshot.read("resource.k8s.io", kind, DeviceClaim.from_object)
    )
    index: dict[tuple[str, str], list[DeviceClaim]] = {}
    for claim in found:
        index.setdefault((claim.kind, claim.name), []).append(claim)
    return index


_PRODUCT_LABELS = frozenset(
    {
        "nvidia.com/gpu.product",
        "cloud.google.com/gke-accelerator",
        "karpenter.k8s.aws/instance-gpu-name",
        "k8s.amazonaws.com/accelerator",
    }
)
"""Labels that say which GPU a node has."""
_PRODUCTS = (
    ("b200", 192),
    ("h200", 141),
    ("h100-nvl", 94),
    ("h100", 80),
    ("a100", 40),
    ("l40", 48),
    ("a10", 24),
    ("l4", 24),
    ("a6000", 48),
    ("t4", 16),
    ("v100", 32),
    ("p100", 16),
    ("mi300x", 192),
)
"""GB of memory by a part of the product's name, where the name doesn't say them itself; of several
sizes the largest that is sold without its size in the name."""
_SIZE_IN_NAME = regex(r"(\d{2,3})gb(?![a-z])")


@lru_cache(maxsize=128)
def memory_of_product(product: str) -> float | None:
    """Return the bytes of a GPU at most, by its product's name; None if it isn't known."""
    name = product.lower()
    sized = _SIZE_IN_NAME.search(name)
    if sized:
        return int(sized[1]) * float(GIB)
    return next((size * float(GIB) for part, size in _PRODUCTS if part in name), None)


def memory_of(accelerators: Accelerators, placement: Placement) -> tuple[float, str]:
    """Return the bytes of each of a container's accelerators at most, and what tells it.

    0 if nothing tells it, or if nodes of unknown products are selected too.
    """
    first, *others = accelerators.devices
    if first.kind.memory and not others:
        return first.kind.memory, first.resource
    if not (placement.selector or placement.terms):
        return 0.0, ""
    largest, said = 0.0, ""
    for way in placement.demands():
        products = [
            value
            for one in way
            if one.key in _PRODUCT_LABELS and one.operator == "In"
            for value in one.values
        ]
        sizes = [memory_of_product(product) for product in products]
        if not sizes or None in sizes:
            return 0.0, ""
        for size, product in zip(sizes, products, strict=True):
            if size is not None and size > largest:
                largest, said = size, product
    return largest, said
