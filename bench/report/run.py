"""How heavy the HTML pages are, and how long a real browser takes to open them.

A page of an audit of 1,000 workloads by all checks, as ``bench/audit`` makes them, and one of a
run of 100,000 streams, a hundredth of them cut off, as ``bench/judge`` makes it. Each is opened
several times by a fresh profile of Chromium, from its file. Time counts from asking for it to the
first frame that is drawn after it loaded; the median is told. Where others use the machine, it is
too high.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson

from bench.audit.run import DEPLOYMENT, SCALED_OBJECT
from bench.judge import run as history
from drainproof.collect import files
from drainproof.errors import UserError
from drainproof.judge.chaos import HISTORY, judge_evidence
from drainproof.judge.config import Audit, Config
from drainproof.report.html import write
from drainproof.report.rows import rows
from drainproof.report.run_page import page
from tests.report.browser import browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

GOAL_S = 2.0
GOAL_MB = 10
MEGABYTE = 10**6
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


class Opened(NamedTuple):
    """What a page is, and what it took."""

    megabytes: float
    seconds: float
    elements: int


def main() -> None:
    """Measure both pages; print a table and JSON; exit with 1 if one is over its goal."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python bench/report/run.py")
    parser.add_argument("--workloads", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=5, help="that each page is opened")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pages = {
            f"audit of {options.workloads:,} workloads": audit(folder, options.workloads),
            f"run of {options.streams:,} streams": run(folder, options.streams),
        }
        with browser(folder) as chromium:
            found = {
                title: opened(chromium, folder / "page.html", html, options.times)
                for title, html in pages.items()
            }
    print(f"{'page':<30}{'MB':>8}{'elements':>10}{'opens in s':>12}")
    for title, one in found.items():
        print(f"{title:<30}{one.megabytes:>8.2f}{one.elements:>10,}{one.seconds:>12.2f}")
    print(orjson.dumps({title: one._asdict() for title, one in found.items()}).decode())
    if any(one.seconds > GOAL_S or one.megabytes > GOAL_MB for one in found.values()):
        sys.exit(f"error: over the goal of {GOAL_S:g} s and {GOAL_MB} MB")


def audit(folder: Path, workloads: int) -> str:
    """Return the page of an audit of so many workloads, all of which have findings."""
    path = folder / "many.yaml"
    path.write_text("".join((DEPLOYMENT + SCALED_OBJECT).format(n=n) for n in range(workloads)))
    snapshot = files.read([path])
    config = Config()
    result = Audit(snapshot, config).run(config.checks_for(snapshot))
    return write(result, rows(result))


def run(folder: Path, streams: int) -> str:
    """Return the page of a run of so many streams."""
    history.write(folder / HISTORY, streams, 20)
    return page(judge_evidence(folder))


def opened(chromium: Browser, path: Path, html: str, times: int) -> Opened:
    """Open a page so many times."""
    path.write_text(html, encoding="utf-8")
    took = []
    for _ in range(times):
        context = chromium.new_context()
        tab = context.new_page()
        begun = time.perf_counter()
        tab.goto(path.as_uri(), wait_until="load")
        tab.evaluate(DRAWN)
        took.append(time.perf_counter() - begun)
        elements = tab.locator("*").count()
        context.close()
    return Opened(len(html.encode()) / MEGABYTE, statistics.median(took), elements)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
