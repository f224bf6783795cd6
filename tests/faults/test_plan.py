"""What a user may say about a run, on a command line or in YAML, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drainproof.errors import UserError
from drainproof.faults.catalogue import FAULTS
from drainproof.faults.fault import Wanted
from drainproof.faults.load import Secret
from drainproof.faults.options import SETTINGS
from drainproof.faults.plan import Plan, plan_of
from drainproof.streams.arrivals import PROCESSES
from drainproof.streams.requests import APIS, LENGTHS
from drainproof.streams.settings import Load


def of(*faults: str, file: Path | None = None, **given: Any) -> Plan:  # noqa: ANN401 - settings
    named = {name.replace("_", "-"): value for name, value in given.items()}
    return plan_of(
        named, context="c", namespace="n", target="deployment/x", faults=faults, file=file
    )


def load(plan: Plan) -> Load:
    return Load(url="http://x", model="x", **plan.load)


def wrong(*faults: str, **given: Any) -> str:  # noqa: ANN401 - settings
    with pytest.raises(UserError) as caught:
        of(*faults, **given)
    return str(caught.value)


def test_by_default_the_target_is_rolled_under_the_default_load() -> None:
    plan = of()
    assert plan.faults == (Wanted(name="rollout"),)
    assert (load(plan).rate_per_s, load(plan).parts) == (0.7, 1)
    assert (plan.steady_s, plan.after_s, plan.timeout_s) == (300, 10, None)


def test_a_length_that_nobody_gave_is_left_to_the_run() -> None:
    assert "max_tokens" not in of().load
    assert "max_tokens" not in of(min_tokens=2000, lengths="uniform").load
    assert of(tokens=9).load["max_tokens"] == 9


def test_faults_come_in_the_order_in_which_they_are_named_with_their_options() -> None:
    plan = of("scale-down", "rollout:image=a/b:1,args=--x=1,2 --y", "evict:budget=refuse,timeout=9")
    assert [fault.name for fault in plan.faults] == ["scale-down", "rollout", "evict"]
    assert plan.faults[1].options == {"image": "a/b:1", "args": ("--x=1,2", "--y")}
    assert plan.faults[2] == Wanted(name="evict", options={"budget": "refuse"}, timeout_s=9.0)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("rollin", "--fault: no fault is called 'rollin'\n  hint: There are: rollout, scale-down"),
        ("rollout:img=x", "rollout has no option 'img'\n  hint: It has: image, args, timeout."),
        ("rollout:image", "expected rollout:KEY=VALUE"),
        ("rollout:image=", "expected another image for the engine's container, found ''"),
        ("scale-down:by=0", "expected a number of replicas from 1 to 100, found '0'"),
        ("scale-down:by=two", "expected a number of replicas from 1 to 100, found 'two'"),
        ("scale-down:timeout=-1", "expected seconds, more than 0, found '-1'"),
        ("evict:budget=none", "expected own (its own budgets are asked) or refuse"),
    ],
)
def test_a_fault_that_is_not_what_it_must_be_is_said(fault: str, said: str) -> None:
    assert said in wrong(fault)


def test_every_setting_of_the_load_leads_to_a_load() -> None:
    plan = of(
        api="chat", rate=2.0, arrivals="burst", burst=5, ramp=9.0, tokens=90, lengths="uniform",
        min_tokens=30, seed=7, clients=3, header=["X-Team=search"],
    )  # fmt: skip
    made = load(plan)
    assert (made.api, made.rate_per_s, made.arrivals, made.burst) == ("chat", 2.0, "burst", 5)
    assert (made.max_tokens, made.min_tokens, made.lengths) == (90, 30, "uniform")
    assert (made.ramp_s, made.seed, made.parts) == (9.0, 7, 3)
    assert made.headers == (("X-Team", "search"),)


def test_secrets_are_named_and_never_read_here() -> None:
    plan = of(token_secret="llm/token", header_secret=("X-Key=llm/key",))  # noqa: S106 - names
    assert plan.runner.secrets == (
        Secret(variable="DRAINPROOF_TOKEN", name="llm", key="token"),
        Secret(variable="DRAINPROOF_HEADER_0", name="llm", key="key"),
    )
    assert load(plan).token_env == "DRAINPROOF_TOKEN"  # noqa: S105 - a name
    assert load(plan).headers_from == (("X-Key", "DRAINPROOF_HEADER_0"),)


def test_on_this_machine_secrets_come_from_the_environment() -> None:
    plan = of(url="https://llm.example.com", token_env="TOKEN", header_env=("X-Key=KEY",))  # noqa: S106 - names
    assert plan.url == "https://llm.example.com"
    assert (load(plan).token_env, load(plan).headers_from) == ("TOKEN", (("X-Key", "KEY"),))


def test_authorities_are_a_secret_or_a_config_map_in_the_cluster_and_a_file_here() -> None:
    assert of(ca="configmap/kube-root-ca.crt/ca.crt").runner.ca == (
        *("configmap", "kube-root-ca.crt", "ca.crt"),
    )
    assert load(of(ca="secret/a/b")).ca_file == "/drainproof/ca.pem"
    assert load(of(ca="/etc/ca.pem", url="https://x")).ca_file == "/etc/ca.pem"


def test_limits_and_nodes_of_the_clients_are_pairs() -> None:
    runner = of(client_limit=["memory=512Mi", "cpu=1"], node_selector=("disk=ssd",)).runner
    assert runner.limits == (("memory", "512Mi"), ("cpu", "1"))
    assert runner.node_selector == (("disk", "ssd"),)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"api": "grpc"}, "--api: expected one of completions, chat, tgi, found 'grpc'"),
        ({"rate": 0.0}, "--rate: expected requests per second"),
        ({"arrivals": "flood"}, "--arrivals: expected one of poisson, constant, ramp, burst"),
        ({"clients": 0}, "--clients: expected a whole number of clients from 1 to 1000"),
        ({"tokens": 5, "min_tokens": 9}, "expected at most max_tokens, 5, found 9"),
        ({"url": "llm:80"}, "load setting 'url': expected the server's root"),
        ({"token_env": "X"}, "--token-env: expected with --url only"),
        ({"token_secret": "a/b", "url": "http://x"}, "--token-secret: expected without --url only"),
        ({"token_secret": "a"}, "--token-secret: expected NAME/KEY, found 'a'"),
        ({"header": ["X-Team"]}, "--header: expected HEADER=VALUE, found something else"),
        ({"header_secret": ["X=a"]}, "--header-secret: expected HEADER=NAME/KEY"),
        ({"client_limit": ["512Mi"]}, "--client-limit: expected RESOURCE=QUANTITY, found '512Mi'"),
        ({"ca": "ca.pem"}, "--ca: expected secret/NAME/KEY or configmap/NAME/KEY"),
        ({"ca": "pod/a/b"}, "--ca: expected secret/… or configmap/…, found pod/…"),
        ({"prompts": "/none.txt"}, "/none.txt: cannot read the prompts"),
    ],
)
def test_a_setting_that_is_not_what_it_must_be_is_said(given: dict[str, Any], said: str) -> None:
    assert said in wrong(**given)


def test_a_secret_in_the_wrong_place_names_the_right_setting() -> None:
    assert wrong(token_env="X").endswith(  # noqa: S106 - a name
        "The client runs in the cluster and finds it with --token-secret NAME/KEY."
    )
    assert wrong(header_secret=("X-Key=a/b",), url="http://x").endswith(
        "The client runs on this machine and finds it with --header-env HEADER=VARIABLE."
    )


def test_what_may_be_chosen_is_told_in_the_help() -> None:
    told = {setting.name: setting.help for setting in SETTINGS}
    for name, choices in (("api", APIS), ("arrivals", PROCESSES), ("lengths", LENGTHS)):
        assert all(choice in told[name] for choice in choices)


# ── plans ──

GOOD = """\
rate: 2
tokens: 600
prompts: prompts.txt
client-limit: [memory=512Mi]
faults:
- scale-down
- evict:budget=refuse
- fault: rollout
  image: vllm/vllm-openai:v0.33.0
  args: [--max-num-seqs=8]
  timeout: 900
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "prompts.txt").write_text("Say hello.\nSay bye.\n")
    path = tmp_path / "plan.yaml"
    path.write_text(GOOD)
    return path


def test_a_plan_has_settings_by_their_names_and_faults_in_order(file: Path) -> None:
    plan = of(file=file)
    assert (load(plan).rate_per_s, load(plan).max_tokens) == (2, 600)
    assert load(plan).prompts == ("Say hello.", "Say bye.")
    assert plan.runner.limits == (("memory", "512Mi"),)
    assert [str(fault) for fault in plan.faults] == [
        "scale-down",
        "evict:budget=refuse",
        "rollout:image=vllm/vllm-openai:v0.33.0,args=--max-num-seqs=8",
    ]
    assert plan.faults[2].timeout_s == 900


def test_the_command_line_goes_before_the_plan(file: Path) -> None:
    plan = of("pod-delete", file=file, rate=9.0)
    assert [fault.name for fault in plan.faults] == ["pod-delete"]
    assert (load(plan).rate_per_s, load(plan).max_tokens) == (9.0, 600)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("faults: [rollout\n", ":2: not YAML:"),
        ("- rollout\n", ":1: expected settings and a list of faults"),
        ("", ":1: expected settings and a list of faults"),
        ("rate: 2\n", ":1: faults: expected a list of faults, found none"),
        ("faults: rollout\n", ":1: faults: expected a list of faults"),
        ("tokens: 9\nraet: 2\nfaults: [rollout]\n", ":2: raet: no setting has this name"),
        ("context: prod\nfaults: [rollout]\n", ":1: context: no setting has this name"),
        ("rate: fast\nfaults: [rollout]\n", ":1: rate: expected a number, found 'fast'"),
        ("tokens: 1.5\nfaults: [rollout]\n", ":1: tokens: expected a whole number, found 1.5"),
        ("tls: 1\nfaults: [rollout]\n", ":1: tls: expected true or false, found 1"),
        ("faults:\n- rollout\n\nclients: 0\n", ":4: clients: expected a whole number of clients"),
        ("faults:\n- rollout\n- reboot\n", ":3: faults[1]: no fault is called 'reboot'"),
        ("faults:\n- {image: x}\n", ":2: faults[0]: expected a fault's name"),
        (
            "faults:\n- fault: rollout\n  img: x\n",
            ":3: faults[0].img: rollout has no option 'img'",
        ),
        (
            "faults:\n- fault: scale-down\n  by: many\n",
            ":3: faults[0].by: expected a number of replicas from 1 to 100, found 'many'",
        ),
        (
            "faults:\n- fault: rollout\n  timeout: soon\n",
            ":3: faults[0].timeout: expected seconds, more than 0, found 'soon'",
        ),
    ],
)
def test_what_is_wrong_with_a_plan_is_said_with_file_line_and_key(
    file: Path, text: str, said: str
) -> None:
    file.write_text(text)
    assert f"{file}{said}" in wrong(file=file)


def test_a_plan_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert "cannot read the plan: No such file" in wrong(file=tmp_path / "none.yaml")


def test_every_option_of_every_fault_refuses_what_it_is_not() -> None:
    for name, fault in FAULTS.items():
        for key, option in fault.options.items():
            with pytest.raises((ValueError, TypeError)):
                option.read({})
            if option.default is not None:
                assert option.read(option.default) == option.default, (name, key)


def test_the_page_on_chaos_tells_of_every_fault_with_all_its_options() -> None:
    page = (Path(__file__).parents[2] / "docs" / "chaos.md").read_text()
    for name, fault in FAULTS.items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        assert [key for key in fault.options if f"`{key}`" not in row] == []
        assert ("nothing |" in row) == (fault.cost != "abrupt")
