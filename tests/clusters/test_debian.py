"""The machine's own package sources are used, those of the one release and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.clusters.debian import other_suite, package_sources, with_age

if TYPE_CHECKING:
    from pathlib import Path

DEB822 = """\
Types: deb
# a mirror nearby
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian.gpg

Types: deb deb-src
URIs: http://mirror.test/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBGPL0BU=
"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_the_newer_format_is_read(apt: Path) -> None:
    (apt / "sources.list.d" / "debian.sources").write_text(DEB822)
    signed = "deb [signed-by=/usr/share/keyrings/debian.gpg] http://mirror.test/debian"
    assert package_sources("bookworm", "main", apt) == [
        f"{signed} bookworm main contrib",
        f"{signed} bookworm-updates main contrib",
        "deb http://mirror.test/debian-security bookworm-security main",
    ]


def test_the_older_format_is_read(apt: Path) -> None:
    lines = [
        "deb http://mirror.test/debian bookworm main",
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.test/debian bookworm-updates main",
    ]
    (apt / "sources.list").write_text("# mine\n" + "\n".join(lines) + "\n")
    assert package_sources("bookworm", "main", apt) == lines


@pytest.mark.parametrize(
    "line",
    [
        "deb http://mirror.test/debian trixie main",
        "deb-src http://mirror.test/debian bookworm main",
        "deb http://vendor.test/linux/debian bookworm stable",
        "deb http://vendor.test/apt cloud-sdk-bookworm main",
        "# deb http://mirror.test/debian bookworm main",
        "deb",
    ],
)
def test_other_sources_are_left_out(apt: Path, line: str) -> None:
    (apt / "sources.list").write_text(f"{line}\n")
    assert package_sources("bookworm", "main", apt) == []


def test_a_source_that_is_switched_off_is_left_out(apt: Path) -> None:
    (apt / "sources.list.d" / "debian.sources").write_text("Enabled: no\n" + DEB822)
    assert [line.split()[2] for line in package_sources("bookworm", "main", apt)] == [
        "bookworm-security"
    ]


def test_another_suite_comes_from_where_the_release_comes_from() -> None:
    lines = [
        "deb [signed-by=/k.gpg] http://mirror.test/bookworm/debian bookworm main",
        "deb http://mirror.test/debian bookworm-updates main",
        "deb http://mirror.test/debian-security bookworm-security main",
    ]
    assert other_suite(lines, "bookworm", "sid") == [
        "deb [signed-by=/k.gpg] http://mirror.test/bookworm/debian sid main"
    ]


@pytest.mark.parametrize("check", ["false", "0", "no\n"])
def test_an_old_index_is_taken_where_this_machine_takes_its_own_at_any_age(check: str) -> None:
    lines = ["deb [ signed-by=/k.gpg] http://a.test sid main", "deb http://b.test sid main"]
    assert [line.split() for line in with_age(lines, check)] == [
        ["deb", "[check-valid-until=no", "signed-by=/k.gpg]", "http://a.test", "sid", "main"],
        ["deb", "[check-valid-until=no]", "http://b.test", "sid", "main"],
    ]


@pytest.mark.parametrize("check", ["", "true", "1"])
def test_an_old_index_is_refused_elsewhere(check: str) -> None:
    lines = ["deb http://b.test sid main"]
    assert with_age(lines, check) == lines
