"""How long Kyverno takes with all policies, beside `drainproof audit` on the same file.

Wall time and peak memory of the whole process, interpreter start included. Kyverno's engine, with
the policies compiled once as an admission controller has them, gets the file's Deployments one by
one. Kyverno's command line compiles every policy anew for each object, which takes it an hour or
two on the large file: by default it is run on the first objects of that file, beside the audit of
the same, and what all of it would take is reckoned from there; with ``--few 1000`` it is run on all
of it. What both say of the workloads is compared with the audit, which runs all its checks, those
without a policy included.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import yaml

from bench import usage
from bench.audit.run import DEPLOYMENT, MEGABYTE, SCALED_OBJECT
from drainproof.clusters import artefacts
from drainproof.errors import UserError
from drainproof.policies import kyverno, write
from drainproof.policies.folder import SETTINGS, errors
from drainproof.progress import PlainProgress

if TYPE_CHECKING:
    from bench.usage import Usage

AUDIT = [sys.executable, "-m", "drainproof", "audit"]
OBJECT_S = 30
"""No object may take Kyverno's command line longer, on average."""
ROOM = "400"
"""How much its garbage may grow, in percent of what it keeps: it takes a quarter less time than
with Go's own 100."""


def main() -> None:
    """Measure all in turns; print tables, the ratios and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench.policies.run")
    parser.add_argument("--workloads", type=int, default=1000, help="each with a ScaledObject")
    parser.add_argument("--few", type=int, default=2, help="the same, for the command line")
    parser.add_argument("--rounds", type=int, default=2, help="of all but the command line")
    options = parser.parse_args()
    built = kyverno.built()
    artefacts.ensure([built], PlainProgress())
    checks = write.enforced()
    bad = sum(map(bool, errors(deployment(), checks, SETTINGS.profile).values()))
    with tempfile.TemporaryDirectory(prefix="drainproof-bench-") as folder:
        policies = []
        for check in checks:
            policies.append(Path(folder) / f"{check.slug}.yaml")
            policies[-1].write_text(write.policy(check, SETTINGS), encoding="utf-8")
        many, few = (file_of(Path(folder), count) for count in (options.workloads, options.few))
        audits, engines, audits_of_few = [], [], []
        for _ in range(options.rounds):
            audits.append(run([*AUDIT, many]))
            engines.append(engine(built.path / "judge", policies, options.workloads, bad))
            audits_of_few.append(run([*AUDIT, few]))
        cli = [str(built.path / "kubectl-kyverno"), "apply", *map(str, policies)]
        command_line = usage.of_tool(
            [*cli, "--remove-color", "--resource", few],
            limit_s=2 * OBJECT_S * options.few + usage.LIMIT_S,
            KUBECONFIG=os.devnull,
            GOGC=ROOM,
        )
    found, expected = counted(command_line), bad * options.few
    if found != expected:
        raise SystemExit(f"kyverno found {found} failures, the audit {expected}")
    print(f"{len(checks)} policies; {bad} of them fail for each Deployment, as in the audit")
    whole, once = [one.seconds for one in audits], [one.seconds for one in engines]
    start = [one.seconds for one in audits_of_few]
    table(options.workloads, {"drainproof audit": whole, "kyverno's engine": once})
    table(options.few, {"drainproof audit": start, "kyverno apply": [command_line.seconds]})
    reckoned = command_line.seconds * options.workloads / options.few
    print(
        f"kyverno apply takes {command_line.seconds / (2 * options.few):.2f} s an object: "
        f"{reckoned / 60:.0f} min for all, {reckoned / min(whole):,.0f} times the audit"
        + ("" if options.few == options.workloads else " (reckoned)")
    )
    last = {
        "bench": "policies",
        "objects": 2 * options.workloads,
        "policies": len(checks),
        "seconds": {"drainproof": round(min(whole), 4), "kyverno_engine": round(min(once), 3)},
        "peak_mb": {"drainproof": peak_mb(audits), "kyverno_engine": peak_mb(engines)},
        "kyverno_engine_of_drainproof": round(min(once) / min(whole), 1),
        "few": {
            "objects": 2 * options.few,
            "seconds": {
                "drainproof": round(min(start), 4),
                "kyverno": round(command_line.seconds, 3),
            },
            "peak_mb": {
                "drainproof": peak_mb(audits_of_few),
                "kyverno": peak_mb([command_line]),
            },
            "kyverno_of_drainproof": round(command_line.seconds / min(start), 1),
        },
        "kyverno_seconds_for_all": round(reckoned),
    }
    print(orjson.dumps(last).decode())


def file_of(folder: Path, workloads: int) -> str:
    """Write the first Deployments and ScaledObjects, and return the file's name."""
    file = folder / f"{workloads}.yaml"
    with file.open("w", encoding="utf-8") as stream:
        for number in range(workloads):
            stream.write(DEPLOYMENT.format(n=number))
            stream.write(SCALED_OBJECT.format(n=number))
    return str(file)


def table(workloads: int, rows: dict[str, list[float]]) -> None:
    """Print seconds, the first row's being the measure of the others."""
    print(f"\n{workloads} Deployments + {workloads} ScaledObjects")
    print(f"{'':<17}{'min s':>9}{'median s':>10}{'x drainproof':>14}")
    own = min(next(iter(rows.values())))
    for name, listed in rows.items():
        middle = statistics.median(listed)
        print(f"{name:<17}{min(listed):>9.3f}{middle:>10.3f}{min(listed) / own:>14.1f}")


def peak_mb(runs: list[Usage]) -> int:
    """Return the largest peak memory, in megabytes."""
    return round(max(one.peak_bytes for one in runs) / MEGABYTE)


def deployment(number: int = 0) -> dict[str, Any]:
    """Return one of the Deployments of the file."""
    found: dict[str, Any] = yaml.safe_load(DEPLOYMENT.format(n=number).removesuffix("---\n"))
    return found


def engine(program: Path, policies: list[Path], workloads: int, bad: int) -> Usage:
    """Let Kyverno's engine compile the policies once and judge the Deployments."""
    one = deployment()
    metadata = one["metadata"]
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as lines:
        for number in range(workloads):
            obj = {**one, "metadata": {**metadata, "name": f"vllm-{number}"}}
            lines.write(orjson.dumps({"resource": "deployments", "object": obj}) + b"\n")
        lines.flush()
        script = 'file=$1; shift; exec "$@" < "$file"'
        used = run(["sh", "-c", script, "sh", lines.name, str(program), *map(str, policies)])
    answers = [orjson.loads(line) for line in used.out.splitlines()]
    found = sum(said["result"] == "fail" for answer in answers for said in answer.values())
    if len(answers) != workloads or found != bad * workloads:
        raise SystemExit(f"kyverno's engine found {found} failures in {len(answers)} workloads")
    return used


def counted(ran: Usage) -> int:
    """Return how many failures Kyverno's command line counted."""
    last = ran.out.decode().strip().splitlines()[-1]
    return int(last.partition("fail: ")[2].partition(",")[0])


def run(command: list[str]) -> Usage:
    """Run a tool to its end, without any cluster."""
    return usage.of_tool(command, KUBECONFIG=os.devnull)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
