from __future__ import annotations

import subprocess
import sys
import time
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
import yaml
from click.testing import CliRunner

from drainproof.cli import drainproof
from drainproof.errors import UserError
from tests.manifests import deployment, scaled_object

DEMO = Path("fixtures/manifests/demo/gpu/as-the-module-writes-it.yaml")
SERVICE = ("--cold-start", "1m", "--tokens", "100", "--tokens-per-second", "10")
ALONE = ("--concurrency", "4", "--max-replicas", "10", "--thresholds", "5")
SCHEMA = orjson.loads((resources("drainproof.report") / "simulate.schema.json").read_bytes())


def said(*arguments: object) -> str:
    """Return what the command prints; its errors are raised."""
    done = CliRunner().invoke(drainproof, ["simulate", *map(str, arguments)], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.output


def report(*arguments: object) -> Any:  # noqa: ANN401 - JSON
    return orjson.loads(said(*arguments, "--format", "json"))


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    path = tmp_path / "a.yaml"
    engine = deployment(args=["--model=a/b", "--max-num-seqs=4"])
    path.write_text(yaml.safe_dump_all([engine, scaled_object(maxReplicaCount=5)]))
    return path


def test_a_prediction_shows_each_threshold_over_time_and_side_by_side(manifests: Path) -> None:
    text = said(manifests, *SERVICE, "--rate", 2, "--thresholds", "5,1000")
    assert text.startswith("Deployment/inference/llama, simulated for 30 min 00 s\n")
    assert "2 to 5 replicas of 1 GPU, each with 4 streams of 10 tokens/s" in text
    assert "threshold 5 (declared); a column is" in text
    assert "threshold 1000; a column is" in text
    assert "more replicas asked for at" in text
    assert "P50 / P95 / P99 wait" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_cheapest_threshold_that_meets_the_objective_is_named() -> None:
    text = said(*SERVICE, *ALONE, "--rate", 0.1, "--thresholds", "1,5,50")
    assert "meets a first token within 30 s for 99% of requests at the least cost" in text


def test_of_those_that_meet_the_objective_the_one_with_fewest_gpu_hours_is_the_cheapest() -> None:
    load = ("--rate", 0.3, "--burst", "0.4@2m+20m", "--slo", "10m", "--metric", "waiting+running")
    found = report(*SERVICE, *ALONE, *load, "--thresholds", "1,2,4")
    hours = {one["threshold"]: one["gpu_hours"] for one in found["thresholds"]}
    assert all(one["meets_slo"] for one in found["thresholds"])
    assert len(set(hours.values())) == 3
    assert found["cheapest"] == min(hours, key=lambda threshold: hours[threshold])


def test_a_burst_that_outlasts_the_run_is_told_as_long_as_it_runs() -> None:
    found = said(*SERVICE, *ALONE, "--rate", 1, "--burst", "2@50s+5m", "--duration", "60s")
    assert "2/s more from 50 s to 60 s" in found


def test_where_none_meets_the_objective_the_nearest_is_named() -> None:
    text = said(*SERVICE, *ALONE, "--rate", 5, "--thresholds", "5,900000")
    assert "no threshold of these meets a first token within 30 s" in text
    assert "nearest is 5" in text
    assert "never more replicas than at the start" in text


def test_a_report_is_as_its_schema_says(manifests: Path) -> None:
    for more in ([], ["--thresholds", "2,5", "--metric", "running", "--prefill", "1s"]):
        found = report(manifests, *SERVICE, "--rate", 2, *more)
        jsonschema.validate(found, SCHEMA)
    alone = report(*SERVICE, *ALONE, "--rate", 2)
    jsonschema.validate(alone, SCHEMA)
    assert alone["subject"] == ""


def test_a_report_says_what_was_simulated(manifests: Path) -> None:
    found = report(manifests, *SERVICE, "--rate", 2, "--duration", "10m")
    assert found["policy"]["keda"] is True
    assert (found["policy"]["least"], found["policy"]["most"]) == (2, 5)
    assert found["service"]["concurrency"] == 4
    assert found["service"]["probe_periods_s"] == [10, 10]
    (one,) = found["thresholds"]
    assert (one["threshold"], one["declared"]) == (5, True)
    assert one["requests"]["came"] == found["load"]["requests"]
    assert one["series"]["step_s"] == 2
    assert len(one["series"]["waiting"]) == 301


def test_options_go_before_what_is_declared(manifests: Path) -> None:
    found = report(
        manifests, *SERVICE, "--rate", 2, "--min-replicas", 1, "--max-replicas", 7,
        "--concurrency", 8, "--gpus-per-replica", 2, "--scrape-interval", "30s",
        "--probe-delay", "5s", "--metric-type", "Value", "--schedule", "90",
    )  # fmt: skip
    assert (found["policy"]["least"], found["policy"]["most"]) == (1, 7)
    assert (found["policy"]["scrape_s"], found["policy"]["metric_type"]) == (30, "Value")
    service = found["service"]
    assert (service["concurrency"], service["gpus"], service["schedule_s"]) == (8, 2, 90)
    assert (service["cold_start_s"], service["probe_periods_s"]) == (65, [])


def test_the_modules_own_demo_is_simulated() -> None:
    found = report(DEMO, *SERVICE, "--rate", 1)
    assert found["policy"]["mean"] is True
    assert found["policy"]["scale_up"]["policies"] == [{"type": "Pods", "value": 1, "period_s": 30}]


def test_a_trace_lasts_until_its_last_request(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("seconds,requests\n0,10\n60,30\n120,0\n")
    found = report(*SERVICE, *ALONE, "--arrivals", trace)
    assert found["load"]["requests"] == 40
    assert 61 < found["duration_s"] <= 120


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([*ALONE], "expected --rate or --arrivals, found neither"),
        ([*ALONE, "--rate", "1", "--arrivals", "x.csv"], "found both"),
        ([*ALONE, "--arrivals", "nowhere.csv"], "nowhere.csv: cannot be read"),
        ([*ALONE, "--arrivals", "x", "--burst", "1@2+3"], "--burst goes with --rate"),
        (
            [*ALONE, "--rate", "1", "--burst", "1@0+9", "--burst", "40@2h+2m"],
            "expected each burst to begin within the run of 1800 s, found one at 7200 s",
        ),
        (["--rate", "1"], "expected how many streams a replica runs at once"),
        (["--rate", "1", "--concurrency", "4"], "expected a threshold"),
        (["--rate", "1", *ALONE[:2], *ALONE[4:]], "expected a maximum of replicas"),
        ([*ALONE, "--rate", "1", "--min-replicas", "11"], "up to the maximum, found 11 and 10"),
        ([*ALONE, "--rate", "1", "--scrape-interval", "0.5"], "scrape interval of 1 s or more"),
        ([*ALONE, "--rate", "1", "--duration", "0"], "expected a run of 1 s to 7 days"),
        ([*ALONE, "--rate", "1e6"], "expected at most 20,000,000 requests"),
        ([*ALONE, "--rate", "1", "--tokens-per-second-alone", "9"], "to be as fast as others"),
        ([*ALONE, "--rate", "1", "-n", "x"], "expected PATHs, found none"),
    ],
)
def test_a_mistake_is_one_clear_error(arguments: list[str], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        said(*SERVICE, *arguments)


def test_a_workload_without_an_autoscaler_says_what_to_give(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(deployment(args=["--max-num-seqs=4"])))
    with pytest.raises(UserError, match="expected an autoscaler of Deployment/inference/llama"):
        said(path, *SERVICE, "--rate", 1)
    assert "threshold 5" in said(path, *SERVICE, "--rate", 1, *ALONE[2:])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rate", "-1"],
        ["--rate", "nan"],
        ["--rate", "1", "--thresholds", "5,zero"],
        ["--rate", "1", "--thresholds", "0"],
        ["--rate", "1", "--burst", "40 at noon"],
        ["--rate", "1", "--burst", "0@1+1"],
        ["--rate", "1", "--slo", "soon"],
        ["--rate", "1", "--seed", "-1"],
        ["--rate", "1", "--tokens", "1e300"],
        ["--rate", "1", "--cold-start", "-7m"],
        ["nowhere.yaml", "--rate", "1"],
    ],
    ids=" ".join,
)
def test_bad_input_exits_with_2_and_without_a_traceback(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "drainproof", "simulate", *SERVICE, *ALONE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "rror: " in done.stderr
    assert "Traceback" not in done.stderr


def test_other_commands_do_not_load_the_library() -> None:
    code = "import sys, drainproof.cli, drainproof.judge.command; print('simpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_thousand_replicas_with_loads_of_seven_minutes_take_seconds() -> None:
    """An hour and four million requests; a core of today takes 5 s, and CI's may be slow."""
    begun = time.process_time()
    found = report(
        "--cold-start", "7m", "--tokens", 300, "--tokens-per-second", 24, "--concurrency", 64,
        "--min-replicas", 100, "--max-replicas", 1000, "--thresholds", 5,
        "--rate", 500, "--burst", "3500@10m+10m", "--duration", "1h",
    )  # fmt: skip
    assert time.process_time() - begun < 20
    assert found["thresholds"][0]["peak_replicas"] == 1000
    assert found["load"]["requests"] > 3_500_000
