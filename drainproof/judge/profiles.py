"""The numbers that checks use, in one place, by profile."""

from __future__ import annotations

from dataclasses import dataclass, replace

from drainproof.errors import UserError
from drainproof.model.quantity import GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a deployment is held to. Times are in seconds, sizes in bytes."""

    name: str
    grace_period_min_s: int = 120
    """Module 1.5: 120 to 180 s for LLM serving pods."""
    grace_period_long_s: int = 600
    """Over this a node drain waits longer than cluster upgrades usually allow."""
    drain_min_s: int = 30
    """Module 1.5: a response of 2,000 tokens takes 30 to 60 s."""
    prestop_min_s: float = 5
    """Module 1.5: ``sleep 5``, the least that may pass."""
    prestop_good_s: float = 15
    """KServe's and llm-d's value; endpoints take that long to leave slow load balancers."""
    startup_min_s: int = 120
    """Module 1.5: ``initialDelaySeconds`` of at least 120 while the model loads."""
    startup_good_s: int = 300
    """Module 1.5: a cold start takes 1 to 5 minutes. References ship 600 s and more."""
    liveness_patience_min_s: int = 30
    """Kubernetes' own default of 3 probes, 10 s apart: a busy engine may miss one or two."""
    shared_memory_min: int = 4 * GIB
    """Module 1.5: its smallest example."""
    shared_memory_max: int = 16 * GIB
    """Module 1.5: its largest example, which is for tensor parallelism."""
    needs_scaler: bool = True
    """Whether a workload must have an autoscaler."""


_PRODUCTION = Profile(name="production")

PROFILES: dict[str, Profile] = {
    "production": _PRODUCTION,
    # Cut-off answers annoy developers too, but nobody waits for a long one or for a spare replica.
    "dev": replace(
        _PRODUCTION,
        name="dev",
        grace_period_min_s=60,
        prestop_good_s=5,
        startup_good_s=120,
        needs_scaler=False,
    ),
    # The module's own numbers, where they are less strict than what was learned since.
    "module": replace(_PRODUCTION, name="module", prestop_good_s=5, startup_good_s=120),
}


def profile(name: str) -> Profile:
    """Return a profile by name.

    Raises:
        UserError: There is none of that name.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise UserError(f"expected a profile ({', '.join(PROFILES)}), found {name!r}") from None
