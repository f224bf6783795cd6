"""The bill of materials says what the image installs, in a form that scanners read."""

from __future__ import annotations

import json
import re
from importlib import metadata
from importlib.metadata import Distribution
from typing import Any

import pytest
from cyclonedx.validation.json import JsonStrictValidator

from docs import sbom

LOCK = sbom.LOCK.read_text(encoding="utf-8")
DOCKERFILE = (sbom.DEPLOY / "Dockerfile").read_text(encoding="utf-8")
WRITTEN = sbom.PAGE.read_text(encoding="utf-8")
_PIN = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)
_ENTRY = re.compile(r"^click==(?:.*\n)(?: .*\n)*", re.MULTILINE)


def components(text: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(text)["components"]}


def made(lock: str, dockerfile: str = DOCKERFILE) -> str:
    return sbom.document(lock, dockerfile, metadata.distribution)


def entry(requirement: str) -> str:
    """Return a package's part of a lock file."""
    return f"{requirement} \\\n    --hash=sha256:{'0' * 64}\n"


def test_it_is_up_to_date_and_the_same_each_time() -> None:
    assert sbom.current() == WRITTEN, "run: make sbom"
    assert sbom.current() == WRITTEN
    assert not {"serialNumber", "timestamp"} & keys(json.loads(WRITTEN))


def keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


def test_it_is_valid() -> None:
    assert JsonStrictValidator(sbom.VERSION).validate_str(WRITTEN) is None


@pytest.mark.parametrize(
    ("old", "new"), [('"library"', '"book"'), ('"version": 1', '"issue": 1'), ("SHA-256", "SHA")]
)
def test_what_is_not_valid_is_seen(old: str, new: str) -> None:
    assert old in WRITTEN
    broken = WRITTEN.replace(old, new)
    assert JsonStrictValidator(sbom.VERSION).validate_str(broken) is not None


def test_it_has_each_package_that_the_image_installs_and_no_other() -> None:
    locked = dict(_PIN.findall(LOCK))
    del locked["colorama"]  # on Windows only
    assert {name: one["version"] for name, one in components(WRITTEN).items()} == locked
    assert {"uvloop", "kubernetes"} <= locked.keys()


def test_a_package_that_goes_is_noticed() -> None:
    less = made(_ENTRY.sub("", LOCK))
    assert less != WRITTEN
    assert components(WRITTEN).keys() - components(less).keys() == {"click"}
    assert "pkg:pypi/click@" not in less


def test_each_package_has_the_hashes_of_the_lock() -> None:
    listed = json.dumps([one["externalReferences"] for one in components(WRITTEN).values()])
    others = re.sub(r"^colorama==(?:.*\n)(?: .*\n)*", "", LOCK, flags=re.MULTILINE)
    hashes = re.findall(r"--hash=sha256:(\w+)", others)
    assert len(hashes) > 100
    assert sorted(re.findall(r'"content": "(\w+)"', listed)) == sorted(hashes)


def test_each_package_has_its_licence() -> None:
    found = components(WRITTEN)
    assert [name for name, one in found.items() if not one.get("licenses")] == []
    assert found["kubernetes"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert found["orjson"]["licenses"][0].keys() == {"expression"}


class Nameless(Distribution):
    """A distribution whose metadata name no licence."""

    def read_text(self, filename: str) -> str | None:
        return "Name: nameless\nVersion: 1\n" if filename == "METADATA" else None

    def locate_file(self, path: object) -> Any:  # noqa: ANN401 - its signature
        raise NotImplementedError


def test_a_licence_that_is_not_known_is_left_out() -> None:
    def find(name: str) -> Distribution:
        return Nameless() if name == "nameless" else metadata.distribution(name)

    text = sbom.document(f"{LOCK}{entry('nameless==1')}", DOCKERFILE, find)
    assert "licenses" not in components(text)["nameless"]
    assert JsonStrictValidator(sbom.VERSION).validate_str(text) is None


def test_it_says_what_needs_what() -> None:
    needs = {one["ref"]: one.get("dependsOn", []) for one in json.loads(WRITTEN)["dependencies"]}
    (own,) = (ref for ref in needs if ref.startswith("pkg:pypi/drainproof@"))
    assert own == json.loads(WRITTEN)["metadata"]["component"]["bom-ref"]
    named = {name: one["bom-ref"] for name, one in components(WRITTEN).items()}
    assert {named["click"], named["uvloop"]} <= set(needs[own])
    assert named["urllib3"] in needs[named["kubernetes"]]


@pytest.mark.parametrize(("python", "there"), [("3.14", True), ("3.13", False)])
def test_a_package_of_other_pythons_than_the_images_is_left_out(
    python: str, *, there: bool
) -> None:
    lock = _ENTRY.sub("", LOCK) + entry(f"click==1 ; python_version < '{python}'")
    assert ("click" in components(made(lock))) == there


def test_a_dockerfile_without_the_base_is_refused() -> None:
    with pytest.raises(LookupError, match="expected FROM python:"):
        made(LOCK, DOCKERFILE.replace("FROM python:", "FROM debian:"))
