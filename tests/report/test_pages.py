"""What people see of a page in a real browser: what it shows, asks for, and lets them do."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from axe_playwright_python.sync_playwright import Axe

from bench.audit.run import DEPLOYMENT, SCALED_OBJECT
from bench.judge import run as history
from drainproof.collect import files
from drainproof.judge import audit, clusters
from drainproof.judge.chaos import judge, judge_evidence
from drainproof.judge.config import Audit, Config
from drainproof.model.snapshot import Snapshot
from drainproof.report.rows import rows
from drainproof.report.run_page import page as run_page
from tests.manifests import deployment, scaled_object
from tests.report.audits import CHECKS, HOSTILE, audited, hostile, report, waived
from tests.report.runs import hostile_run, three

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from drainproof.judge.chaos import ChaosVerdict

MEGABYTES = 10
"""What a page may weigh at most, so that a mail takes it."""
NODES = 20_000
"""How many elements a page may have when it opens; a browser lays out some 100,000 in a second."""
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
STREAMS = 100_000


class Seen:
    """What a page did that it must not do."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.ran: list[str] = []
        page.on("console", lambda told: self.complaints.append(told.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda asked: self.requests.append(asked.url))
        page.on("dialog", self._dialog)
        page.goto(path.as_uri(), wait_until="load")
        self.requests.remove(path.as_uri())

    def _dialog(self, dialog: Any) -> None:  # noqa: ANN401 - the browser's
        self.ran.append(dialog.message)
        dialog.dismiss()

    def count(self, selector: str) -> int:
        """Return how many elements there are."""
        return self.page.locator(selector).count()

    def status(self, told: str) -> None:
        """Wait until the page tells how much it shows."""
        self.page.get_by_role("status").filter(has_text=re.compile(f"^{told}")).wait_for()


@pytest.fixture
def open_(chromium: Browser, tmp_path: Path) -> Iterator[Callable[..., Seen]]:
    """Open pages from files, as an attachment of a mail is opened."""
    contexts = []

    def opened(html: str, scheme: Any = "light") -> Seen:  # noqa: ANN401 - light or dark
        path = tmp_path / "report.html"
        path.write_text(html, encoding="utf-8")
        contexts.append(
            chromium.new_context(
                color_scheme=scheme, offline=True, viewport={"width": 1280, "height": 1800}
            )
        )
        return Seen(contexts[-1].new_page(), path)

    yield opened
    for context in contexts:
        context.close()


def fleet(folder: Path) -> str:
    """Return the page of an audit of workloads that differ in what is wrong with them."""
    bad = deployment(lifecycle=None, startupProbe=None)
    bad["metadata"]["namespace"] = "batch"
    bad["metadata"]["name"] = "bad"
    odd = deployment(lifecycle={"preStop": {"exec": {"command": ["/x"]}}})
    odd["metadata"]["name"] = "odd"
    kept = waived()
    kept["metadata"]["name"] = "kept"
    return report("html", audited(folder / "a.yaml", deployment(), bad, odd, kept, scaled_object()))


def run() -> str:
    return run_page(judge(three))


@pytest.fixture(params=["audit", "run"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The page of an audit, and of a run."""
    return fleet(tmp_path) if request.param == "audit" else run()


# ── Alone, and inert ────────────────────────────────────────────────────────────────────────────


def test_a_page_opens_without_a_complaint_or_a_request(
    page: str, open_: Callable[..., Seen]
) -> None:
    seen = open_(page)
    assert (seen.complaints, seen.requests, seen.ran) == ([], [], [])
    assert seen.count("table") > 0


def test_a_page_that_asks_for_something_is_stopped_and_seen(
    page: str, open_: Callable[..., Seen]
) -> None:
    asks = page.replace("</main>", "</main><img src='https://elsewhere.test/x'>")
    stopped = open_(asks)
    assert stopped.complaints
    assert open_(POLICY.sub("", asks)).requests == ["https://elsewhere.test/x"]


def hostile_audit(folder: Path) -> str:
    return report("html", audited(folder / "a.yaml", hostile()))


@pytest.mark.parametrize("kind", ["audit", "run"])
def test_names_that_would_act_stay_text(
    kind: str, open_: Callable[..., Seen], tmp_path: Path
) -> None:
    html = hostile_audit(tmp_path) if kind == "audit" else run_page(hostile_run())
    # without the policy, so that nothing but the escaping is put to the test
    seen = open_(POLICY.sub("", html))
    for button in seen.page.locator("button.open, summary").all():
        button.click()
    assert (seen.ran, seen.complaints, seen.requests) == ([], [], [])
    assert "<script>alert(1)</script><img src=x onerror=alert(1)>" in seen.page.inner_text("main")
    assert seen.count("main img, main script, main a") == 0
    assert not re.search(r"[\x1b\x07\u202e]", seen.page.inner_text("main"))


def test_the_same_name_as_markup_runs_but_for_the_policy(
    page: str, open_: Callable[..., Seen]
) -> None:
    unescaped = page.replace("</main>", f"</main>{HOSTILE}")
    unsafe = open_(POLICY.sub("", unescaped))
    unsafe.page.wait_for_timeout(200)
    assert unsafe.ran == ["1", "1"]
    kept = open_(unescaped)
    kept.page.wait_for_timeout(200)
    assert kept.ran == []
    assert any("Content Security Policy" in said for said in kept.complaints)


def test_data_that_could_end_its_element_would_run(
    open_: Callable[..., Seen], tmp_path: Path
) -> None:
    html = POLICY.sub("", hostile_audit(tmp_path))
    seen = open_(html.replace("\\u003c", "<").replace("\\u003e", ">"))
    assert seen.ran
    assert seen.complaints


# ── For everyone ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_breaks_no_rule_of_accessibility(
    scheme: str, page: str, open_: Callable[..., Seen]
) -> None:
    seen = open_(page, scheme)
    for button in seen.page.locator("button.open, summary").all()[:3]:
        button.click()
    found = Axe().run(seen.page)
    assert found.violations_count == 0, found.generate_report()


def test_a_field_without_a_label_breaks_one(page: str, open_: Callable[..., Seen]) -> None:
    seen = open_(page)
    seen.page.evaluate("document.querySelector('main').append(document.createElement('input'))")
    broken = [rule["id"] for rule in Axe().run(seen.page).response["violations"]]
    assert broken == ["label"]


def test_dark_mode_changes_the_colours(page: str, open_: Callable[..., Seen]) -> None:
    def light_of(scheme: str) -> list[int]:
        body = open_(page, scheme).page.locator("body")
        styles = "body => [getComputedStyle(body).backgroundColor, getComputedStyle(body).color]"
        return [sum(map(int, re.findall(r"\d+", one))) for one in body.evaluate(styles)]

    back, text = light_of("light")
    assert back > 600
    assert text < 200
    back, text = light_of("dark")
    assert back < 200
    assert text > 600


def test_the_enter_key_opens_and_closes_details_and_so_does_a_click(
    page: str, open_: Callable[..., Seen]
) -> None:
    seen = open_(page)
    button = seen.page.locator("button.open").first
    assert (seen.count("tr.details"), button.get_attribute("aria-expanded")) == (0, "false")
    button.focus()
    seen.page.keyboard.press("Enter")
    assert (seen.count("tr.details"), button.get_attribute("aria-expanded")) == (1, "true")
    button.click()
    assert (seen.count("tr.details"), button.get_attribute("aria-expanded")) == (0, "false")


# ── The audit ───────────────────────────────────────────────────────────────────────────────────


def names(seen: Seen) -> set[str]:
    return {name.rsplit("/", 1)[1] for name in seen.page.locator("button.open").all_inner_texts()}


def test_each_workload_and_check_has_its_cell(open_: Callable[..., Seen], tmp_path: Path) -> None:
    seen = open_(fleet(tmp_path))
    assert names(seen) == {"llama", "bad", "odd", "kept"}
    cells = Counter(
        seen.page.locator("td.cell").evaluate_all("cells => cells.map(cell => cell.className)")
    )
    # bad has no hook and no startup probe; the autoscaler of the other three is llama's
    assert cells["cell error"] == 2
    assert cells["cell inconclusive"] == cells["cell waived"] == 1
    assert cells.total() == 4 * seen.count("th.check")


def test_a_cell_opens_its_own_findings_with_place_message_and_fix(
    open_: Callable[..., Seen], tmp_path: Path
) -> None:
    seen = open_(fleet(tmp_path))
    row = seen.page.locator("tr", has=seen.page.get_by_text("Deployment/batch/bad"))
    row.get_by_role("button", name="error: prestop-delay").click()
    details = seen.page.locator("tr.details")
    assert details.locator("article").count() == 1
    told = details.inner_text()
    assert "no preStop hook" in told
    assert "fix: Add" in told
    assert re.search(r"a\.yaml:\d+", told)


def test_arrow_keys_go_from_one_finding_to_the_next(
    open_: Callable[..., Seen], tmp_path: Path
) -> None:
    seen = open_(fleet(tmp_path))
    seen.page.get_by_role("button", name="Deployment/batch/bad").focus()
    label = "document.activeElement.getAttribute('aria-label')"
    seen.page.keyboard.press("ArrowRight")
    first = seen.page.evaluate(label)
    seen.page.keyboard.press("ArrowRight")
    second = seen.page.evaluate(label)
    seen.page.keyboard.press("ArrowLeft")
    assert first != second
    assert seen.page.evaluate(label) == first == "error: prestop-delay"


@pytest.mark.parametrize(
    ("label", "option", "left"),
    [
        ("Severity", "error", {"bad", "odd", "kept"}),
        ("Verdict", "fail", {"bad", "odd", "kept"}),
        ("Verdict", "inconclusive", {"odd"}),
        ("Verdict", "waived", {"kept"}),
        ("Verdict", "pass", {"llama", "bad", "odd", "kept"}),
        ("Namespace", "batch", {"bad"}),
    ],
)
def test_a_filter_leaves_what_is_asked_for(
    label: str, option: str, left: set[str], open_: Callable[..., Seen], tmp_path: Path
) -> None:
    seen = open_(fleet(tmp_path))
    seen.page.get_by_label(label, exact=True).select_option(option)
    seen.status(f"{len(left)} workload")
    assert names(seen) == left
    seen.page.get_by_role("button", name="Clear").click()
    seen.status("4 workloads of 4")


def test_filters_hold_for_one_finding_together(open_: Callable[..., Seen], tmp_path: Path) -> None:
    seen = open_(fleet(tmp_path))
    seen.page.get_by_label("Check", exact=True).select_option("DP104 prestop-delay")
    assert seen.count("th.check") == 1
    seen.page.get_by_label("Verdict", exact=True).select_option("fail")
    seen.status("1 workload of 4")
    assert names(seen) == {"bad"}
    seen.page.get_by_label("Verdict", exact=True).select_option("waived")
    assert names(seen) == {"kept"}


@pytest.mark.parametrize(
    ("sought", "left"),
    [
        ("ODD", {"odd"}),
        ("no preStop hook", {"bad", "kept"}),
        ("short answers", {"kept"}),
        ("startup-budget", {"bad"}),
        ("nothing of the kind", set()),
    ],
)
def test_search_finds_names_messages_reasons_and_checks(
    sought: str, left: set[str], open_: Callable[..., Seen], tmp_path: Path
) -> None:
    seen = open_(fleet(tmp_path))
    seen.page.get_by_role("searchbox").fill(sought)
    seen.status(f"{len(left)} workload")
    assert names(seen) == left


def test_workloads_of_several_clusters_are_told_apart_and_found_by_cluster(
    open_: Callable[..., Seen],
) -> None:
    config, checks = Config(), [CHECKS["prestop-delay"]]
    parts = [
        clusters.named(audit.run(Snapshot.of([deployment()]), config.profile, checks), where)
        for where in ("prod-eu", "prod-us")
    ]
    seen = open_(report("html", clusters.together(parts)))
    assert seen.page.get_by_text("prod-eu: Deployment/inference/llama", exact=True).count() == 1
    seen.page.get_by_role("searchbox").fill("prod-us")
    seen.status("1 workload")
    assert seen.page.get_by_text("prod-eu: Deployment/inference/llama", exact=True).count() == 0


def thousand(folder: Path) -> str:
    """Return the page of an audit of a thousand workloads by all checks."""
    path = folder / "many.yaml"
    path.write_text("".join((DEPLOYMENT + SCALED_OBJECT).format(n=n) for n in range(1000)))
    result = Audit(files.read([path]), Config()).run(list(CHECKS.values()))
    assert len(result.judged) == 1000
    from drainproof.report.html import write  # noqa: PLC0415 - for this page only

    return write(result, rows(result))


def test_a_thousand_workloads_are_light_and_each_is_found(
    open_: Callable[..., Seen], tmp_path: Path
) -> None:
    html = thousand(tmp_path)
    assert len(html.encode()) < MEGABYTES * 1e6
    seen = open_(html)
    seen.status("1,000 workloads of 1,000, the first 100 shown")
    assert seen.count("*") < NODES
    seen.page.get_by_role("searchbox").fill("vllm-999")
    seen.status("1 workload of 1,000")
    assert names(seen) == {"vllm-999"}
    seen.page.get_by_role("button", name="Clear").click()
    seen.page.get_by_role("button", name="Show 100 more").click()
    seen.status("1,000 workloads of 1,000, the first 200 shown")
    seen.page.evaluate("rows.add(800)")  # all at once would be too much for the bound
    assert seen.count("*") > NODES


def test_an_audit_with_nothing_to_say_opens_too(open_: Callable[..., Seen]) -> None:
    result = Audit(Snapshot.of([deployment()]), Config()).run([CHECKS["prestop-delay"]])
    seen = open_(report("html", result))
    assert "no findings" in seen.page.inner_text("h1")
    assert seen.complaints == []


# ── The run ─────────────────────────────────────────────────────────────────────────────────────


def test_each_failed_stream_of_the_verdict_is_marked_and_listed(
    open_: Callable[..., Seen],
) -> None:
    verdict = judge(three)
    seen = open_(run_page(verdict))
    assert len(verdict.failures) == 8
    assert seen.count(".chart svg line.failed") == 8
    assert set(seen.page.locator("button.open").all_inner_texts()) == {
        failure.id for failure in verdict.failures
    }
    assert "8 streams failed; all are listed one by one; 11 more" in seen.page.inner_text("main")


def test_faults_and_cluster_events_are_marks_and_a_table(open_: Callable[..., Seen]) -> None:
    seen = open_(run_page(judge(three)))
    letters = set(seen.page.locator(".chart svg text.mark").all_text_contents())
    assert {"F", "D", "T", "R", "E"} <= letters
    seen.page.get_by_text("fault and cluster events").click()
    table = seen.page.get_by_role("region", name="fault and cluster events")
    cells = [row.split("\t") for row in table.inner_text().splitlines()]
    assert ["0 s", "fault begins", "rollout"] in cells
    assert ["+20 s", "pod deleted", "old-0"] in cells
    assert ["+35 s", "SIGTERM", "old-0"] in cells
    assert len(cells) - 1 == len(seen.page.evaluate("MARKS"))


def test_streams_are_stacked_by_pod_and_the_numbers_are_a_table_too(
    open_: Callable[..., Seen],
) -> None:
    verdict = judge(three)
    flow, timeline = verdict.in_flight, verdict.timeline
    assert flow
    assert timeline
    seen = open_(run_page(verdict))
    assert seen.count(".chart svg polygon") == len(timeline.pods) == 4
    assert seen.page.locator(".chart svg polygon title").all_text_contents() == [
        one.pod for one in timeline.pods
    ]
    seen.page.get_by_text("The numbers over time").click()
    region = seen.page.get_by_role("region", name="The numbers over time")
    told = [row.split("\t") for row in region.inner_text().splitlines()]
    assert [int(row[1]) for row in told[1:]] == list(flow.counts)
    assert sum(int(row[2]) for row in told[1:]) == 8 + 11


def test_a_failed_stream_is_found_and_its_own_timeline_opens(
    open_: Callable[..., Seen],
) -> None:
    seen = open_(run_page(judge(three)))
    seen.page.get_by_role("searchbox").fill("1-55")
    seen.status("1 failed stream of 8")
    seen.page.get_by_role("button", name="1-55").press("Enter")
    details = seen.page.locator("tr.details")
    assert details.get_by_role("img", name="Stream 1-55 over time").is_visible()
    steps = details.locator("li").all_inner_texts()
    assert [step.split(" s ", 1)[1] for step in steps][:4] == [
        "due", "sent", "first token", "last token",
    ]  # fmt: skip
    assert "+435 s old-1 SIGTERM" in steps
    assert "+435.2 s end" in steps
    assert seen.count(".chart svg line.chosen") == 1


@pytest.mark.parametrize(
    ("label", "option", "left"),
    [("Fault", "2. evict", 4), ("Outcome", "silently truncated", 8), ("Outcome", "short", 4)],
)
def test_failed_streams_can_be_filtered(
    label: str, option: str, left: int, open_: Callable[..., Seen]
) -> None:
    seen = open_(run_page(judge(three)))
    seen.page.get_by_label(label, exact=True).select_option(option)
    seen.status(f"{left} failed streams of 8")
    assert seen.count("button.open") == left


def test_a_click_on_a_red_mark_opens_its_stream_whatever_is_filtered(
    open_: Callable[..., Seen],
) -> None:
    seen = open_(run_page(judge(three)))
    seen.page.get_by_role("searchbox").fill("1-55")
    seen.status("1 failed stream of 8")
    box = seen.page.locator(".chart svg line.failed").first.bounding_box()
    assert box
    seen.page.mouse.click(box["x"], box["y"] + box["height"] / 2)
    seen.status("8 failed streams of 8")
    assert seen.count("tr.details") == 1
    assert seen.page.evaluate("document.activeElement.textContent") == "0-55"


def test_zooming_by_buttons_and_by_dragging_changes_what_is_in_view(
    open_: Callable[..., Seen],
) -> None:
    seen = open_(run_page(judge(three)))
    said = seen.page.locator(".bar [role=status]")

    def width() -> float:
        begin, end = re.findall(r"[-+]?[\d.,]+(?= s)", said.inner_text())
        return float(end.replace(",", "")) - float(begin.replace(",", ""))

    all_ = width()
    seen.page.get_by_role("button", name="Zoom in").click()
    assert width() == pytest.approx(all_ / 2, abs=1)
    before = said.inner_text()
    seen.page.get_by_role("button", name="Later").press("Enter")
    assert said.inner_text() != before
    seen.page.get_by_role("button", name="All").click()
    assert width() == all_
    box = seen.page.locator(".chart svg").bounding_box()
    assert box
    seen.page.mouse.move(box["x"] + 300, box["y"] + 150)
    seen.page.mouse.down()
    seen.page.mouse.move(box["x"] + 400, box["y"] + 150)
    seen.page.mouse.up()
    assert width() < all_ / 5
    assert seen.complaints == []


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> ChaosVerdict:
    """Return the verdict on a hundred thousand streams, a hundredth of which are cut off."""
    folder = tmp_path_factory.mktemp("long")
    history.write(folder / "history.jsonl", STREAMS, 2)
    return judge_evidence(folder)


def test_a_hundred_thousand_streams_are_light_and_all_failures_are_counted(
    long_run: ChaosVerdict, open_: Callable[..., Seen]
) -> None:
    html = run_page(long_run)
    assert len(html.encode()) < MEGABYTES * 1e6
    seen = open_(html)
    assert seen.count("*") < NODES
    timeline = long_run.timeline
    assert timeline
    assert sum(timeline.lost) == STREAMS / history.CUT_EVERY
    listed, failed = len(long_run.failures), sum(long_run.causes.values())
    assert 0 < listed < failed
    assert seen.count(".chart svg line.failed") == listed
    said = f"{failed} streams failed; the first {listed} are listed one by one"
    assert said in seen.page.inner_text("main")
    last = long_run.failures[-1].id
    seen.page.get_by_role("searchbox").fill(last)
    seen.page.get_by_role("button", name=last, exact=True).wait_for()
    assert orjson.dumps(seen.complaints) == b"[]"
