"""Fleets are judged member by member, whatever is known of one by the others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drainproof.collect import files, sharing
from drainproof.content import content
from drainproof.judge import audit, families, registry
from drainproof.judge.profiles import PROFILES
from drainproof.report.json import parts
from drainproof.report.rows import rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

CHECKS = registry.load(kind="manifest").checks
FIXTURES = sorted((content("fixtures") / "manifests").glob("*/*.yaml"))
NUMBERS = (7, 5, 6, 3, 2, 12, 13, 14, 15, 16)
"""The third and later ones of as many digits, the first left out, are those that share."""
EXTRA = [
    # a Service, a budget and an autoscaler that speak of one member; an autoscaler of nearly its
    # name; a rule that tells numbers apart; what speaks of all
    f"\n{text}"
    for text in """\
apiVersion: v1
kind: Service
metadata:
  name: other
spec:
  selector:
    app: llama-3
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: other
spec:
  maxUnavailable: 0
  selector:
    matchLabels:
      app: llama-16
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: llama-2
spec:
  scaleTargetRef:
    name: llama-2
  triggers:
    - type: cpu
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: near
spec:
  scaleTargetRef:
    name: llama15
  triggers:
    - type: cpu
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: by-number
  namespace: inference
spec:
  scaleTargetRef:
    name: llama-12
  triggers:
    - type: prometheus
      metadata:
        serverAddress: http://prometheus:9090
        query: sum(vllm:num_requests_waiting{pod=~"llama-[3-5].*"})
        threshold: "5"
---
apiVersion: v1
kind: Service
metadata:
  name: all
spec:
  selector:
    tier: front
""".split("---\n")  # noqa: SIM905 - as they are written
]
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: NAME
  namespace: inference
spec:
  replicas: 2
  selector:
    matchLabels:
      app: NAME
  template:
    metadata:
      labels:
        app: NAME
        tier: front
    spec:
      containers:
        - name: vllm
          image: vllm/vllm-openai:v0.6.5
          args: [--model=meta-llama/Llama-3.1-8B-Instruct]
          ports:
            - containerPort: 8000
"""
SCALER = """
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: NAME
  namespace: inference
spec:
  scaleTargetRef:
    name: NAME
  maxReplicaCount: 3
  triggers:
    - type: prometheus
      metadata:
        serverAddress: http://prometheus:9090
        query: |
          sum(vllm:num_requests_waiting{pod=~"NAME-.*"})
        threshold: "5"
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata:
  name: NAME
  namespace: inference
spec:
  selector:
    app: NAME
  ports:
    - port: 80
      targetPort: 8000
"""
EDITS = (
    ("replicas: 2", "replicas: 3"),
    ("v0.6.5", "v0.8.0"),
    ('"5"', '"50"'),
    ("NAME-.*", "llama-[3-5].*"),
    ("NAME-.*", "NAME.*"),
    ("NAME-.*", "llama-.*"),
    ("app: NAME", "app: llama"),
    ("namespace: inference\n", ""),
    ("maxReplicaCount: 3", "maxReplicaCount: two"),
    ("    name: NAME", "    name: llama-5"),
    ("8000", "9000"),
    ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/NAME"),
    ("      containers:", "      serviceAccountName: NAME\n      containers:"),
    ("spec:\n", "spec: # NAME\n"),
)


def report(text: str, where: Path) -> list[str]:
    """Return all that an audit says of a file, as JSON."""
    file = where / "fleet.yaml"
    file.write_text(text, encoding="utf-8")
    snapshot = files.read([file])
    snapshot.taken_at = 0.0
    result = audit.run(snapshot, PROFILES["production"], CHECKS)
    return list(parts(result, rows(result)))


def one_by_one(text: str, where: Path) -> list[str]:
    """Return the same where each document is parsed, and each workload judged, by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing.Sharing, "twin", lambda *_: None)
        patch.setattr(families, "_keys", lambda _: {})
        return report(text, where)


def numbered(text: str, name: str, number: int) -> str:
    """Return a text with a name replaced, where it is a word."""
    return re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w])", f"{name}-{number}", text)


def members(path: Path) -> Iterator[str]:
    """Yield a fixture several times, with numbers after each name."""
    text = path.read_text(encoding="utf-8")
    names = sorted(set(re.findall(r"^  name: ([a-z][a-z-]*)$", text, re.MULTILINE)))
    for number in NUMBERS:
        member = text
        for name in names:
            member = numbered(member, name, number)
        yield member


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", FIXTURES, ids=named)
def test_a_fleet_of_a_fixture_is_judged_as_one_by_one(path: Path, tmp_path: Path) -> None:
    text = "\n---\n".join(members(path))
    assert report(text, tmp_path) == one_by_one(text, tmp_path)


def test_most_is_said_once_of_a_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    judge = audit.judge

    def counted(check: registry.Check, offered: audit.Offered) -> audit.Outcome | None:
        ran.append(offered["workload"].name)
        return judge(check, offered)

    monkeypatch.setattr(audit, "judge", counted)
    text = "---".join(
        part.replace("NAME", f"llama-{number}")
        for number in range(10, 30)
        for part in (DEPLOYMENT, SCALER, SERVICE)
    )
    report(text, tmp_path)
    # the first is not known to be of a form, the two after it show what is the same
    assert set(ran) == {"llama-10", "llama-11", "llama-12"}


IN_ORDER = [(part, number) for number in NUMBERS for part in range(3)]
edits = st.lists(st.tuples(st.integers(0, 29), st.sampled_from(EDITS)), max_size=3)


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    order=st.just(IN_ORDER) | st.permutations(IN_ORDER),
    common=st.lists(st.sampled_from(EDITS), max_size=3),
    single=edits,
    extra=st.lists(
        st.tuples(st.integers(0, 30) | st.sampled_from([0, 30]), st.sampled_from(EXTRA)), max_size=2
    ),
    left_out=st.sets(st.integers(0, 29), max_size=3),
)
def test_a_fleet_with_differences_is_judged_as_one_by_one(  # noqa: PLR0913, PLR0917 - what may differ
    tmp_path: Path,
    order: Sequence[tuple[int, int]],
    common: Sequence[tuple[str, str]],
    single: Sequence[tuple[int, tuple[str, str]]],
    extra: Sequence[tuple[int, str]],
    left_out: set[int],
) -> None:
    listed = []
    for at, (part, number) in enumerate(order):
        if at in left_out:
            continue
        text = (DEPLOYMENT, SCALER, SERVICE)[part]
        for edit in (*common, *(edit for place, edit in single if place == at)):
            text = text.replace(*edit)
        listed.append(text.replace("NAME", f"llama-{number}"))
    for place, text in extra:
        listed.insert(place, text)
    fleet = "---".join(listed)
    assert report(fleet, tmp_path) == one_by_one(fleet, tmp_path)


def fleet(*edits: tuple[str, str], numbers: Sequence[int] = NUMBERS) -> str:
    """Return the text of a fleet of Deployments and autoscalers, with some edits in each."""
    listed = []
    for number in numbers:
        for part in (DEPLOYMENT, SCALER):
            text = part
            for edit in edits:
                text = text.replace(*edit)
            listed.append(text.replace("NAME", f"llama-{number}"))
    return "---".join(listed)


@pytest.mark.parametrize(
    "text",
    [
        # the second and third member are within the pattern, the others are not
        fleet(("NAME-.*", "llama-[56].*")),
        fleet(("NAME-.*", "NAME.*"), numbers=(7, 5, 6, 1, 2, 10, 11, 12)),
        # a target that is nearly one member's name
        fleet(("    name: NAME\n  maxR", "    name: none\n  maxR")) + "---" + EXTRA[3],
        fleet(("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/NAME")),
    ],
    ids=["a pattern of numbers", "a pattern that goes on", "nearly a name", "a model's number"],
)
def test_a_number_that_says_something_is_no_name(text: str, tmp_path: Path) -> None:
    assert report(text, tmp_path) == one_by_one(text, tmp_path)
