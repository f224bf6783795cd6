"""Writes the checks' pages and the README's table from the checks themselves, so that neither ages.

Run it as ``make docs``. A test compares what it would write with what is there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from drainproof.content import content
from drainproof.judge import registry
from drainproof.judge.registry import SECTIONS
from drainproof.judge.waivers import IN_FORCE
from drainproof.policies.reach import at_admission

if TYPE_CHECKING:
    from drainproof.judge.registry import Check

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "checks"
README = ROOT / "README.md"
BEGIN, END = "<!-- checks: make docs -->", "<!-- end of checks -->"
AREAS = {
    "0": "Waivers",
    "1": "Lifecycle",
    "2": "Probes",
    "3": "Capacity",
    "4": "Scaling",
    "5": "Supply",
    "6": "Routing and monitoring",
    "7": "Live clusters only",
    "9": "Chaos",
}
"""First digit of an id to what its checks are about."""
_COMMENTS = re.compile(r"\A(?:#[^\n]*\n)+")


def main() -> None:
    """Write every page and the README's table; remove pages of checks that are gone."""
    written = pages()
    for path in PAGES.glob("*.md"):
        if path not in written:
            path.unlink()
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def pages() -> dict[Path, str]:
    """Return what should be in each generated file, the README among them."""
    checks = (IN_FORCE, *registry.load().checks)
    found = {PAGES / f"{check.slug}.md": page(check) for check in checks}
    found[PAGES / "README.md"] = f"# Checks\n\n{table(checks, 'md', '')}"
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    found[README] = f"{before}{BEGIN}\n{table(checks, 'md', 'docs/checks/')}{END}{after}"
    return found


def table(checks: tuple[Check, ...], suffix: str, folder: str) -> str:
    """Return the checks as Markdown tables, one an area."""
    lines: list[str] = []
    for digit, area in AREAS.items():
        listed = [check for check in checks if check.id[2] == digit]
        if not listed:
            continue
        lines += [f"**{area}**", "", "| id | check | what holds |", "| --- | --- | --- |"]
        lines += [
            f"| {check.id} | [`{check.slug}`]({folder}{check.slug}.{suffix}) "
            f"| {_markdown(check.title.rstrip('.'))} |"
            for check in listed
        ]
        lines.append("")
    return "\n".join(lines)


def page(check: Check) -> str:
    """Return a check's page: its docstring, and manifests that fail it and that pass."""
    lines = [f"# {check.slug}", "", _markdown(check.title), ""]
    kinds = ", ".join(sorted(check.applies_to)) or "every workload"
    lines += [f"`{check.id}` · {check.severity.value} · {check.kind} · looks at {kinds}", ""]
    for name in SECTIONS:
        lines += [f"## {name}", "", _markdown(check.section(name)), ""]
    if check.kind == "manifest":
        link = f"A Kyverno [policy](../../policies/{check.slug}/policy.yaml)"
        said = re.sub(r"^policy", link, at_admission(check)).replace("none:", "No policy:")
        lines += ["## At admission", "", f"{_markdown(said)}.", ""]
    folder = content("fixtures") / "manifests" / check.slug
    for kind, title in (("bad", "fails"), ("good", "passes")):
        example = next(iter(sorted(folder.glob(f"{kind}-*.yaml"))), None)
        if example is not None:
            text = _COMMENTS.sub("", example.read_text(encoding="utf-8")).strip()
            lines += [f"## A manifest that {title}", "", "```yaml", text, "```", ""]
    return "\n".join(lines)


def _markdown(text: str) -> str:
    return text.replace("``", "`")


if __name__ == "__main__":
    main()
