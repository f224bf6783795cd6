"""Writes what the image installs as a CycloneDX bill of materials. Run it as ``make sbom``.

Packages and hashes are those of deploy/requirements.lock, licences those of docs/licences.md.
It has no time and no serial number: what did not change is the same file.
"""

from __future__ import annotations

import json
import re
from importlib import metadata
from typing import TYPE_CHECKING, Final

from cyclonedx.contrib.hash.factories import HashTypeFactory
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from docs.licences import ROOT, licence_of
from drainproof import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from importlib.metadata import Distribution

DEPLOY: Final = ROOT / "deploy"
PAGE: Final = DEPLOY / "sbom.cdx.json"
LOCK: Final = DEPLOY / "requirements.lock"
VERSION: Final = SchemaVersion.V1_6
_ENTRY: Final = re.compile(r"^(\w[^\n\\]*?) \\\n((?: +--hash=[^\n]+\n)+)", re.MULTILINE)
_HASH: Final = re.compile(r"--hash=(\S+)")
_BASE: Final = re.compile(r"^FROM python:(\d+\.\d+)(\.\d+)", re.MULTILINE)


def document(lock: str, dockerfile: str, find: Callable[[str], Distribution]) -> str:
    """Return the bill of materials as JSON.

    Args:
        lock: The text of a lock file with hashes.
        dockerfile: The text of the Dockerfile, whose base says which Python the image has.
        find: Returns an installed distribution by its name.

    Raises:
        PackageNotFoundError: A package that the image installs is not installed here.
    """
    image = _image(dockerfile)
    found = [(Requirement(line), hashes) for line, hashes in _ENTRY.findall(lock)]
    packages: dict[str, Component] = {
        canonicalize_name(wanted.name): _package(wanted, _HASH.findall(hashes), find)
        for wanted, hashes in found
        if wanted.marker is None or wanted.marker.evaluate(image)
    }
    own = find("drainproof")
    own = find("drainproof")
    main = _component("drainproof", __version__, own, ComponentType.APPLICATION)
    bom = Bom(components=packages.values())
    bom.metadata.component = main
    for name, component in ((main.name, main), *packages.items()):
        needed = sorted(_needs(find(name), image) & packages.keys())
        bom.register_dependency(component, [packages[one] for one in needed])
    written = json.loads(make_outputter(bom, OutputFormat.JSON, VERSION).output_as_string())
    del written["serialNumber"], written["metadata"]["timestamp"]
    return json.dumps(written, indent=2) + "\n"


def _image(dockerfile: str) -> dict[str, str]:
    """Return what markers ask about, as it is in the image."""
    base = _BASE.search(dockerfile)
    if base is None:
        raise LookupError("deploy/Dockerfile: expected FROM python:X.Y.Z, found none")
    return {
        "extra": "",
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_system": "Linux",
        "python_full_version": "".join(base.groups()),
        "python_version": base[1],
        "sys_platform": "linux",
    }


def _package(
    wanted: Requirement, hashes: Iterable[str], find: Callable[[str], Distribution]
) -> Component:
    version = str(wanted.specifier).removeprefix("==")
    component = _component(wanted.name, version, find(wanted.name), ComponentType.LIBRARY)
    # of whatever file is installed: one of a release's files, which its index lists
    component.external_references.add(
        ExternalReference(
            type=ExternalReferenceType.DISTRIBUTION,
            url=XsUri(f"https://pypi.org/project/{wanted.name}/{version}/#files"),
            hashes=[HashTypeFactory().from_composite_str(one) for one in hashes],
        )
    )
    return component


def _component(name: str, version: str, found: Distribution, kind: ComponentType) -> Component:
    url = PackageURL("pypi", name=name, version=version)
    licence = licence_of(found)
    return Component(
        type=kind,
        name=name,
        version=version,
        purl=url,
        bom_ref=str(url),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else (),
    )


def _needs(found: Distribution, image: dict[str, str]) -> set[str]:
    wanted = map(Requirement, found.requires or ())
    return {
        canonicalize_name(one.name)
        for one in wanted
        if one.marker is None or one.marker.evaluate(image)
    }


def current() -> str:
    """Return the bill of materials of the image as it is now."""
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    return document(LOCK.read_text(encoding="utf-8"), dockerfile, metadata.distribution)


if __name__ == "__main__":
    PAGE.write_text(current(), encoding="utf-8")
