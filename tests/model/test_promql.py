from __future__ import annotations

import sys
from subprocess import run

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drainproof.model.promql import EVERY_LABEL, Matcher, parse

QUANTILE = "histogram_quantile(0.95, sum by (le) (rate(x_bucket[2m])))"


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ('sum(vllm:num_requests_waiting{namespace="a"})', ("vllm:num_requests_waiting",)),
        ("sum by (pod) (tgi_queue_size)", ("tgi_queue_size",)),
        ("avg without(gpu) (DCGM_FI_DEV_GPU_UTIL)", ("DCGM_FI_DEV_GPU_UTIL",)),
        ("a{x='b c'} / on(pod) group_left(node) d", ("a", "d")),
        ("histogram_quantile(0.95, sum(rate(x_bucket[2m])) by (le))", ("x_bucket",)),
        ('{__name__="up"} > bool 0', ("up",)),
        ('sum({__name__=~"a|b"})', ("a", "b")),
        ("max_over_time(a[5m:30s] offset 5m)", ("a",)),
        ("# waiting\nsum(a)", ("a",)),
        ("", ()),
    ],
)
def test_the_metrics_in_a_query_are_found(query: str, names: tuple[str, ...]) -> None:
    assert parse(query).metrics == names


def test_metrics_are_found_where_a_placeholder_keeps_the_query_from_being_parsed() -> None:
    found = parse("sum(rate(tgi_request_count[{{ .Values.window }}])) by (le)")
    assert found.placeholder
    assert found.metrics == ("tgi_request_count",)


@pytest.mark.parametrize(
    "query", ["sum(a", "sum(a) by", "rate(a)", "a b", "", 'a{b="c"', "median(a)"]
)
def test_what_prometheus_refuses_is_said_and_is_no_placeholder(query: str) -> None:
    found = parse(query)
    assert found.error
    assert not found.placeholder


@pytest.mark.parametrize(
    ("query", "several"),
    [
        ("sum(a)", ""),
        ("a", "one for every replica"),
        ("rate(a[2m])", "one for every replica"),
        ("sum by (pod) (a)", "one for every pod"),
        ("sum by (model_name) (a)", ""),
        ('sum by (pod) (a{pod="b"})', ""),
        ("sum without (engine) (a)", "one for every replica"),
        ("sum without (pod, instance) (a)", ""),
        ("topk(1, a)", ""),
        ("topk(3, a)", "one for every replica"),
        ("scalar(a)", ""),
        ("a and b", "one for every replica"),
        ("sum(a) or vector(0)", ""),
        (QUANTILE, ""),
        (QUANTILE.replace("(le)", "(le, pod)"), "one for every pod"),
        ("histogram_quantile(0.95, rate(x_bucket[2m]))", "one for every replica"),
        ("sum by (le) (rate(x_bucket[2m]))", "one for every le"),
        ("avg_over_time(sum(a)[5m:])", ""),
        ("a / on (pod) sum by (pod) (b)", "one for every replica"),
    ],
)
def test_several_answers_are_told_from_one(query: str, several: str) -> None:
    assert parse(query).answer.several == several


@pytest.mark.parametrize(
    ("query", "extent"),
    [
        ("sum(a)", "total"),
        ("sum(a) / 5", "total"),
        ("sum(a) + sum(b)", "total"),
        ("ceil(sum(a))", "total"),
        ("sum(a > 3)", "total"),
        ("count(a)", "total"),
        ("max(sum by (model_name) (a))", "total"),
        ("max_over_time(sum(a)[5m:])", "total"),
        ("sum(a) or vector(0)", "total"),
        ("sum(a) / avg(b)", "total"),
        ("avg(a) * count(a)", "total"),
        ("max(kube_deployment_status_replicas)", "total"),
        ("sum(a * on (pod) group_left () kube_pod_labels)", "total"),
        ("sum(kube_pod_labels * on (pod) group_right () a)", "total"),
        ("sum(rate(a[1m]) > bool 0)", "total"),
        ("a", "each"),
        ("a / b", "each"),
        ("avg(a)", "level"),
        ("max(max_over_time(a[5m]))", "level"),
        ("topk(1, a)", "level"),
        ("quantile(0.9, a)", "level"),
        ("sum(a) / count(a)", "level"),
        ("sum(a) / scalar(count(up))", "level"),
        ("sum(a) / max(kube_deployment_status_replicas)", "level"),
        ("avg(a) / avg(b)", "level"),
        (QUANTILE, "level"),
        ("stddev(a)", ""),
        ("sum(a) + avg(b)", ""),
        ("avg(a) / sum(b)", ""),
        ("ln(sum(a))", ""),
        ("sum(a) ^ 2", ""),
        ("3", ""),
    ],
)
def test_an_answer_grows_with_the_replicas_or_not(query: str, extent: str) -> None:
    assert parse(query).answer.extent == extent


@pytest.mark.parametrize(
    ("query", "measures", "factor"),
    [
        (QUANTILE, "x", 1),
        (f"{QUANTILE} * 1000", "x", 1000),
        (f"1000 * {QUANTILE}", "x", 1000),
        (f"{QUANTILE} / 0.5", "x", 2),
        ("sum(rate(x_sum[1m])) / sum(rate(x_count[1m])) * 1e3", "x", 1000),
        ("sum(a) / count(a)", "a", 1),
        ("sum(a) / sum(b)", "", 1),
        ("avg(a > 2)", "a", 1),
        ("avg(a > bool 2)", "", 1),
        ("1 - avg(a)", "", 1),
        ("avg(a) - 1", "a", 1),
        ("(1 + 1) * avg(a)", "a", 2),
        ("-(2) * avg(a)", "a", -2),
        ("sum(a) ^ 2", "", 1),
    ],
)
def test_an_answer_has_the_unit_of_what_it_measures(
    query: str, measures: str, factor: float
) -> None:
    answer = parse(query).answer
    assert (answer.measures, answer.factor) == (measures, factor)


@pytest.mark.parametrize(
    ("query", "per_second"),
    [
        ("sum(rate(a[1m]))", True),
        ("rate(a[1m])", True),
        ("sum(deriv(a[1m]))", False),
        (QUANTILE, False),
        ("sum(rate(x_sum[1m])) / sum(rate(x_count[1m]))", False),
    ],
)
def test_a_rate_is_told_from_what_it_is_a_rate_of(query: str, *, per_second: bool) -> None:
    assert parse(query).answer.per_second is per_second


@pytest.mark.parametrize(
    ("query", "without_le"),
    [
        (QUANTILE, False),
        ("histogram_quantile(0.95, sum(rate(x_bucket[2m])))", True),
        ("histogram_quantile(0.95, sum by (pod) (rate(x_bucket[2m])))", True),
        ("histogram_quantile(0.95, sum without (pod) (rate(x_bucket[2m])))", False),
        ("histogram_quantile(0.95, rate(x_bucket[2m]))", False),
    ],
)
def test_a_quantile_of_buckets_without_le_is_told(query: str, *, without_le: bool) -> None:
    assert parse(query).without_le is without_le


@pytest.mark.parametrize(
    ("query", "never_empty"),
    [
        ("sum(a) or vector(0)", True),
        ("scalar(sum(a))", True),
        ("vector(1)", True),
        ("sum(a)", False),
        ("absent(a)", False),
        ("sum(a) or sum(b)", False),
    ],
)
def test_an_answer_that_hides_lost_series_is_told(query: str, *, never_empty: bool) -> None:
    assert parse(query).answer.never_empty is never_empty


@pytest.mark.parametrize(
    ("query", "nan"),
    [
        (QUANTILE, True),
        ("sum(a)", False),
        ("sum(a) / count(a)", False),
        ("sum(rate(a[1m]))", False),
    ],
)
def test_an_answer_that_is_no_number_without_requests_is_told(query: str, *, nan: bool) -> None:
    assert parse(query).idle_is_nan is nan


def test_the_function_over_a_range_is_known_of_each_selector() -> None:
    found = parse("sum(rate(a[1m])) / max(b) + avg_over_time(c[5m])")
    assert [(item.metric, item.function) for item in found.uses] == [
        ("a", "rate"),
        ("b", ""),
        ("c", "avg_over_time"),
    ]


@pytest.mark.parametrize(
    ("op", "written", "value", "accepts"),
    [
        ("=", "a", "a", True),
        ("=", "a", "b", False),
        ("!=", "a", "b", True),
        ("=~", "llama-.*", "llama-5d8f9c7b6d-x7k2p", True),
        ("=~", "llama", "llama-0", False),
        ("=~", "llama-[a-z0-9]+-[a-z0-9]+", "llama-5d8f9c7b6d-x7k2p", True),
        ("=~", "llama.+", "llama", False),
        ("=~", ".*", "", True),
        ("!~", "llama-.*", "mistral-0", True),
        ("=~", "a|b", "b", True),
        ("=~", "(?:a|b)-.*", "b-0", True),
        ("!~", "a.*", "ab", False),
        ("=~", "${NAME}-.*", "llama-0", None),
        ("=", "<your-model>", "llama", None),
        ("=~", "(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", None),
        ("=~", ".*a.*b.*c.*d.*e.*", "abcde", None),
        ("=~", "(?i)llama.*", "Llama-0", None),
    ],
)
def test_a_filter_lets_a_value_through_or_not_or_that_cannot_be_told(
    op: str,
    written: str,
    value: str,
    accepts: bool | None,  # noqa: FBT001 - a column of the table
) -> None:
    assert Matcher("pod", op, written).accepts(value) is accepts


def test_one_of_several_alternative_filters_cannot_be_told() -> None:
    (selector,) = parse('sum(a{pod="b" or pod="c"})').selectors
    assert [item.accepts("b") for item in selector.matchers] == [None, None]


@pytest.mark.parametrize(
    ("written", "prefix"),
    [("llama-.*", "llama-"), ("llama.+", "llama"), ("llama-[a-z0-9]+-[a-z0-9]+", "llama-"),
     (".*", ""), ("a|b", None), ("llama-.*-x", None)],
)  # fmt: skip
def test_what_a_filter_wants_names_to_begin_with(written: str, prefix: str | None) -> None:
    assert Matcher("pod", "=~", written).prefix == prefix


@pytest.mark.parametrize(
    "value", ["0", "1", "a b", "a/b:c", "\x1f0", "\\x1f7", "ü", 'x\\"y', "a.*|b"]
)
def test_the_values_of_filters_come_out_as_they_were_written(value: str) -> None:
    (selector,) = parse(f'sum(a{{x="1", y = "{value}", z=~\'2\'}})').selectors
    expected = value.replace('\\"', '"').replace("\\x1f", "\x1f")
    assert [item.value for item in selector.matchers] == ["1", expected, "2"]


def test_a_bare_selector_is_told_from_an_expression() -> None:
    assert [parse(query).bare for query in ("a", 'a{b="c"}', "sum(a)", "a * 2")] == [
        True,
        True,
        False,
        False,
    ]


@given(st.text(max_size=80))
def test_no_text_breaks_it(text: str) -> None:
    found = parse(text)
    assert found.error or found.answer.labels <= {EVERY_LABEL} or found.selectors


@given(
    st.recursive(
        st.sampled_from(["a", 'b{x="y"}', "rate(c[1m])", "2", "vector(0)"]),
        lambda inner: st.one_of(
            st.builds("({} {} {})".format, inner, st.sampled_from(list("+-*/")), inner),
            st.builds("{} by (pod) ({})".format, st.sampled_from(["sum", "avg", "max"]), inner),
            st.builds("ceil({})".format, inner),
        ),
        max_leaves=8,
    )
)
def test_every_query_that_can_be_parsed_is_read(text: str) -> None:
    found = parse(text)
    assert found.error == "" or "expected type" in found.error


def test_the_parser_is_not_loaded_without_a_query() -> None:
    code = "import drainproof.model.scaler, sys; sys.exit('promql_parser' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
