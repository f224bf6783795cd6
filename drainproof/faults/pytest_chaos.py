"""Chaos checks as pytest items: one for each fault, on the target that the command line names.

The items of a session share one run: one load, and a steady state between two faults.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.errors import UserError
from drainproof.faults.options import SETTINGS
from drainproof.report.text import harmless

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.faults.fault import Wanted
    from drainproof.faults.plan import Plan
    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.judge.registry import Check
    from drainproof.model.finding import Finding

OPTIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    *(
        (
            f"--{setting.name}",
            f"drainproof_{setting.key}",
            {"action": "store_true", "default": None, "help": setting.told}
            if setting.kind is bool
            else {
                "action": "append" if setting.many else "store",
                "type": setting.kind,
                "metavar": setting.metavar,
                "help": setting.told.replace("%", "%%"),
            },
        )
        for setting in SETTINGS
        if setting.name != "prometheus"  # live checks have it, too
    ),
    ("--plan", "drainproof_plan", {
        "metavar": "FILE", "help": "Faults and settings of checks/chaos in YAML."}),
    ("--yes-production", "drainproof_yes_production", {
        "metavar": "CONTEXT", "help": "The context once more, if it looks like production."}),
)  # fmt: skip
"""Options that only chaos checks have: name, where the value is kept, how pytest takes it."""


def collect_chaos_items(file: pytest.File, check: Check) -> Iterator[pytest.Item]:
    """Yield the item of a chaos check; the check's slug is the name of its fault.

    Raises:
        UserError: The plan can't be read, or a fault is unknown.
    """
    config = file.config
    named = [wanted.name for wanted in asked(config).faults] if _is_asked(config) else None
    if named is None or check.slug in named:
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
        from drainproof.report.chaos import render  # noqa: PLC0415 - loads slowly

        done = self._done()
        if isinstance(done, UserError):
            pytest.fail(harmless(str(done)), pytrace=False)
        if self.check.slug in done.refused:
            why = harmless(f"can't be done here: {done.refused[self.check.slug]}")
            if _is_asked(self.config):
                pytest.fail(why, pytrace=False)
            pytest.skip(why)
        findings = list(self.check.rule(done.verdict))
        self.user_properties += [
            ("subject", done.verdict.subject.ref),
            ("verdict", _told(findings)),
            ("evidence", str(done.folder)),
        ]
        report = render(done.verdict, done.folder)
        if findings:
            raise ChaosNotPassed(self.check.slug, findings, report)
        self.add_report_section("call", "drainproof", report)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401 - pytest's
        """Write the report instead of a traceback."""
        if isinstance(excinfo.value, ChaosNotPassed):
            return excinfo.value.report
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return what pytest heads a failure with."""
        return self.path, None, self.name

    def _done(self) -> _Done | UserError:
        """Return what came of the one run that all items of this session share."""
        stash = self.config.stash
        if _DONE not in stash:
            items = [item for item in self.session.items if isinstance(item, ChaosItem)]
            stash[_DONE] = _run(self.config, [item.check.slug for item in items])
        return stash[_DONE]


@dataclass(frozen=True)
class _Done:
    """What came of a run."""

    verdict: ChaosVerdict
    folder: Path
    refused: dict[str, UserError]


_DONE: pytest.StashKey[_Done | UserError] = pytest.StashKey()


def _run(config: pytest.Config, chosen: Sequence[str]) -> _Done | UserError:
    """Do all the faults that are chosen, in one run, under one load."""
    from drainproof.faults.run import RunInterruptedError, run  # noqa: PLC0415 - loads the client
    from drainproof.progress import PlainProgress  # noqa: PLC0415 - same

    refused: dict[int, UserError] = {}
    try:
        plan = asked(config)
        if not _is_asked(config):
            plan = replace(plan, faults=every(chosen))
        plan = replace(plan, faults=tuple(one for one in plan.faults if one.name in chosen))
        verdict, folder = run(plan, PlainProgress(), refused)
    except RunInterruptedError as error:
        pytest.exit(str(error), returncode=int(error.exit_code))
    except UserError as error:
        return error
    return _Done(verdict, folder, {plan.faults[i].name: why for i, why in refused.items()})


def every(names: Sequence[str]) -> tuple[Wanted, ...]:
    """Return faults by their names, in the order of the catalogue."""
    from drainproof.faults.catalogue import FAULTS  # noqa: PLC0415 - loads the client
    from drainproof.faults.fault import Wanted  # noqa: PLC0415 - same

    return tuple(Wanted(name=name) for name in FAULTS if name in names)


def asked(config: pytest.Config) -> Plan:
    """Return what the command line asks for.

    Raises:
        UserError: Something in it is not what it must be.
    """
    from drainproof.faults.plan import plan_of  # noqa: PLC0415 - loads the client

    def option(name: str) -> Any:  # noqa: ANN401 - as it was given
        return config.getoption(f"drainproof_{name}", None)

    return plan_of(
        {setting.name: option(setting.key) for setting in SETTINGS},
        context=option("context"),
        namespace=option("namespaces")[0],
        target=option("target"),
        faults=option("faults") or (),
        file=Path(option("plan")) if option("plan") else None,
        yes_production=option("yes_production") or "",
    )


def _is_asked(config: pytest.Config) -> bool:
    """Tell whether faults are named; if not, every check's is done that can be."""
    return bool(config.getoption("drainproof_faults") or config.getoption("drainproof_plan"))


class ChaosNotPassed(Exception):  # noqa: N818 - a verdict, not an error
    """A target that lost streams, or a run that proved nothing."""

    def __init__(self, fault: str, findings: list[Finding], report: str) -> None:
        super().__init__(f"{fault}: {_told(findings)}")
        self.report = report


def _told(findings: list[Finding]) -> str:
    """Return the verdict that a check's findings amount to."""
    if not findings:
        return "pass"
    return "fail" if any(item.verdict == "fail" for item in findings) else "inconclusive"
