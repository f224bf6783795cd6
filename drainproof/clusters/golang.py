"""Programs are built from Go modules, pinned by the go.sum beside the recipe."""

from __future__ import annotations

import os
import re
import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from drainproof.clusters.artefacts import Artefact, content_hash
from drainproof.clusters.commands import run
from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Debug information would only be made to be thrown away by the linker's -s -w.
_FLAGS = ("-trimpath", "-buildvcs=false", "-mod=readonly", "-gcflags=all=-dwarf=false")
_USUAL_FOLDER = Path("/usr/local/go/bin/go")


def go_tool() -> Path | None:
    """Return the go command, from the PATH or from where Go's own archive puts it."""
    found = shutil.which("go")
    if found:
        return Path(found)
    return _USUAL_FOLDER if _USUAL_FOLDER.exists() else None


@cache
def go_version() -> str | None:
    """Return the version of the installed Go such as ``1.26.1``, or None where there is none."""
    tool = go_tool()
    if tool is None:
        return None
    return run([tool, "env", "GOVERSION"], cwd=Path("/")).strip().removeprefix("go").split()[0]


def go_binaries(
    name: str,
    module: Path,
    packages: Sequence[Sequence[str]],
    *,
    set_strings: Sequence[str] = (),
    estimate_s: float,
) -> Artefact:
    """Return the artefact that has one static program for each package.

    Args:
        name: The artefact's name.
        module: The folder with go.mod and go.sum, which key the artefact with the Go files below.
        packages: Groups of import paths or ``./`` patterns. A group is built by one go command,
            which shares work best; two that can't be loaded together go into two groups. It may
            begin with flags of its own, such as ``-tags=…``.
        set_strings: The linker's ``-X`` settings, ``importpath.name=value``.
        estimate_s: Seconds the first build takes on two cores.
    """
    link = " ".join(["-s", "-w", *(f"-X {one}" for one in set_strings)])

    def build(into: Path) -> None:
        for group in packages:
            # -o with a final slash: a folder, whatever the number of programs.
            run(
                [_go(), "build", *_FLAGS, f"-ldflags={link}", "-o", f"{into}/", *group],
                cwd=module,
                env=_environment(),
            )

    return Artefact(
        name=name,
        inputs={
            "module": _sources_hash(module),
            "packages": repr(packages),
            "flags": repr((_FLAGS, link)),
            "go": go_version() or "none",
        },
        build=build,
        estimate_s=estimate_s,
    )


def go_binary(module: Path, package: str, *, name: str, estimate_s: float = 60) -> Artefact:
    """Return the artefact that has the one program of ``package``; see ``go_binaries``."""
    return go_binaries(name, module, [[package]], estimate_s=estimate_s)


def module_folder(module: Path, dependency: str) -> Path:
    """Return where the source of a module that ``module`` requires is, downloaded if need be."""
    run([_go(), "mod", "download", dependency], cwd=module, env=_environment())
    found = run([_go(), "list", "-m", "-f", "{{.Dir}}", dependency], cwd=module, env=_environment())
    return Path(found.strip())


def required_version(module: Path, dependency: str) -> str:
    """Return the version of a module that the go.mod in ``module`` states, such as ``v1.2.3``."""
    text = (module / "go.mod").read_text()
    found = re.search(rf"^(?:require)?\s*{re.escape(dependency)} (v\S+)", text, re.MULTILINE)
    if found is None:
        raise LookupError(f"{dependency} is not in {module / 'go.mod'}")
    return found[1]


def _sources_hash(module: Path) -> str:
    sources = [module / "go.mod", module / "go.sum", *sorted(module.rglob("*.go"))]
    return repr([(str(one.relative_to(module)), content_hash(one)) for one in sources])


def _go() -> Path:
    tool = go_tool()
    if tool is None:
        raise UserError("Go is not installed", "install it from https://go.dev/dl")
    return tool


def _environment() -> dict[str, str]:
    # GOFLAGS of the user would change what is built without changing the key.
    kept = {key: value for key, value in os.environ.items() if key != "GOFLAGS"}
    # The compiler spends a sixth of its time on collecting garbage that would have fitted.
    return {**kept, "CGO_ENABLED": "0", "GOWORK": "off", "GOGC": "400"}
