"""Policies, services and arrivals to change in one place per test."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from drainproof.model.scaler import Pace
from drainproof.model.scaler import Policy as Rule
from drainproof.simulate.arrivals import Arrivals, of_lengths, poisson
from drainproof.simulate.fleet import Service
from drainproof.simulate.policy import Policy
from drainproof.simulate.run import simulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drainproof.simulate.series import Series

SERVICE = Service(concurrency=4, tokens_per_second=10, cold_start_s=60)
POLICY = Policy(least=1, most=10, threshold=5)


def pace(*rules: tuple[str, int, int], window_s: int = 0, select: str = "Max") -> Pace:
    """Return a pace of policies (type, value, periodSeconds)."""
    return Pace("", window_s, True, select, tuple(Rule("", *rule) for rule in rules), True)  # noqa: FBT003 - that both are written


def at(*times: float, tokens: float = 100) -> Arrivals:
    """Return requests at these times."""
    return of_lengths(array("d", times), tokens, "fixed", 0)


def load(rate: float, duration_s: float, *, tokens: float = 100, seed: int = 0) -> Arrivals:
    """Return requests at random."""
    return of_lengths(poisson(rate, duration_s, (), seed), tokens, "fixed", seed)


def run(
    arrivals: Arrivals | Sequence[float],
    duration_s: float,
    *,
    seed: int = 0,
    **changed: Any,  # noqa: ANN401 - fields, by their names
) -> Series:
    """Return a run; ``changed`` are fields of the policy or of the service, or ``replicas``."""
    requests = arrivals if isinstance(arrivals, Arrivals) else at(*arrivals)
    replicas = changed.pop("replicas", None)
    of_service = {key: changed.pop(key) for key in list(changed) if hasattr(SERVICE, key)}
    return simulate(
        replace(POLICY, **changed),
        replace(SERVICE, **of_service),
        requests,
        duration_s=duration_s,
        replicas=replicas,
        seed=seed,
    )
