"""Says what is better, worse, new and gone from one conformance report to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.conformance.form import Passed, Report, Result

_RANKS: Final[dict[Passed, int]] = {"failed": 0, "inconclusive": 1, "passed": 2}
"""Of the results of checks that ran."""


class Change(Struct, frozen=True, kw_only=True):
    """What changed for one check."""

    check: str
    before: Passed
    after: Passed
    reasons: tuple[str, ...]
    """Why it is as it is now."""

    @property
    def word(self) -> str:
        """``better``, ``worse``, ``new`` (it ran only now) or ``gone`` (it ran only before)."""
        if self.before == "not_run":
            return "new"
        if self.after == "not_run":
            return "gone"
        return "better" if _RANKS[self.after] > _RANKS[self.before] else "worse"

    @property
    def worsens(self) -> bool:
        """Whether something got worse: a proof is lost, or there is a failure more."""
        return (
            self.word == "worse"
            or (self.word == "gone" and self.before == "passed")
            or (self.word == "new" and self.after == "failed")
        )


class Other(Struct, frozen=True, kw_only=True):
    """Something else that is not the same, such as an image."""

    what: str
    before: str
    after: str


class Difference(Struct, frozen=True, kw_only=True):
    """Two reports compared."""

    changes: tuple[Change, ...]
    others: tuple[Other, ...]
    """In what the reports are about; these alone are neither better nor worse."""

    @property
    def worsens(self) -> bool:
        """Whether anything got worse."""
        return any(one.worsens for one in self.changes)


def compare(before: Report, after: Report) -> Difference:
    """Compare two reports."""
    old, new = ({one.check: one for one in report.checks} for report in (before, after))
    changes = (
        Change(
            check=slug,
            before=_result(old.get(slug)),
            after=_result(new.get(slug)),
            reasons=new[slug].reasons if slug in new else (),
        )
        for slug in dict.fromkeys((*old, *new))
    )
    said = dict(_said(before)), dict(_said(after))
    return Difference(
        changes=tuple(one for one in changes if one.before != one.after),
        others=tuple(
            Other(what=what, before=said[0].get(what, ""), after=said[1].get(what, ""))
            for what in dict.fromkeys((*said[0], *said[1]))
            if said[0].get(what, "") != said[1].get(what, "")
        ),
    )


def _result(found: Result | None) -> Passed:
    return found.result if found else "not_run"


def _said(report: Report) -> Iterator[tuple[str, str]]:
    """Yield what a report is about, by what to call it."""
    deployment, features = report.deployment, report.features
    yield "deployment", deployment.ref
    yield "engine", f"{deployment.engine} {deployment.engine_version}".strip()
    images: dict[str, list[str]] = {}
    for image in deployment.images:
        named = image.image.partition("@")[0]
        images.setdefault(image.container, []).append(f"{named} {image.digest}".strip())
    for container, ran in images.items():
        yield f"image of {container}", ", ".join(ran)
    yield "Kubernetes", report.cluster.version
    yield "profile", report.profile
    yield "drainproof", report.drainproof
    for word in ("supported", "unsupported", "unknown"):
        for feature in getattr(features, word):
            yield f"feature {feature}", word
