from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drainproof.collect import sharing
from drainproof.collect.sharing import Sharing
from tests.manifests import deployment, scaled_object

if TYPE_CHECKING:
    from collections.abc import Callable

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["spec", "template", "containers", "items", "a"]), inner)
    ),
)


@given(found=values)
def test_what_is_shared_is_equal_to_what_was_read(found: object) -> None:
    before, pool = copy.deepcopy(found), Sharing()
    assert pool.share(found) == before
    assert pool.share(copy.deepcopy(before)) == before


def test_equal_containers_of_different_workloads_are_one() -> None:
    pool = Sharing()
    one, other = (pool.share(item) for item in (deployment(), named(deployment(), "other")))
    assert container(one) is container(other)
    assert one != other


def test_equal_parts_of_different_containers_are_one() -> None:
    pool = Sharing()
    one, other = (pool.share(deployment(args=[flag])) for flag in ("--port=1", "--port=2"))
    assert container(one) is not container(other)
    assert container(one)["startupProbe"] is container(other)["startupProbe"]


@pytest.mark.parametrize("made", [deployment, scaled_object])
def test_keys_are_in_memory_once(made: Callable[[], dict[str, Any]]) -> None:
    pool = Sharing()
    one, other = pool.share(copy.deepcopy(made())), pool.share(copy.deepcopy(made()))
    assert isinstance(one, dict)
    assert isinstance(other, dict)
    assert [id(key) for key in one["spec"]] == [id(key) for key in other["spec"]]


def test_what_was_read_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "_MOST", 10)
    pool = Sharing()
    for n in range(100):
        pool.share(deployment(args=[f"--port={n}"]))
    assert len(pool._known) < 60  # noqa: SLF001 - memory has no other face


def named(obj: dict[str, Any], name: str) -> dict[str, Any]:
    return {**obj, "metadata": {"name": name}}


def container(found: object) -> dict[str, Any]:
    assert isinstance(found, dict)
    first: dict[str, Any] = found["spec"]["template"]["spec"]["containers"][0]
    return first
