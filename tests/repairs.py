"""Mends by some checks under a profile, as ``drainproof fix`` does without any settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.fix import apply
from drainproof.judge import audit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.judge.registry import Check
    from drainproof.model.snapshot import Snapshot


def mend(
    snapshot: Snapshot, profile: Profile, checks: Sequence[Check]
) -> tuple[list[apply.Mended], audit.AuditResult]:
    return apply.mend(snapshot, lambda found: audit.run(found, profile, checks))
