"""Kubernetes' quantities (``8Gi``, ``500m``) and percentages, as numbers."""

from __future__ import annotations

import math

from drainproof.model.shape import ShapeError
from drainproof.patterns import regex

_QUANTITY = regex(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d{1,3})|([KMGTPE]i|[numkMGTPE])?)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}

GIB = 2**30
"""Bytes in one Gi."""


def quantity(value: object, path: str) -> float:
    """Return a quantity as a plain number: bytes for memory, cores for CPU, a count for devices.

    Raises:
        ShapeError: It is no quantity, such as ``8Gib``.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ShapeError(path, "a quantity such as 8Gi", value)
    digits, exponent, suffix = found.groups()
    number = float(digits)
    if suffix in _BINARY:
        return number * 2.0 ** _BINARY[suffix]
    power = int(exponent or _DECIMAL.get(suffix or "", 0))
    return number * 10.0**power if power >= 0 else number / 10.0**-power


def gibibytes(size: float) -> str:
    """Write a number of bytes as ``8 Gi`` or ``64 Mi``."""
    return f"{size / GIB:.4g} Gi" if size >= GIB else f"{size / 2**20:.4g} Mi"


class Share:
    """A count of pods, or a percentage of them: Kubernetes' ``IntOrString``.

    Args:
        value: A whole number, or a string such as ``25%``.
        path: Its field, for the error.

    Raises:
        ShapeError: It is neither.
    """

    __slots__ = ("count", "percent", "written")

    def __init__(self, value: object, path: str) -> None:
        self.percent: int | None = None
        self.count: int | None = None
        self.written = str(value)
        if type(value) is int:
            self.count = value
        elif isinstance(value, str) and value.endswith("%") and value[:-1].isdecimal():
            self.percent = int(value[:-1])
        else:
            raise ShapeError(path, "a whole number or a percentage such as 25%", value)

    def of(self, replicas: int, *, up: bool) -> int:
        """Return how many of ``replicas`` it is; a percentage is rounded ``up`` or down."""
        if self.count is not None:
            return self.count
        product = (self.percent or 0) * replicas
        return -(-product // 100) if up else product // 100
