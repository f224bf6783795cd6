"""Runs of cases on one cluster: a few at a time, those that disturb the others at last."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

    from drainproof.clusters import Cluster


class CaseLike(Protocol):
    """What is known of every case."""

    @property
    def name(self) -> str:
        """Its name, the value of a test's parameter ``name``."""

    @property
    def alone(self) -> bool:
        """Whether it disturbs the others."""


Case = TypeVar("Case", bound=CaseLike)
Run = TypeVar("Run")


class Runs(ABC, Generic[Case, Run]):
    """The runs of cases that tests ask for, begun in their order.

    Args:
        cluster: Where they run; each has its own namespace.
        folder: Where their evidence goes.
        cases: By their names.
        at_once: How many run at a time: each waits more than it works.
    """

    def __init__(
        self, cluster: Cluster, folder: Path, cases: Mapping[str, Case], at_once: int
    ) -> None:
        self.cluster = cluster
        self.folder = folder
        self._cases = cases
        self._pool = ThreadPoolExecutor(at_once)
        self._begun: dict[str, Future[Run]] = {
            case.name: self._pool.submit(self.run, case)
            for case in cases.values()
            if not case.alone
        }

    def __getitem__(self, name: str) -> Run:
        if name not in self._begun:
            wait(self._begun.values())
            self._begun[name] = self._pool.submit(self.run, self._cases[name])
        return self._begun[name].result()

    def close(self) -> None:
        """Let those that have not begun be."""
        self._pool.shutdown(cancel_futures=True)

    @abstractmethod
    def run(self, case: Case) -> Run:
        """Run one case to its end."""


def asked(request: pytest.FixtureRequest, cases: Mapping[str, Case]) -> dict[str, Case]:
    """Return those of the cases that the chosen tests ask for, in their order."""
    found: dict[str, Case] = {}
    for item in request.session.items:
        name = str(getattr(getattr(item, "callspec", None), "params", {}).get("name"))
        if "runs" in getattr(item, "fixturenames", ()) and name in cases:
            found[name] = cases[name]
    return found
