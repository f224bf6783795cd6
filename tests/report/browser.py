"""A real Chromium for tests and benchmarks of pages, without installing anything on this machine.

The one on the PATH; else Debian's package, unpacked once into the user's cache as the embedded
cluster's own root is, and run with that root's ``/usr`` and ``/etc`` in a mount namespace.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from drainproof.clusters import artefacts, debian
from drainproof.errors import UserError
from drainproof.progress import NoProgress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

RELEASE = debian.Release("bookworm", "main")
PACKAGES = ("chromium", "fonts-dejavu-core")
_IN_ITS_ROOT = """#!/bin/sh
exec unshare --mount --propagation private sh -c '
    mount --bind "$0/usr" /usr && mount --bind "$0/etc" /etc && exec /usr/bin/chromium "$@"
' '{root}' "$@"
"""


def chromium(folder: Path) -> Path:
    """Return a program that is Chromium.

    Args:
        folder: Where a script that starts it may be written.

    Raises:
        UserError: There is none, and none can be unpacked here.
    """
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found:
        return Path(found)
    if os.geteuid() != 0:
        raise UserError("there is no chromium on the PATH, and only root can unpack Debian's")
    if not (shutil.which("apt-get") and debian.package_sources(RELEASE.suite, RELEASE.component)):
        raise UserError(f"there is no chromium on the PATH, and this is not Debian {RELEASE.suite}")
    artefact = debian.root_file_system("chromium", PACKAGES, RELEASE, archive=False, estimate_s=60)
    artefacts.ensure([artefact], NoProgress())
    script = folder / "chromium"
    script.write_text(_IN_ITS_ROOT.format(root=artefact.path / "root"), encoding="utf-8")
    script.chmod(0o755)
    return script


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start Chromium without a window, and end it.

    Args:
        folder: As for :func:`chromium`.

    Raises:
        UserError: There is no Chromium.
    """
    program = chromium(folder)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, chromium_sandbox=False)
        try:
            yield started
        finally:
            started.close()
