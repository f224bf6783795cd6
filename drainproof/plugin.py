"""The pytest door: checks are collected as test items, one for each check and subject.

``pytest checks/manifest --manifests deploy/`` runs the checks in those files. This module is loaded
by every pytest that has drainproof installed, so it imports nothing heavy until a check is
collected.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.audit import Outcome
    from drainproof.judge.registry import Check
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

_KINDS = ("manifest", "live", "chaos")
_SNAPSHOT = pytest.StashKey["Snapshot"]()
_OPTIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("--manifests", "drainproof_manifests", {
        "action": "append", "metavar": "PATH", "help": "Manifests that the checks look at."}),
    ("--context", "drainproof_context", {
        "metavar": "NAME", "help": "kubeconfig context of the cluster to look at, or to disturb."}),
    ("--namespace", "drainproof_namespaces", {
        "action": "append", "metavar": "NAME", "help": "Namespace in that cluster."}),
    ("--all-namespaces", "drainproof_all", {
        "action": "store_true", "help": "Look at all namespaces of that cluster."}),
    ("--profile", "drainproof_profile", {
        "default": "production", "metavar": "NAME", "help": "production, dev or module."}),
    ("--target", "drainproof_target", {
        "metavar": "KIND/NAME", "help": "Workload that checks/chaos disturbs."}),
    ("--fault", "drainproof_faults", {
        "action": "append", "metavar": "NAME", "help": "Fault that checks/chaos does."}),
)  # fmt: skip
"""Option, where its value is kept, and how pytest's parser takes it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; one whose name another plugin has is called ``--drainproof-…``."""
    from drainproof.faults.pytest_chaos import OPTIONS  # noqa: PLC0415 - the table alone is light

    group = parser.getgroup("drainproof", "drainproof: checks of LLM deployments")
    for name, dest, how in (*_OPTIONS, *OPTIONS):
        try:
            group.addoption(name, dest=dest, **how)
        except (ValueError, argparse.ArgumentError):
            group.addoption(f"--drainproof-{name[2:]}", dest=dest, **how)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that selects check items."""
    config.addinivalue_line("markers", "drainproof: a drainproof check on a subject")


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Read what the checks look at, so that bad usage ends the run before anything is collected."""
    config = session.config
    if config.getoption("drainproof_target"):
        namespaces = config.getoption("drainproof_namespaces") or []
        if not config.getoption("drainproof_context") or len(namespaces) != 1:
            raise pytest.UsageError(
                "--target needs --context NAME and one --namespace NAME beside it"
            )
        return
    if not config.getoption("drainproof_manifests") and not config.getoption("drainproof_context"):
        if _named_checks(config):
            raise pytest.UsageError(
                "checks need something to look at: --manifests PATH, or --context NAME with "
                "--namespace or --all-namespaces; those in checks/chaos need --target too"
            )
        return
    from drainproof.errors import UserError  # noqa: PLC0415 - nothing heavy until it is used
    from drainproof.judge.audit import nothing_to_audit  # noqa: PLC0415 - same
    from drainproof.judge.profiles import profile  # noqa: PLC0415 - same

    try:
        profile(config.getoption("drainproof_profile"))
        snapshot = _snapshot(config)
        if not snapshot.workloads and not snapshot.problems:
            raise nothing_to_audit(snapshot)
    except UserError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[_SNAPSHOT] = snapshot


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a check file; files of tests stay pytest's own."""
    if file_path.suffix != ".py" or file_path.parent.name not in _KINDS:
        return None
    if not _is_check(file_path):
        return None
    config = parent.config
    chaos = file_path.parent.name == "chaos"
    ready = config.getoption("drainproof_target") if chaos else _SNAPSHOT in config.stash
    return CheckFile.from_parent(parent, path=file_path) if ready else None


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Show inconclusive items as such; they count as failed, never as passed."""
    properties = getattr(report, "user_properties", ())  # reports of collection have none
    if report.failed and ("verdict", "inconclusive") in properties:
        return "failed", "?", "INCONCLUSIVE"
    return None


class CheckFile(pytest.File):
    """A file with one check in it."""

    def collect(self) -> Iterator[pytest.Item]:
        """Yield an item for each subject that the check applies to."""
        from drainproof.errors import UserError  # noqa: PLC0415 - as above
        from drainproof.judge.registry import load_file  # noqa: PLC0415 - same

        kind = self.path.parent.name
        try:
            check = load_file(self.path, kind)
        except UserError as error:
            raise self.CollectError(str(error)) from None
        if check is None:
            return
        if kind == "chaos":
            from drainproof.faults.pytest_chaos import collect_chaos_items  # noqa: PLC0415 - same

            yield from collect_chaos_items(self, check)
            return
        snapshot = self.config.stash[_SNAPSHOT]
        yield from self._unreadable(snapshot)
        names: set[str] = set()
        for workload in snapshot.workloads:
            if check.applies_to and workload.kind not in check.applies_to:
                continue
            name = f"{check.slug}[{workload.ref}]"
            if name in names:  # the same object in two files, such as two overlays
                name = f"{check.slug}[{workload.ref}@{workload.file}]"
            names.add(name)
            yield CheckItem.from_parent(self, name=name, check=check, subject=workload)

    def _unreadable(self, snapshot: Snapshot) -> Iterator[pytest.Item]:
        """Yield a failing item for each part of the input that can't be read, in one file only."""
        first = min(path for path in self.path.parent.glob("*.py") if _is_check(path))
        if self.path != first:
            return
        for problem in snapshot.problems:
            where = f"{problem.file}:{problem.line}" if problem.line else problem.file
            yield UnreadableItem.from_parent(
                self, name=f"readable[{where}]", said=str(problem), hint=problem.hint
            )


class CheckItem(pytest.Item):
    """One check on one subject."""

    def __init__(self, *, check: Check, subject: Workload, **kwargs: Any) -> None:  # noqa: ANN401 - pytest's
        super().__init__(**kwargs)
        self.check = check
        self.subject = subject
        self.add_marker("drainproof")
        self.user_properties += [
            ("check", check.slug),
            ("check_id", check.id),
            ("subject", subject.ref),
        ]

    def runtest(self) -> None:
        """Judge; raise what fails or can't be told."""
        from drainproof.judge.audit import Offered, judge  # noqa: PLC0415 - as above
        from drainproof.judge.profiles import profile  # noqa: PLC0415 - same

        chosen = profile(self.config.getoption("drainproof_profile"))
        snapshot = self.config.stash[_SNAPSHOT]
        outcome = judge(self.check, Offered(snapshot, self.subject, chosen))
        self.user_properties.append(("verdict", outcome.verdict.value))
        self.user_properties += [("assumption", item.message) for item in outcome.assumptions]
        if outcome.findings:
            raise NotPassed(outcome)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401 - pytest's
        """Write the findings instead of a traceback."""
        if isinstance(excinfo.value, NotPassed):
            return _written(excinfo.value.outcome, self.config.stash[_SNAPSHOT])
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return what pytest heads a failure with."""
        return self.path, None, self.name


class UnreadableItem(pytest.Item):
    """A part of the input that can't be read."""

    def __init__(self, *, said: str, hint: str, **kwargs: Any) -> None:  # noqa: ANN401 - pytest's
        super().__init__(**kwargs)
        self.said = f"{said}\n  hint: {hint}" if hint else said
        self.add_marker("drainproof")

    def runtest(self) -> None:
        """Fail."""
        pytest.fail(self.said, pytrace=False)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return what pytest heads the failure with."""
        return self.path, None, self.name


class NotPassed(Exception):  # noqa: N818 - a verdict, not an error
    """A check that failed, or could not be decided."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"{outcome.check.slug}: {outcome.verdict.value}")
        self.outcome = outcome


def _written(outcome: Outcome, snapshot: Snapshot) -> str:
    from drainproof.report.rows import lines_of  # noqa: PLC0415 - as above
    from drainproof.report.terminal import printable  # noqa: PLC0415 - same

    rows: list[str] = []
    for item, line in zip(outcome.findings, lines_of(outcome.findings, snapshot), strict=True):
        place = f"{item.origin.file}:{line}" if item.origin else item.object
        word = item.severity.value if item.verdict == "fail" and item.severity else item.verdict
        rows += [f"{word}: {place}: {item.path}", f"  {item.message}"]
    rows.append(f"fix: {outcome.check.fix}")
    return "\n".join(printable(row) for row in rows)


def _snapshot(config: pytest.Config) -> Snapshot:
    from drainproof.errors import UserError  # noqa: PLC0415 - as above

    manifests: list[str] | None = config.getoption("drainproof_manifests")
    context: str | None = config.getoption("drainproof_context")
    if manifests and context:
        raise UserError("expected either --manifests or --context, found both")
    if manifests:
        from drainproof.collect import files  # noqa: PLC0415 - same

        base = config.invocation_params.dir
        return files.read([path if path == "-" else _relative(base / path) for path in manifests])
    namespaces: list[str] | None = config.getoption("drainproof_namespaces")
    if bool(namespaces) == bool(config.getoption("drainproof_all")):
        raise UserError("expected --namespace NAME or --all-namespaces with --context")
    from drainproof.collect import connect, live  # noqa: PLC0415 - same

    return live.read(connect.connect(context or ""), namespaces, source=f"context {context}")


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _is_check(path: Path) -> bool:
    if path.name.startswith("_"):
        return False
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return "@check(" in text and "drainproof" in text


def _named_checks(config: pytest.Config) -> bool:
    """Tell whether the command line names a check file, or a folder with checks in it."""
    base = config.invocation_params.dir
    for part in config.args:
        path = base / part.partition("::")[0]
        inner = "*/*.py" if path.name == "checks" else "*.py"
        files = [path] if path.suffix == ".py" else path.glob(inner)
        if any(file.parent.name in _KINDS and _is_check(file) for file in files):
            return True
    return False
