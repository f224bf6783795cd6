"""Recording and alert rules, and a Grafana dashboard, on the metrics of ``--format metrics``."""

from __future__ import annotations

from typing import Any

BY_SEVERITY = "drainproof:findings:by_severity"
WITH_ERRORS = "drainproof:workloads_with_errors:count"
AGE = "drainproof:audit_age_seconds"
_FAILED = 'drainproof_findings{verdict="fail"}'
_DOCS = "drainproof rules CHECK explains a check and its fix."

RECORDS = {
    BY_SEVERITY: f"sum by (namespace, severity) ({_FAILED})",
    WITH_ERRORS: (
        'count(sum by (workload) (drainproof_findings{verdict="fail", severity="error"})) '
        "or vector(0)"
    ),
    AGE: "time() - max(drainproof_audit_timestamp_seconds)",
}
"""Each recorded metric, and the query that makes it."""


def groups(stale_after_s: int | str) -> list[dict[str, Any]]:
    """Return the groups of a PrometheusRule, which a plain rule file has, too.

    Args:
        stale_after_s: Seconds without an audit after which an alert fires; a text stands for a
            value of the chart.
    """
    records = [{"record": name, "expr": query} for name, query in RECORDS.items()]
    alerts = [
        _alert(
            "DrainproofCutsStreams",
            'sum by (namespace, workload) (drainproof_findings{verdict="fail", severity="error"})'
            " > 0",
            "15m",
            "critical",
            "{{ $labels.workload }} has {{ $value }} findings that cut off answers",
        ),
        _alert(
            "DrainproofCannotTell",
            'sum by (namespace, workload) (drainproof_findings{verdict="inconclusive"}) > 0',
            "1d",
            "warning",
            "{{ $value }} checks on {{ $labels.workload }} could not be decided for a day",
        ),
        _alert(
            "DrainproofAuditIncomplete",
            "max(drainproof_audit_problems) > 0",
            "0m",
            "warning",
            "{{ $value }} parts of the cluster could not be read, and were not audited",
        ),
        _alert(
            "DrainproofAuditStale",
            f"{AGE} > {stale_after_s} or absent(drainproof_audit_timestamp_seconds)",
            "1h",
            "warning",
            "No audit was finished in time: see the Jobs of CronJob drainproof-audit",
        ),
    ]
    return [
        {"name": "drainproof-records", "rules": records},
        {"name": "drainproof-alerts", "rules": alerts},
    ]


def _alert(name: str, query: str, lasts: str, severity: str, summary: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": query,
        "for": lasts,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": _DOCS},
    }


_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH = 24
_CHOSEN = 'namespace=~"$namespace"'


def dashboard() -> dict[str, Any]:
    """Return Grafana's JSON of the dashboard: schema 39, for Grafana 10 and later."""
    panels = [
        _stat("Errors", f'sum({BY_SEVERITY}{{severity="error", {_CHOSEN}}}) or vector(0)', 0),
        _stat("Warnings", f'sum({BY_SEVERITY}{{severity="warning", {_CHOSEN}}}) or vector(0)', 4),
        _stat(
            "Undecided",
            f'sum(drainproof_findings{{verdict="inconclusive", {_CHOSEN}}}) or vector(0)',
            8,
        ),
        _stat("LLM workloads", "max(drainproof_workloads)", 12),
        _stat("Workloads with errors", WITH_ERRORS, 16),
        _stat("Since the last audit", AGE, 20, unit="s"),
        _panel(
            "timeseries",
            "Failures by check",
            f'sum by (check) (drainproof_findings{{verdict="fail", {_CHOSEN}}})',
            {"h": 9, "w": _WIDTH, "x": 0, "y": 4},
            legend="{{check}}",
        ),
        _panel(
            "table",
            "Findings",
            f'drainproof_findings{{verdict=~"fail|inconclusive", {_CHOSEN}}}',
            {"h": 12, "w": _WIDTH, "x": 0, "y": 13},
            table=True,
        ),
    ]
    return {
        "uid": "drainproof-audit",
        "title": "drainproof: streams that would be cut off",
        "tags": ["drainproof"],
        "schemaVersion": 39,
        "refresh": "5m",
        "time": {"from": "now-7d", "to": "now"},
        "templating": {"list": _variables()},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, start=1)],
    }


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "type": "datasource", "query": "prometheus"},
        {
            "name": "namespace",
            "type": "query",
            "datasource": _SOURCE,
            "query": "label_values(drainproof_findings, namespace)",
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "refresh": 2,
        },
    ]


def _stat(title: str, query: str, x: int, *, unit: str = "short") -> dict[str, Any]:
    return _panel("stat", title, query, {"h": 4, "w": 4, "x": x, "y": 0}, unit=unit)


def _panel(  # noqa: PLR0913 - one argument a setting
    kind: str,
    title: str,
    query: str,
    place: dict[str, int],
    *,
    unit: str = "short",
    legend: str = "",
    table: bool = False,
) -> dict[str, Any]:
    target: dict[str, Any] = {
        "refId": "A",
        "datasource": _SOURCE,
        "expr": query,
        "legendFormat": legend,
    }
    if table:
        target |= {"format": "table", "instant": True}
    return {
        "type": kind,
        "title": title,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [target],
    }
