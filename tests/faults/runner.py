"""A chaos run as a process of its own, so that tests can interrupt and kill it."""

from __future__ import annotations

import sys
from pathlib import Path

from drainproof.errors import UserError
from drainproof.faults.load import Runner
from drainproof.faults.run import Plan, run_on
from drainproof.progress import PlainProgress
from tests.faults.fake import NAMESPACE, api_of


def plan(evidence: Path, **changes: object) -> Plan:
    values = {
        "context": "fake",
        "namespace": NAMESPACE,
        "target": "deployment/vllm",
        "evidence": evidence,
        "rate_per_s": 20.0,
        "tokens": 5,
        "after_s": 0.2,
        "runner": Runner(image="client"),
    }
    return Plan(**(values | changes))  # type: ignore[arg-type] # a table of values


def main() -> None:
    url, evidence = sys.argv[1:]
    try:
        verdict, _ = run_on(api_of(url), plan(Path(evidence)), PlainProgress())
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(int(error.exit_code))
    sys.stdout.write(f"{verdict.verdict}\n")


if __name__ == "__main__":
    main()
