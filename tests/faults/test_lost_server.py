"""The API server goes away in the middle of a run: what was changed is undone when it is back."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from drainproof.errors import UserError
from drainproof.faults import journal as journal_module
from drainproof.faults import lease as lease_module
from drainproof.faults.plan import parse
from drainproof.faults.restore import restore_with
from drainproof.faults.run import run_on
from drainproof.faults.undo import digest
from drainproof.judge.verdict import Verdict
from drainproof.progress import NoProgress
from tests.faults.doing import keda, state
from tests.faults.fake import NAMESPACE, FakeCluster, _Handler
from tests.faults.runner import plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Lost(_Handler):
    """Hangs up without an answer while the cluster is lost."""

    lost = threading.Event()

    def parse_request(self) -> bool:
        if self.lost.is_set():
            self.close_connection = True
            return False
        return super().parse_request()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """A cluster that is lost as soon as the target was changed, and whose rollout gets stuck."""
    monkeypatch.setattr("tests.faults.fake._Handler", Lost)
    monkeypatch.setattr(journal_module, "_PAUSE_S", 0.02)
    monkeypatch.setattr("drainproof.faults.catalogue.scaler_outage.SETTLE_S", 0.1)
    Lost.lost.clear()
    with FakeCluster() as running:
        running.stuck = True

        def lose(_number: int) -> None:
            if "deployments" in running.writes[-1]:
                running.after_write = lambda _number: None
                Lost.lost.set()

        running.after_write = lose
        yield running
        Lost.lost.clear()


def come_back_soon() -> None:
    """Let the cluster be found again a second after it is lost."""

    def come_back() -> None:
        if Lost.lost.wait(30):
            threading.Timer(1, Lost.lost.clear).start()

    threading.Thread(target=come_back, daemon=True).start()


def test_one_that_is_back_soon_is_waited_for(cluster: FakeCluster, tmp_path: Path) -> None:
    before = digest(cluster.template)

    come_back_soon()
    verdict, _ = run_on(cluster.api, plan(tmp_path, timeout_s=1.5), NoProgress())
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert digest(cluster.template) == before
    assert cluster.residue() == []


def test_what_an_outage_took_away_comes_back_with_it(cluster: FakeCluster, tmp_path: Path) -> None:
    keda(cluster)
    before = state(cluster)
    come_back_soon()
    faults = (parse("scaler-outage:for=5,timeout=20"),)
    verdict, _ = run_on(cluster.api, plan(tmp_path, faults=faults), NoProgress())
    assert verdict.faults[0].completed
    assert state(cluster) == before
    assert cluster.residue() == []


def test_one_that_stays_away_leaves_a_journal_that_restore_undoes(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(lease_module, "_RENEW_S", 0.1)
    monkeypatch.setattr(lease_module, "DURATION_S", 1.0)
    before = digest(cluster.template)
    with pytest.raises(UserError, match="not everything could be undone") as caught:
        run_on(cluster.api, plan(tmp_path), NoProgress())
    assert "drainproof restore --context fake" in caught.value.hint
    Lost.lost.clear()
    monkeypatch.setattr("drainproof.faults.restore.is_dead", lambda *_, **__: True)
    said: list[str] = []
    assert restore_with(cluster.api, "fake", NAMESPACE, None, said.append), said
    assert digest(cluster.template) == before
    assert cluster.residue() == []
