"""Has cosign sign a report, where it is installed."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from drainproof.collect.tools import one_line, which
from drainproof.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_S = 300.0
"""How long a signature may take, in seconds: a person may have to log in to an identity."""


def cosign() -> str:
    """Return the path of cosign.

    Raises:
        UserError: It is not on the PATH.
    """
    found = which("cosign")
    if found is None:
        raise UserError(
            "expected cosign on the PATH for --sign, found none",
            hint="Install it (docs.sigstore.dev), or leave --sign out and sign the file elsewhere.",
        )
    return found


def sign(program: str, file: Path, key: str) -> Path:
    """Sign a file; return the bundle that holds the signature, ``FILE.sigstore.json``.

    Args:
        program: cosign.
        file: What is signed.
        key: As ``cosign --key`` takes it; empty for an identity, as cosign finds it.

    Raises:
        UserError: cosign can't be run, fails or takes too long.
    """
    bundle = file.with_name(f"{file.name}.sigstore.json")
    with_key = ["--key", key] if key else []
    argv = [program, "sign-blob", "--yes", *with_key, "--bundle", str(bundle), str(file)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except OSError as error:
        raise UserError(f"{program}: cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{file}: not signed within {TIMEOUT_S:g} s") from None
    if done.returncode:
        raise UserError(
            f"{file}: cosign did not sign it: {one_line(done.stderr) or done.returncode}",
            hint="The report itself is written.",
        )
    return bundle
