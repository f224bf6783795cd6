"""Eviction, as ``kubectl drain`` does it: a PodDisruptionBudget that refuses is respected."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from drainproof.faults.api import NOT_FOUND, ApiError
from drainproof.faults.consent import Need

if TYPE_CHECKING:
    from drainproof.faults.fault import Fault

REFUSED = 429
"""HTTP status with which the Eviction API says that a budget refuses."""
NEEDS = (Need("create", "Pod", "eviction"),)
_AGAIN_S = 2.0


def evict(fault: Fault, pod: str, namespace: str = "") -> str:
    """Evict a pod; ask again while a budget refuses. Return why it could not be, or nothing.

    Raises:
        ApiError: The API server refused for another reason.
    """
    give_up = time.monotonic() + fault.timeout_s
    while True:
        said = refusal(fault, pod, namespace)
        if not said:
            return ""
        left = give_up - time.monotonic()
        if left <= 0:
            return f"a PodDisruptionBudget refused to evict pod/{pod}: {said}"
        fault.view.wait(lambda: False, min(_AGAIN_S, left), fault.check)


def refusal(fault: Fault, pod: str, namespace: str = "") -> str:
    """Ask once for an eviction; return what the budget that refuses says, or nothing.

    Raises:
        ApiError: The API server refused for another reason.
    """
    try:
        fault.api.evict(namespace or fault.target.namespace, pod)
    except ApiError as error:
        if error.status == NOT_FOUND:  # gone already
            return ""
        if error.status != REFUSED:
            raise
        return error.message
    return ""
