"""The machine's own package sources are used, those of the one release and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.clusters.debian import package_sources

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
