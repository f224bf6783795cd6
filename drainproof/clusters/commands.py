"""Other programs are run in one way: they never outlive this one, and a failure is explained."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_TAIL_LINES = 25


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    text_input: str | None = None,
    timeout_s: float | None = None,
) -> str:
    """Run a program to its end and return its standard output.

    The kernel kills the program if this process goes away first.

    Raises:
        UserError: The program failed; the message has the end of what it printed. Or there is no
            setpriv.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", "--", *words],
            cwd=cwd,
            env=env,
            input=text_input,
            stdin=subprocess.DEVNULL if text_input is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except FileNotFoundError as error:
        if shutil.which("setpriv"):
            raise  # it is the folder that is not there
        raise UserError(
            f"expected setpriv on the PATH to run {words[0]}, found none",
            hint="It comes with util-linux.",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"`{' '.join(words)}` did not end within {timeout_s:.0f} s") from error
    if done.returncode != 0:
        printed = (done.stderr.strip() or done.stdout.strip()).splitlines()[-_TAIL_LINES:]
        raise UserError(
            f"{' '.join(words[:6])}{' …' if len(words) > 6 else ''} "  # noqa: PLR2004 - enough to know it by
            f"failed with exit code {done.returncode}:\n" + "\n".join(printed),
        )
    return done.stdout
