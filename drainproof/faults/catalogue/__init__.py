"""All faults. To add one, put a file beside those here, and its class into :data:`FAULTS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.faults.catalogue.cold_start import ColdStart
from drainproof.faults.catalogue.container_kill import ContainerKill
from drainproof.faults.catalogue.endpoint_lag import EndpointLag
from drainproof.faults.catalogue.evict import Evict
from drainproof.faults.catalogue.force_delete import ForceDelete
from drainproof.faults.catalogue.no_flapping import NoFlapping
from drainproof.faults.catalogue.node_drain import NodeDrain
from drainproof.faults.catalogue.node_loss import NodeLoss
from drainproof.faults.catalogue.pod_delete import PodDelete
from drainproof.faults.catalogue.readiness_flap import ReadinessFlap
from drainproof.faults.catalogue.rollout import Rollout
from drainproof.faults.catalogue.scale_down import ScaleDown
from drainproof.faults.catalogue.scale_from_zero import ScaleFromZero
from drainproof.faults.catalogue.scale_in import ScaleIn
from drainproof.faults.catalogue.scale_out import ScaleOut
from drainproof.faults.catalogue.scale_up import ScaleUp
from drainproof.faults.catalogue.scaler_outage import ScalerOutage

if TYPE_CHECKING:
    from drainproof.faults.fault import Fault

FAULTS: dict[str, type[Fault]] = {
    fault.name: fault
    for fault in (
        Rollout,
        ScaleDown,
        ScaleUp,
        PodDelete,
        Evict,
        NodeDrain,
        EndpointLag,
        ReadinessFlap,
        ScaleOut,
        ScaleIn,
        NoFlapping,
        ScalerOutage,
        ColdStart,
        ScaleFromZero,
        ContainerKill,
        ForceDelete,
        NodeLoss,
    )
}
"""By name, the gentle ones first: in this order they are done where the user gives none."""
