"""Rules and the dashboard ask for metrics that there are, in queries that can be parsed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from drainproof.install import monitoring
from drainproof.install.objects import documents
from drainproof.install.settings import Settings
from drainproof.model import promql
from drainproof.report import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

KNOWN = {*metrics.HELP, *monitoring.RECORDS}
RULES = [rule for group in monitoring.groups(10800) for rule in group["rules"]]
PANELS = monitoring.dashboard()["panels"]
QUERIES = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in PANELS for target in panel["targets"]
]
LABELS = {*metrics.LABELS, "namespace"}
_DURATION = re.compile(r"\d+[smhd]")


def wrong(query: str) -> Iterable[str]:
    """Yield what keeps a query from having an answer."""
    plain = query.replace('"$namespace"', '".*"')
    try:
        promql.parser().parse(plain)
    except ValueError as error:
        yield str(error)
        return
    found = promql.parse(plain)
    yield from (name for name in found.metrics if name not in KNOWN)
    for selector in found.selectors:
        yield from (one.label for one in selector.matchers if one.label not in LABELS)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_metrics_that_there_are(query: str) -> None:
    assert list(wrong(query)) == []
    assert promql.parse(query.replace('"$namespace"', '".*"')).metrics != ()


@pytest.mark.parametrize(
    "query",
    ["sum(drainproof_finding)", "sum(drainproof_findings", 'drainproof_findings{severty="error"}'],
)
def test_a_query_without_an_answer_is_seen(query: str) -> None:
    assert list(wrong(query)) != []


def test_each_alert_says_what_how_bad_and_how_long() -> None:
    alerts = [rule for rule in RULES if "alert" in rule]
    assert len(alerts) == 4
    for rule in alerts:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert _DURATION.fullmatch(rule["for"])
        assert rule["annotations"]["summary"]
        kept = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert all(label in rule["expr"].partition(")")[0] for label in kept)


def test_how_old_the_last_audit_may_be_is_a_setting() -> None:
    (stale,) = [rule for rule in RULES if rule.get("alert") == "DrainproofAuditStale"]
    assert "> 10800 " in stale["expr"]
    other = monitoring.groups(60)[1]["rules"][-1]
    assert "> 60 " in other["expr"]


def test_the_dashboard_is_json_in_a_config_map_for_grafanas_sidecar() -> None:
    (board,) = [
        item.object for item in documents(Settings()) if item.key[2] == "drainproof-dashboard"
    ]
    found: dict[str, Any] = orjson.loads(board["data"]["drainproof.json"])
    assert found == monitoring.dashboard()
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"


def overlaps(panels: list[dict[str, Any]]) -> bool:
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        if cells & taken or at["x"] + at["w"] > 24:
            return True
        taken |= cells
    return False


def test_no_panel_hides_another() -> None:
    assert not overlaps(PANELS)
    assert overlaps([*PANELS, PANELS[0]])
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
