"""Asks Kyverno's own engine about objects, one after the other, and the audit about the same."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any

from drainproof.policies import reach, write
from drainproof.policies.facts import RESOURCES
from drainproof.policies.folder import errors

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.profiles import Profile
    from drainproof.judge.registry import Check
    from drainproof.model.shape import Raw


def as_stored(value: Any) -> Any:  # noqa: ANN401 - any part of an object
    """Return a part of an object as the API server keeps it: without nulls."""
    if isinstance(value, dict):
        return {key: as_stored(item) for key, item in value.items() if item is not None}
    return [as_stored(item) for item in value] if isinstance(value, list) else value


class Judge:
    """Kyverno's engine with the policies of some checks, compiled once.

    Args:
        program: The ``judge`` that is built beside Kyverno's command line.
        checks: Whose policies.
        profile: The numbers in them.
        folder: Where the policies are written to.
    """

    def __init__(
        self, program: Path, checks: tuple[Check, ...], profile: Profile, folder: Path
    ) -> None:
        self.checks = checks
        self.profile = profile
        self.given: Counter[tuple[str, str]] = Counter()
        """How often each policy gave each result, by the check's slug."""
        settings = write.Settings(profile=profile, action="Deny")
        files = []
        for check in checks:
            files.append(folder / f"{check.slug}.yaml")
            files[-1].write_text(write.policy(check, settings), encoding="utf-8")
        self._process = subprocess.Popen(
            [program, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        """End the engine."""
        self._process.communicate(timeout=60)

    def verdicts(self, obj: Raw) -> dict[str, tuple[str, str]]:
        """Return result and message of each policy that matches an object, by the check's slug."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"resource": RESOURCES[reach.group_of(obj)], "object": obj}) + "\n")
        stdin.flush()
        found = json.loads(stdout.readline())
        verdicts = {
            name.removeprefix(write.PREFIX): (said["result"], said["message"])
            for name, said in found.items()
        }
        self.given.update((slug, result) for slug, (result, _) in verdicts.items())
        return verdicts

    def disagreements(self, obj: Raw) -> list[str]:
        """Return, in words, each check whose policy judges an object otherwise than the audit.

        A policy may leave out what it can't see (:func:`drainproof.policies.reach.unseen`).
        """
        verdicts = self.verdicts(obj)
        audited = errors(obj, self.checks, self.profile)
        found = []
        for check in self.checks:
            result, message = verdicts.get(check.slug, ("not matched", ""))
            expected = "; ".join(audited[check.slug])
            said = _parts(message) if result == "fail" else Counter()
            known = _parts(expected)
            unseen = reach.unseen(obj) or reach.unseen_replicas(check.slug, obj)
            agrees = said <= known if unseen else said == known
            if not agrees or result not in {"pass", "fail"}:
                found.append(
                    f"{check.slug}: policy: {result} {message!r}, audit: {expected or 'pass'!r}"
                )
        return found


def _parts(message: str) -> Counter[str]:
    """Return what a message says, in no order: a map has none in CEL."""
    return Counter(message.split("; ") if message else ())
