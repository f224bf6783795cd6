"""A chaos run as a process of its own, so that tests can interrupt and kill it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from drainproof.errors import UserError
from drainproof.faults.live_view import progress_on
from drainproof.faults.load import Runner
from drainproof.faults.plan import Plan
from drainproof.faults.run import run_on
from tests.faults.fake import NAMESPACE, api_of


def plan(evidence: Path, **changes: object) -> Plan:
    values = {
        "context": "fake",
        "namespace": NAMESPACE,
        "target": "deployment/vllm",
        "evidence": evidence,
        "load": {"rate_per_s": 20.0, "max_tokens": 5},
        "after_s": 0.2,
        "runner": Runner(image="client"),
    }
    return Plan(**(values | changes))  # type: ignore[arg-type] # a table of values


def main() -> None:
    url, evidence, *changes = sys.argv[1:]
    asked = plan(Path(evidence), **json.loads(*changes or ("{}",)))
    try:
        verdict, _ = run_on(api_of(url), asked, progress_on(sys.stderr))
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(int(error.exit_code))
    sys.stdout.write(f"{verdict.verdict}\n")


if __name__ == "__main__":
    main()
