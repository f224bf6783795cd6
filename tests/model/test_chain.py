from __future__ import annotations

import pytest

from drainproof.model import chain

PAGE = """\
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="llama"} 3.0
vllm:num_requests_waiting{engine="1",model_name="llama"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="llama",reason="capacity"} 9.0
vllm:num_requests_running{engine="0",model_name="a}b"} 1.0 1793620800000
tgi_queue_size 2
"""


@pytest.mark.parametrize(
    ("query", "selectors"),
    [
        ('sum(a{b="c"})', (('a{b="c"}', 1.0),)),
        ("sum(a) + sum(b)", (("a", 1.0), ("b", 1.0))),
        ("(sum by (model_name) ((a)) or vector(0)) * 2", (("a", 2.0),)),
        ("2 * sum(a) / 4", (("a", 0.5),)),
    ],
)
def test_a_sum_of_metrics_as_they_are_is_one_that_pods_can_show(
    query: str, selectors: tuple[tuple[str, float], ...]
) -> None:
    found = chain.straight(query)
    assert found is not None
    assert found.selectors == selectors


@pytest.mark.parametrize(
    "query",
    [
        "avg(a)",
        "sum(rate(a[2m]))",
        "sum(a offset 5m)",
        "sum(a @ 5)",
        "sum(a) - sum(b)",
        "sum(a) / sum(b)",
        "sum(a) > 5",
        "a",
        'sum({__name__="a"})',
        'sum(a{b="c" or d="e"})',
        "sum(a",
    ],
)
def test_anything_else_is_none(query: str) -> None:
    assert chain.straight(query) is None


@pytest.mark.parametrize(
    ("selector", "total"),
    [
        ("vllm:num_requests_waiting", 7.0),
        ('vllm:num_requests_waiting{namespace="inference",pod=~"llama-.*"}', 7.0),
        ('vllm:num_requests_waiting{engine="1"}', 4.0),
        ('vllm:num_requests_waiting{model_name!="llama"}', 0.0),
        ("vllm:num_requests_running", 1.0),
        ("tgi_queue_size", 2.0),
        ("vllm:requests_waiting", 0.0),
    ],
)
def test_a_pods_own_page_is_summed_by_what_a_selector_reads_in_it(
    selector: str, total: float
) -> None:
    assert chain.exposed(PAGE, selector) == total


@pytest.mark.parametrize("query", ["sum(a) > 5", "sum(a) and sum(b)", "sum(a) != 0"])
def test_a_query_that_leaves_values_out_may_be_empty(query: str) -> None:
    assert chain.may_be_empty(query)


@pytest.mark.parametrize("query", ['sum(a{b!="c"})', "histogram_quantile(0.9, rate(a_bucket[2m]))"])
def test_one_that_does_not_is_empty_without_series_only(query: str) -> None:
    assert not chain.may_be_empty(query)
