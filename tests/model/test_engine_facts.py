"""What is known of engines by version: flags, metrics, and how surely."""

from __future__ import annotations

import pytest

from drainproof.model.engine_facts import FlagStatus
from drainproof.model.engines import BY_NAME, ENGINES, EngineFacts, Version

VLLM, SGLANG, TGI, TRITON = (BY_NAME[name] for name in ("vllm", "sglang", "tgi", "triton"))


@pytest.mark.parametrize(
    ("facts", "flag", "version", "status"),
    [
        (VLLM, "--max-model-len", (0, 32, 0), FlagStatus("known")),
        (VLLM, "--max_model_len", (0, 32, 0), FlagStatus("known")),
        (VLLM, "--swap-space", (0, 17, 1), FlagStatus("known")),
        (VLLM, "--disable-log-requests", (0, 16, 0), FlagStatus("known")),
        (VLLM, "--shutdown-timeout", (0, 18, 0), FlagStatus("known")),
        (VLLM, "--shutdown-timeout", (0, 17, 1), FlagStatus("too-new", (0, 18, 0))),
        (VLLM, "--shutdown-timeout", None, FlagStatus("depends")),
        (VLLM, "--max-model-len", None, FlagStatus("known")),
        (VLLM, "--no-such-flag", (0, 32, 0), FlagStatus("unknown")),
        (VLLM, "--compilation-config.mode", (0, 32, 0), FlagStatus("known")),
        (VLLM, "-O3", (0, 32, 0), FlagStatus("known")),
        (VLLM, "-tp", (0, 32, 0), FlagStatus("known")),
        (SGLANG, "--tp", (0, 5, 9), FlagStatus("known")),
        (SGLANG, "--enable-metrics", (0, 3, 4), FlagStatus("too-new", (0, 3, 5))),
        (TGI, "--graceful-termination-timeout", (3, 2), FlagStatus("known")),
        (TGI, "--graceful-termination-timeout", (3, 1), FlagStatus("too-new", (3, 2, 2))),
        (TRITON, "--metrics-config", (23, 3), FlagStatus("too-new", (23, 4))),
        (TRITON, "--exit-timeout-secs", (24, 8), FlagStatus("known")),
    ],
)
def test_the_status_of_a_flag_depends_on_the_version(
    facts: EngineFacts, flag: str, version: Version | None, status: FlagStatus
) -> None:
    assert facts.flag_status(flag, version) == status


@pytest.mark.parametrize(
    ("flag", "gone"),
    [
        ("--num-scheduler-steps", (0, 10, 1)),
        ("--use-v2-block-manager", (0, 10, 0)),
        ("--preemption-mode", (0, 11, 0)),
        ("--max-seq-len-to-capture", (0, 11, 0)),
        ("--disable-log-requests", (0, 17, 0)),
        ("--swap-space", (0, 18, 0)),
    ],
)
def test_removed_flags_of_vllm_are_known_with_their_last_release(flag: str, gone: Version) -> None:
    status = VLLM.flag_status(flag, (0, 33, 0))
    assert (status.state, status.version) == ("removed", gone)


def test_an_abbreviation_that_two_flags_begin_with_is_none() -> None:
    assert VLLM.flag_status("--max-num", (0, 32, 0)).state == "unknown"


def test_a_removed_flag_says_what_to_do_instead() -> None:
    assert "--speculative-config" in VLLM.flag_status("--speculative-model", (0, 32, 0)).instead


def test_flags_that_are_spelled_alike_are_found() -> None:
    assert VLLM.flags_like("--max-model-length", (0, 32, 0)) == ("--max-model-len",)


@pytest.mark.parametrize(
    ("facts", "name", "version", "expected"),
    [
        (VLLM, "vllm:num_requests_waiting", (0, 6, 5), True),
        (VLLM, "vllm:num_requests_waiting", None, True),
        (VLLM, "vllm_num_requests_waiting", (0, 32, 0), True),
        (VLLM, "vllm:kv_cache_usage_perc", (0, 9, 1), False),
        (VLLM, "vllm:kv_cache_usage_perc", (0, 9, 2), True),
        (VLLM, "vllm:kv_cache_usage_perc", None, None),
        (VLLM, "vllm:gpu_cache_usage_perc", (0, 10, 2), True),
        (VLLM, "vllm:gpu_cache_usage_perc", (0, 12, 0), False),
        (VLLM, "vllm:time_per_output_token_seconds_bucket", (0, 11, 2), True),
        (VLLM, "vllm:time_per_output_token_seconds_bucket", (0, 32, 0), False),
        (VLLM, "vllm:inter_token_latency_seconds_sum", (0, 32, 0), True),
        (VLLM, "vllm:num_requests_waiting_bucket", (0, 32, 0), None),
        (VLLM, "vllm:no_such_metric", (0, 32, 0), None),
        (VLLM, "vllm:request_success_total", (0, 6, 5), True),
        (VLLM, "vllm:request_success", (0, 32, 0), None),
        (VLLM, "DCGM_FI_DEV_GPU_UTIL", (0, 32, 0), None),
        (SGLANG, "sglang:num_queue_reqs", (0, 5, 9), True),
        (SGLANG, "sglang:time_per_output_token_seconds_bucket", (0, 5, 9), False),
        (TGI, "tgi_request_mean_time_per_token_duration_bucket", (3, 3, 4), True),
        (TRITON, 'nv_trt_llm_request_metrics{request_type="waiting"}', (24, 8), True),
    ],
)
def test_which_metrics_a_version_exports_is_known(
    facts: EngineFacts, name: str, version: Version | None, expected: object
) -> None:
    assert facts.exports(name, version) is expected


def test_a_metric_that_is_phased_out_can_be_shown() -> None:
    name, version = "vllm:time_per_output_token_seconds_bucket", (0, 13, 0)
    assert VLLM.exports(name, version) is False
    assert VLLM.exports(name, version, hidden=True) is True
    assert VLLM.exports(name, (0, 16, 0), hidden=True) is False


@pytest.mark.parametrize("facts", ENGINES, ids=lambda facts: facts.name)
def test_every_metric_that_means_something_is_in_the_table(facts: EngineFacts) -> None:
    named = {name for names in facts.meanings.values() for name in names}
    assert {name for name in named if not facts.knows_metric(name)} == set()
    assert {name for name in facts.metric_instead.values() if not facts.knows_metric(name)} == set()
    assert {name for name in facts.metric_instead if not facts.knows_metric(name)} == set()


@pytest.mark.parametrize("facts", [VLLM, SGLANG, TGI, TRITON], ids=lambda facts: facts.name)
def test_every_flag_that_the_facts_name_was_in_some_release(facts: EngineFacts) -> None:
    named = {
        *facts.flag_instead,
        *facts.flags_without_effect,
        *facts.signature,
        *facts.port_flags,
        *facts.config_flags,
        *facts.metrics_off,
        *(row.flag for row in facts.drains if row.flag),
        *filter(None, [facts.metrics_flag, facts.metrics_port_flag]),
    }
    newest = facts.compared[-1]
    gone = {flag for flag in named if facts.flag_status(flag, newest).state == "unknown"}
    assert gone == set()


@pytest.mark.parametrize("facts", [VLLM, SGLANG, TGI, TRITON], ids=lambda facts: facts.name)
def test_what_replaces_a_flag_is_a_flag_of_the_newest_release(facts: EngineFacts) -> None:
    words = {
        word.split("=")[0].strip(",;.")
        for said in facts.flag_instead.values()
        for word in said.split()
        if word.startswith("--")
    }
    newest = facts.compared[-1]
    assert {word for word in words if facts.flag_status(word, newest).state != "known"} == set()


@pytest.mark.parametrize("facts", ENGINES, ids=lambda facts: facts.name)
def test_no_fact_ends_before_it_begins(facts: EngineFacts) -> None:
    rows = [line.split() for line in (facts.metric_table + facts.flag_table).splitlines()]
    versions = [
        [tuple(int(part) for part in word.split(".")) for word in row[1:] if word[0].isdigit()]
        for row in rows
    ]
    assert [found for found in versions if found != sorted(found)] == []
