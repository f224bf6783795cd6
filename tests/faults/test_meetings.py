"""A fault is over only when each pod that there is then has surely met a new request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.faults.fault import MEETINGS, MISSED, Fault, Wanted, meetings
from drainproof.faults.observe import View
from drainproof.streams.history import Pod, Sent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READY = 4


class Arrival(Fault):
    """A pod that is there at once."""

    name = "arrival"

    def setup(self) -> None:
        """Needs nothing."""

    def touches(self) -> tuple[str, ...]:
        return ()

    def act(self) -> str:
        for _ in range(meetings(READY)):
            send(self.view)  # while it was not there yet
        return ""


def send(view: View) -> None:
    view.add(Sent(id="0-0", due=0.0, sent=0.0))


@pytest.fixture
def view(tmp_path: Path) -> Iterator[View]:
    found = View(tmp_path / "history")
    for name in map(str, range(READY)):
        pod = {"name": name, "uid": name, "node": "", "phase": "Running", "ready": True}
        found.add(
            Pod(at=0.0, event="ADDED", deletion_at=None, grace_s=None, containers=[], **pod)  # type: ignore[arg-type]
        )
    yield found
    found.close()


@pytest.mark.parametrize("pods", range(2, 40))
def test_no_fewer_requests_than_are_needed_for_each_pod_to_get_one(pods: int) -> None:
    missed = 1 - 1 / pods
    few = meetings(pods)
    assert missed**few <= MISSED < missed ** (few - 1)


@pytest.mark.parametrize("pods", [0, 1])
def test_a_single_pod_meets_all_of_them(pods: int) -> None:
    assert meetings(pods) == MEETINGS


@pytest.mark.parametrize(("more", "ends"), [(0, False), (1, True)])
def test_only_requests_that_come_afterwards_count(view: View, more: int, *, ends: bool) -> None:
    fault = Arrival(None, None, Wanted(name="arrival", timeout_s=0.2))  # type: ignore[arg-type]
    left = [send] * (meetings(READY) - 1 + more)

    def check() -> None:
        while left:
            left.pop()(view)

    class Journal:
        mark = 0

    assert fault.invoke(Journal(), view, check) is ends  # type: ignore[arg-type]
