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

    from drainproof.judge.config import Audit, Config
    from drainproof.model.snapshot import Snapshot

_KINDS = ("manifest", "live", "chaos")
_AUDIT: pytest.StashKey[Audit] = pytest.StashKey()
_FIRST: pytest.StashKey[Path] = pytest.StashKey()
"""The file with a check that says what could not be read."""
_OWN = "drainproof"
"""What ``--pyargs drainproof`` names: drainproof's own checks, wherever they are installed."""
_OPTIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("--manifests", "drainproof_manifests", {
        "action": "append", "metavar": "PATH", "help": "Manifests that the checks look at."}),
    ("--context", "drainproof_context", {
        "metavar": "NAME", "help": "kubeconfig context of the cluster to look at, or to disturb."}),
    ("--namespace", "drainproof_namespaces", {
        "action": "append", "metavar": "NAME", "help": "Namespace in that cluster."}),
    ("--all-namespaces", "drainproof_all", {
        "action": "store_true", "help": "Look at all namespaces of that cluster."}),
    ("--prometheus", "drainproof_prometheus", {
        "default": "", "metavar": "WHERE",
        "help": "Its Prometheus: a URL, NAMESPACE/SERVICE[:PORT], or auto."}),
    ("--values", "drainproof_values", {
        "action": "append", "metavar": "FILE", "help": "Values file for Helm charts."}),
    ("--set", "drainproof_sets", {
        "action": "append", "metavar": "KEY=VALUE", "help": "Value for Helm charts."}),
    ("--profile", "drainproof_profile", {
        "metavar": "NAME", "help": "production (default), dev or module."}),
    ("--fail-on", "drainproof_fail_on", {
        "choices": ("error", "warning"), "help": "Least severity that fails; error by default."}),
    ("--waivers", "drainproof_waivers", {
        "metavar": "FILE", "help": "A file of waivers."}),
    ("--baseline", "drainproof_baseline", {
        "metavar": "FILE", "help": "Findings that are taken as given."}),
    ("--drainproof-config", "drainproof_config", {
        "metavar": "FILE", "help": "A config file instead of the one that is found."}),
    ("--target", "drainproof_target", {
        "metavar": "KIND/NAME", "help": "Workload that checks/chaos disturbs."}),
    ("--fault", "drainproof_faults", {
        "action": "append", "metavar": "NAME[:KEY=VALUE,…]",
        "help": "Fault that checks/chaos does; all that can be by default."}),
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
    _find_own_checks(config)
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
    from drainproof.judge.config import Audit  # noqa: PLC0415 - same

    try:
        settings = _settings(config)
        snapshot = _snapshot(config)
        if not snapshot.workloads and not snapshot.problems:
            raise nothing_to_audit(snapshot)
        config.stash[_AUDIT] = Audit(snapshot, settings)
    except UserError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a check file; files of tests stay pytest's own."""
    if file_path.suffix != ".py" or file_path.parent.name not in _KINDS:
        return None
    if not _is_check(file_path):
        return None
    config = parent.config
    chaos = file_path.parent.name == "chaos"
    ready = config.getoption("drainproof_target") if chaos else _AUDIT in config.stash
    return CheckFile.from_parent(parent, path=file_path) if ready else None


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Show inconclusive items and those with warnings as such; the former count as failed."""
    properties = getattr(report, "user_properties", ())  # reports of collection have none
    if report.failed and ("verdict", "inconclusive") in properties:
        return "failed", "?", "INCONCLUSIVE"
    if report.passed and report.when == "call" and _warnings(report):
        return "passed", "w", "WARNING"
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the findings below ``--fail-on``: their items passed."""
    if _AUDIT not in terminalreporter.config.stash:
        return
    reports = [item for item in terminalreporter.stats.get("passed", ()) if _warnings(item)]
    if reports:
        terminalreporter.section("drainproof: findings below --fail-on")
        for report in reports:
            terminalreporter.line(report.nodeid.rpartition("::")[2])
            for said in _warnings(report):
                terminalreporter.line(said)


def _warnings(report: pytest.TestReport) -> list[str]:
    properties = getattr(report, "user_properties", ())
    if not properties or properties[0][0] != "check":
        return []
    return [value for name, value in properties if name == "warning"]


class CheckFile(pytest.File):
    """A file with one check in it."""

    def collect(self) -> Iterator[pytest.Item]:
        """Yield an item for each subject that the check applies to."""
        from drainproof.errors import UserError  # noqa: PLC0415 - as above

        try:
            if self.path.parent.name == "chaos":
                from drainproof.faults.pytest_chaos import collect_chaos_items  # noqa: PLC0415 - same
                from drainproof.judge.registry import load_file  # noqa: PLC0415 - same

                check = load_file(self.path, "chaos")
                yield from collect_chaos_items(self, check) if check else ()
            else:
                from drainproof.judge.pytest_audit import items  # noqa: PLC0415 - same

                # whichever file is collected first, since a run may be of one file only
                first = self.session.stash.setdefault(_FIRST, self.path) == self.path
                yield from items(self, self.config.stash[_AUDIT], first=first)
        except UserError as error:
            raise self.CollectError(str(error)) from None


def _settings(config: pytest.Config) -> Config:
    from drainproof.judge.config import load  # noqa: PLC0415 - as above

    base = config.invocation_params.dir

    def file(name: str) -> Path | None:
        given: str | None = config.getoption(f"drainproof_{name}")
        return base / given if given else None

    settings = load(
        base,
        file=file("config"),
        profile_name=config.getoption("drainproof_profile"),
        fail_on=config.getoption("drainproof_fail_on"),
        waivers=file("waivers"),
        baseline=file("baseline"),
    )
    settings.refuse_unknown()
    return settings


def _snapshot(config: pytest.Config) -> Snapshot:
    from drainproof.errors import UserError  # noqa: PLC0415 - as above

    manifests: list[str] | None = config.getoption("drainproof_manifests")
    context: str | None = config.getoption("drainproof_context")
    if manifests and context:
        raise UserError("expected either --manifests or --context, found both")
    base = config.invocation_params.dir
    if manifests:
        if "-" in manifests and (
            config.getoption("capture") != "no" or config.getoption("dist", "no") != "no"
        ):
            raise UserError(
                "--manifests -: pytest keeps standard input from what it runs",
                hint="Name a file, or run it with -s and without -n.",
            )
        from drainproof.collect import files  # noqa: PLC0415 - same

        values: list[str] = config.getoption("drainproof_values") or []
        return files.read(
            [path if path == "-" else _relative(base / path) for path in manifests],
            values=[_relative(base / file) for file in values],
            sets=config.getoption("drainproof_sets") or [],
        )
    namespaces: list[str] | None = config.getoption("drainproof_namespaces")
    if bool(namespaces) == bool(config.getoption("drainproof_all")):
        raise UserError("expected --namespace NAME or --all-namespaces with --context")
    from drainproof.collect import connect, live  # noqa: PLC0415 - same

    return live.read(
        connect.connect(context or ""),
        namespaces,
        source=f"context {context}",
        prometheus=config.getoption("drainproof_prometheus"),
    )


def _find_own_checks(config: pytest.Config) -> None:
    """Let ``--pyargs drainproof`` mean the checks that drainproof was installed with."""
    if config.getoption("pyargs") and _OWN in config.args:
        from drainproof.content import content  # noqa: PLC0415 - as above

        own = str(content("checks"))
        config.args[:] = [own if part == _OWN else part for part in config.args]


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
