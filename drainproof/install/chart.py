"""Writes the Helm chart from the objects, so that nothing is written twice. Run by ``make chart``.

Each value of the chart is a setting; what depends on a switch is written once for each of its
positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from drainproof import __version__
from drainproof.content import content
from drainproof.install.objects import Document, documents
from drainproof.install.settings import Service, Settings
from drainproof.policies.write import dumped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_TEXTS = Settings(
    namespace="@@namespace@@",
    schedule="@@schedule@@",
    image="@@image@@",
    profile="@@profile@@",
    stale_after_s="@@staleAfterSeconds@@",
)
"""What a user sets; each mark becomes the value of that name."""
_SERVICE = Service("@@prometheus.namespace@@", "@@prometheus.service@@", "@@prometheus.port@@")
_SWITCHES: dict[str, dict[str, object]] = {
    "policyReports": {"policy_reports": True},
    "prometheusOperator": {"prometheus_operator": True},
    "prometheus.service": {"prometheus": _SERVICE},
}
"""Each value that adds something, and the setting that it stands for."""
_HEAD = "# From drainproof/install, by `make chart`.\n"
_VALUES = """\
# Where the audit lives.
namespace: {namespace}
# When, in UTC.
schedule: "{schedule}"
image: {image}
# The numbers that checks use: production, dev or module.
profile: {profile}
# Seconds without an audit after which an alert fires.
staleAfterSeconds: {stale_after_s}
# A Prometheus that is asked, through the API server; no service, none.
prometheus:
  namespace: monitoring
  service: ""
  port: "9090"
# Whether PolicyReports are written.
policyReports: false
# Whether there is a Prometheus Operator: adds a ServiceMonitor and a PrometheusRule.
prometheusOperator: false
"""


def files() -> dict[str, str]:
    """Return the chart's files: text by path in its folder."""
    default = Settings()
    chart = {
        "apiVersion": "v2",
        "name": "drainproof",
        "description": "Audits LLM deployments on a schedule, read-only.",
        "type": "application",
        "version": __version__,
        "appVersion": __version__,
        "kubeVersion": ">=1.27.0-0",
    }
    known = {name: getattr(default, name) for name in default.__struct_fields__}
    found = {
        "Chart.yaml": _HEAD + dumped(chart),
        "values.yaml": _HEAD + _VALUES.format(**known),
    }
    for item in _everything():
        path = f"templates/{item.file}.yaml"
        written = _written(item.key, tuple(_SWITCHES), _TEXTS)
        found[path] = found.get(path, _HEAD) + written
    return found


def write(folder: Path) -> None:
    """Write the chart; files that it no longer has are removed."""
    wanted = files()
    (folder / "templates").mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.yaml"), *folder.glob("templates/*.yaml")):
        if str(old.relative_to(folder)) not in wanted:
            old.unlink()
    for path, text in wanted.items():
        (folder / path).write_text(text, encoding="utf-8")


def _with(settings: Settings, switches: Sequence[str]) -> Settings:
    for name in switches:
        settings = replace(settings, **_SWITCHES[name])
    return settings


def _everything() -> tuple[Document, ...]:
    return documents(_with(_TEXTS, tuple(_SWITCHES)))


def _written(key: tuple[str, str, str], switches: Sequence[str], settings: Settings) -> str:
    """Return a template of one object for all positions of some switches."""
    if not switches:
        return next(
            ("---\n" + _marked(item.text) for item in documents(settings) if item.key == key), ""
        )
    first, *others = switches
    on = _written(key, others, _with(settings, [first]))
    off = _written(key, others, settings)
    if on == off:
        return on
    otherwise = f"{{{{- else }}}}\n{off}" if off else ""
    return f"{{{{- if .Values.{first} }}}}\n{on}{otherwise}{{{{- end }}}}\n"


def _marked(text: str) -> str:
    """Turn marks into values; what others expand, such as ``{{ $value }}``, stays as it is."""
    pieces = text.replace("{{", '{{ "{{" }}').split("@@")
    pieces[1::2] = [f"{{{{ .Values.{name} }}}}" for name in pieces[1::2]]
    return "".join(pieces)


if __name__ == "__main__":
    write(content("deploy") / "chart")
