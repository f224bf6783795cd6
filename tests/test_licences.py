"""No dependency without a licence that is known and accepted slips in."""

from __future__ import annotations

from importlib import metadata
from importlib.metadata import Distribution
from typing import TYPE_CHECKING, Any

import pytest

from docs import licences
from docs.licences import ACCEPTED, FOR_TESTS, UnknownLicenceError

if TYPE_CHECKING:
    from collections.abc import Callable


class Made(Distribution):
    """A distribution with these lines as its metadata."""

    def __init__(self, *lines: str) -> None:
        self._text = "\n".join(lines)

    def read_text(self, filename: str) -> str | None:
        return self._text if filename == "METADATA" else None

    def locate_file(self, path: object) -> Any:  # noqa: ANN401 - its signature
        raise NotImplementedError


def made(name: str, said: dict[str, str] | None = None, *needs: str) -> Distribution:
    lines = [f"{key}: {value}" for key, value in (said or {}).items()]
    return Made(f"Name: {name}", *lines, *(f"Requires-Dist: {need}" for need in needs), "")


def finding(*there: Distribution) -> Callable[[str], Distribution]:
    names = {one.metadata["Name"]: one for one in there}

    def find(name: str) -> Distribution:
        if name not in names:
            raise metadata.PackageNotFoundError(name)
        return names[name]

    return find


def rows(page: str) -> dict[str, str]:
    cells = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return {name: licence for name, licence in cells if name not in {"package", "---"}}


def test_the_page_names_the_licence_of_whatever_is_installed() -> None:
    written = rows(licences.PAGE.read_text(encoding="utf-8"))
    found = rows(licences.page(metadata.distribution))
    assert len(found) > 50
    assert {name: written.get(name) for name in found} == found, "run: make licences"


def test_the_page_names_nothing_that_is_not_locked() -> None:
    written = rows(licences.PAGE.read_text(encoding="utf-8"))
    assert set(written) - licences.locked() == set(), "run: make licences"


@pytest.mark.parametrize(
    ("said", "accepted", "why"),
    [
        ({}, ACCEPTED, "expected a licence in its metadata, found none"),
        ({"License": "see the file"}, ACCEPTED, "expected a licence in its metadata"),
        ({"License-Expression": "AGPL-3.0-only"}, FOR_TESTS, "found AGPL-3.0-only"),
        ({"License-Expression": "MIT AND SSPL-1.0"}, FOR_TESTS, "found MIT AND SSPL-1.0"),
        ({"License-Expression": "GPL-3.0-or-later"}, ACCEPTED, "found GPL-3.0-or-later"),
    ],
)
def test_a_licence_that_is_unknown_or_not_accepted_is_refused(
    said: dict[str, str], accepted: frozenset[str], why: str
) -> None:
    with pytest.raises(UnknownLicenceError, match=f"sly: .*{why}"):
        licences.accepted_licence(made("sly", said), accepted)


@pytest.mark.parametrize(
    ("said", "licence"),
    [
        ({"License-Expression": "MIT OR GPL-3.0-or-later"}, "MIT OR GPL-3.0-or-later"),
        ({"License": "Apache 2.0"}, "Apache-2.0"),
        ({"Classifier": "License :: OSI Approved :: BSD License"}, "BSD-3-Clause"),
    ],
)
def test_a_licence_is_read_from_all_forms_of_metadata(said: dict[str, str], licence: str) -> None:
    assert licences.accepted_licence(made("good", said), ACCEPTED) == licence


def test_what_is_needed_by_what_is_needed_counts_and_other_systems_and_extras_do_not() -> None:
    find = finding(
        made("drainproof", None, "a>=1", 'b; sys_platform == "none"', 'c; extra == "more"'),
        made("a", None, "D_e"),
        made("d-e", None, "a"),
    )
    assert licences.needs("drainproof", find) == {"a", "d-e"}


def test_a_dependency_that_is_not_accepted_stops_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = finding(made("drainproof", None, "sly"), made("sly", {"License": "secret"}))
    monkeypatch.setattr(metadata, "distribution", find)
    assert licences.main() == 1
    assert capsys.readouterr().err.startswith("error: sly: expected a licence")
