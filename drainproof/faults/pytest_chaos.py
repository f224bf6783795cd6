"""Chaos checks as pytest items: one for each fault, on the target that the command line names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.faults.run import Plan
    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.judge.registry import Check
    from drainproof.model.finding import Finding

OPTIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("--service", "drainproof_service", {
        "metavar": "NAME", "help": "Service to send streams through."}),
    ("--rate", "drainproof_rate", {
        "type": float, "metavar": "PER_SECOND", "help": "Streams begun per second."}),
    ("--tokens", "drainproof_tokens", {
        "type": int, "metavar": "N", "help": "Length of each stream."}),
    ("--image", "drainproof_image", {
        "metavar": "IMAGE", "help": "Image of the streaming client."}),
    ("--evidence", "drainproof_evidence", {
        "metavar": "DIR", "help": "Folder for the evidence, one below it for each fault."}),
    ("--fault-timeout", "drainproof_fault_timeout", {
        "type": float, "metavar": "SECONDS", "help": "How long a fault may take."}),
)  # fmt: skip
"""Options that only chaos checks have: name, where the value is kept, how pytest takes it."""


def collect_chaos_items(file: pytest.File, check: Check) -> Iterator[pytest.Item]:
    """Yield the item of a chaos check; the check's slug is the name of its fault.

    Raises:
        UsageError: The target's context or namespace is missing.
    """
    config = file.config
    wanted: list[str] | None = config.getoption("drainproof_faults")
    if wanted and check.slug not in wanted:
        return
    namespaces: list[str] = config.getoption("drainproof_namespaces") or []
    if not config.getoption("drainproof_context") or len(namespaces) != 1:
        raise pytest.UsageError(
            "a target under chaos needs --context NAME and one --namespace NAME beside --target"
        )
    target: str = config.getoption("drainproof_target")
    yield ChaosItem.from_parent(file, name=f"{check.slug}[{target}]", check=check)


class ChaosItem(pytest.Item):
    """One fault on the target, judged by its check."""

    def __init__(self, *, check: Check, **kwargs: Any) -> None:  # noqa: ANN401 - pytest's
        super().__init__(**kwargs)
        self.check = check
        self.add_marker("drainproof")
        self.user_properties += [("check", check.slug), ("check_id", check.id)]

    def runtest(self) -> None:
        """Disturb the target; raise what it cost, or why that can't be said."""
        from drainproof.faults.run import RunInterruptedError, run  # noqa: PLC0415 - loads the client
        from drainproof.progress import PlainProgress  # noqa: PLC0415 - same
        from drainproof.report.chaos import render  # noqa: PLC0415 - same

        try:
            verdict, folder = run(self._plan(), PlainProgress())
        except RunInterruptedError as error:
            pytest.exit(str(error), returncode=int(error.exit_code))
        except UserError as error:
            pytest.fail(str(error), pytrace=False)
        findings = list(self.check.rule(verdict))
        self.user_properties += [
            ("subject", verdict.subject.ref),
            ("verdict", _told(findings)),
            ("evidence", str(folder)),
        ]
        report = render(verdict, folder)
        if findings:
            raise ChaosNotPassed(verdict, findings, report)
        self.add_report_section("call", "drainproof", report)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401 - pytest's
        """Write the report instead of a traceback."""
        if isinstance(excinfo.value, ChaosNotPassed):
            return excinfo.value.report
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return what pytest heads a failure with."""
        return self.path, None, self.name

    def _plan(self) -> Plan:
        from drainproof.faults.load import Runner  # noqa: PLC0415 - loads the client
        from drainproof.faults.run import Plan  # noqa: PLC0415 - same

        def option(name: str) -> Any:  # noqa: ANN401 - as it was given
            return self.config.getoption(f"drainproof_{name}", None)

        given: dict[str, Any] = {
            "service": option("service"),
            "rate_per_s": option("rate"),
            "tokens": option("tokens"),
            "timeout_s": option("fault_timeout"),
            "evidence": option("evidence") and Path(option("evidence")) / self.check.slug,
            "runner": option("image") and Runner(image=option("image")),
        }
        return Plan(
            context=option("context"),
            namespace=option("namespaces")[0],
            target=option("target"),
            fault=self.check.slug,
            **{name: value for name, value in given.items() if value},
        )


class ChaosNotPassed(Exception):  # noqa: N818 - a verdict, not an error
    """A target that lost streams, or a run that proved nothing."""

    def __init__(self, verdict: ChaosVerdict, findings: list[Finding], report: str) -> None:
        super().__init__(f"{verdict.fault}: {_told(findings)}")
        self.report = report


def _told(findings: list[Finding]) -> str:
    """Return the verdict that a check's findings amount to."""
    if not findings:
        return "pass"
    return "fail" if any(item.verdict == "fail" for item in findings) else "inconclusive"
