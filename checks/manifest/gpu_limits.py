"""The engine's container is given its GPUs, in whole numbers.

What it checks
    The container that runs the engine has a limit of at least one accelerator: ``nvidia.com/gpu``,
    a MIG slice, another vendor's resource, or a resource claim (DRA). Its requests, if it has any,
    equal its limits. Engines that run on a CPU need none.

Why
    Without a limit the pod lands on any node, where the engine finds no GPU and exits, again and
    again; or it uses GPUs that the scheduler takes for free, and runs out of their memory. A limit
    on another container of the pod gives the engine nothing. The API server refuses fractions, and
    requests that differ from limits, so a rollout stops there.

Fix
    Set ``resources.limits`` of the engine's container to the GPUs that it needs, such as
    ``nvidia.com/gpu: 1``. Leave requests out: Kubernetes copies them from the limits.

Source
    Module 1.5, all its deployments. Kubernetes' documentation, "Schedule GPUs": limits without
    requests, or both equal; whole numbers only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import accelerators as model
from drainproof.model.shape import join

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.model.accelerators import Accelerators
    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload


@check("DP303", severity=Severity.ERROR)
def engine_has_gpus(
    workload: Workload, engine: Engine, container: Container, accelerators: Accelerators
) -> Iterator[Finding]:
    """Yield what leaves the engine without a GPU, or the pod refused."""
    if accelerators.fractions or "requests" in (container.raw.get("resources") or ()):
        refused = [*_fractions(workload, container, accelerators), *_requests(workload, container)]
        yield from refused
        if refused:
            return
    if accelerators.devices or accelerators.claims or accelerators.portioned or accelerators.cpu:
        return
    if not workload.complete or workload.role.startswith(("head", "leader")):
        return  # a group's first pod may leave the GPUs to its others
    path = f"{container.path}.resources.limits"
    if accelerators.elsewhere:
        others = ", ".join(accelerators.elsewhere)
        yield workload.finding(
            path,
            f"the pod's GPUs are given to the container {others}, not to {container.name}, which "
            f"runs {engine.title}: it finds no GPU and exits at start",
        )
    elif accelerators.uncounted:
        yield workload.finding(
            path,
            f"no GPU limit, but {accelerators.uncounted}: the engine uses GPUs that the scheduler "
            "takes for free, so another pod on the node can make it run out of GPU memory",
            Severity.WARNING,
        )
    elif engine.name == "triton":
        yield workload.assumption(path, "no GPU limit, so it is taken for a Triton on CPUs")
    else:
        yield workload.finding(
            path,
            f"no GPU limit, and nothing shows that {engine.title} runs on a CPU here: it lands on "
            "any node, finds no GPU and exits at start, so no replica ever serves",
        )


def _fractions(
    workload: Workload, container: Container, accelerators: Accelerators
) -> Iterator[Finding]:
    """Yield limits that are no whole numbers."""
    for device in model.devices_of(container):
        if device.path in accelerators.fractions:
            written = container.raw["resources"]["limits"][device.resource]
            yield workload.finding(
                device.path,
                f"{device.resource}: {written} is no whole number: the API server refuses the pod, "
                "so a rollout stops there",
            )


def _requests(workload: Workload, container: Container) -> Iterator[Finding]:
    """Yield requests that the API server refuses."""
    limits = {device.resource: device.count for device in model.devices_of(container)}
    for device in model.devices_of(container, "requests"):
        limit = limits.get(device.resource)
        if limit is None:
            path = join(f"{container.path}.resources.limits", device.resource)
            yield workload.finding(
                path,
                f"{device.resource} is requested ({device.count}) and not limited: the API server "
                "refuses the pod, so a rollout stops there",
                repair={path: device.count},
            )
        elif limit != device.count:
            yield workload.finding(
                device.path,
                f"{device.resource} is requested {device.count} times and limited to {limit}: the "
                "API server refuses the pod, so a rollout stops there",
            )
