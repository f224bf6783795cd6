"""The ``install`` command: what an audit on a schedule needs, printed, written or applied."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from drainproof.errors import UserError
from drainproof.examples import examples
from drainproof.install import settings as installing
from drainproof.install.objects import documents, text
from drainproof.judge.profiles import PROFILES
from drainproof.policies.write import dumped
from drainproof.report.output import to_file, to_standard_output
from drainproof.report.policyreport import API_VERSION, SOURCE
from drainproof.report.text import harmless, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drainproof.install.objects import Document, Object

_DEFAULT = installing.Settings()
_REPORT = "PolicyReport"
_MANAGED = f"app.kubernetes.io/managed-by={SOURCE}"


@click.group(
    epilog=examples(
        "drainproof install audit > audit.yaml",
        "drainproof install audit --apply --context prod",
    )
)
def install() -> None:
    """Audit a cluster on a schedule: what that needs there."""


@install.command(
    epilog=examples(
        "drainproof install audit | kubectl apply -f -",
        "drainproof install audit -n inference --prometheus monitoring/prometheus-operated",
        "drainproof install audit --kustomize deploy/audit",
        "drainproof install audit --apply --context prod --prometheus-operator",
    )
)
@click.option(
    "--namespace",
    "home",
    default=_DEFAULT.namespace,
    show_default=True,
    help="Where the audit itself lives.",
)
@click.option("-n", "namespaces", multiple=True, help="Audit this namespace; may be repeated.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Audit all namespaces, the default.")
@click.option(
    "--schedule",
    default=_DEFAULT.schedule,
    show_default=True,
    help="When, in UTC, as a CronJob has it.",
)
@click.option(
    "--image", default=_DEFAULT.image, show_default=True, help="An image of deploy/Dockerfile."
)
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default=_DEFAULT.profile,
    show_default=True,
    help="The numbers that checks use.",
)
@click.option(
    "--prometheus",
    default="",
    metavar="WHERE",
    help="The cluster's Prometheus: NAMESPACE/SERVICE[:PORT] (through the API server), or a URL.",
)
@click.option("--policy-reports", is_flag=True, help="Write PolicyReports, too.")
@click.option(
    "--prometheus-operator", is_flag=True, help="Add a ServiceMonitor and a PrometheusRule."
)
@click.option(
    "--api-server",
    multiple=True,
    metavar="CIDR",
    help="Addresses of the API server, which are all that the audit may reach; may be repeated.",
)
@click.option(
    "--stale-after",
    type=click.IntRange(min=60),
    default=installing.STALE_AFTER_S,
    show_default=True,
    help="Seconds without an audit after which an alert fires.",
)
@click.option(
    "--kustomize",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write it as a kustomization into this folder.",
)
@click.option("--apply", "applies", is_flag=True, help="Apply it to the cluster of --context.")
@click.option("--context", help="The name of a kubeconfig context, for --apply.")
def audit(**given: Any) -> None:  # noqa: ANN401 - options, by their names
    """Print all that an audit on a schedule needs, as YAML; change nothing without --apply."""
    if given["all_namespaces"] and given["namespaces"]:
        raise UserError("expected either -n NAMESPACE or -A, found both")
    if given["applies"] != (given["context"] is not None):
        raise UserError(
            "expected --apply and --context together, found one of them",
            hint="Without both, nothing is applied: the manifests are printed.",
        )
    if given["applies"] and given["folder"] is not None:
        raise UserError("expected either --apply or --kustomize, found both")
    settings = installing.checked(
        installing.Settings(
            namespace=given["home"],
            namespaces=tuple(dict.fromkeys(given["namespaces"])),
            schedule=given["schedule"],
            image=given["image"],
            profile=given["profile"],
            prometheus=installing.prometheus(given["prometheus"]),
            policy_reports=given["policy_reports"],
            prometheus_operator=given["prometheus_operator"],
            api_server=given["api_server"],
            stale_after_s=given["stale_after"],
        )
    )
    listed = documents(settings)
    if given["folder"] is not None:
        _kustomize(given["folder"], listed)
    elif given["applies"]:
        _apply(given["context"], [item.object for item in listed])
    else:
        to_standard_output([text(listed)])


def _kustomize(folder: Path, listed: Sequence[Document]) -> None:
    """Write one file for each group of objects, and the kustomization that names them."""
    names = list(dict.fromkeys(item.file for item in listed))
    resources = [f"{name}.yaml" for name in names]
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made: {error.strerror}") from None
    for name in names:
        to_file(folder / f"{name}.yaml", [text(item for item in listed if item.file == name)])
    to_file(folder / "kustomization.yaml", [dumped({**head, "resources": resources})])
    click.echo(f"{folder}: {plural(len(listed), 'object')} in {plural(len(names), 'file')}.")


def _apply(context: str, objects: Sequence[Object]) -> None:
    from drainproof.collect.connect import connect  # noqa: PLC0415 - slow to load
    from drainproof.install.apply import applying  # noqa: PLC0415 - same

    with applying(connect(context)) as cluster:
        for line in cluster.apply(objects):
            click.echo(harmless(line))


@install.command(
    "policy-reports",
    epilog=examples(
        "drainproof audit --context prod -A --format policyreport=reports.yaml",
        "drainproof install policy-reports reports.yaml --context prod",
    ),
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--context", required=True, help="The name of a kubeconfig context.")
@click.option(
    "-n",
    "namespaces",
    multiple=True,
    help="Only in this namespace; may be repeated.  [default: all]",
)
def policy_reports(file: Path, context: str, namespaces: tuple[str, ...]) -> None:
    """Apply the PolicyReports that an audit wrote, and delete drainproof's older ones."""
    from drainproof.collect.connect import connect  # noqa: PLC0415 - slow to load
    from drainproof.install.apply import applying  # noqa: PLC0415 - same

    reports = _reports(file)
    elsewhere = {where for where, _ in reports if namespaces and where not in namespaces}
    if elsewhere:
        raise UserError(
            f"{file}: expected reports in {', '.join(namespaces)} only, "
            f"found some in {', '.join(sorted(elsewhere))}"
        )
    with applying(connect(context)) as cluster:
        for line in cluster.apply(list(reports.values()), force=True):
            click.echo(harmless(line))
        for namespace in namespaces or ("",):
            gone = cluster.delete_others(API_VERSION, _REPORT, _MANAGED, set(reports), namespace)
            for line in gone:
                click.echo(harmless(line))


def _reports(file: Path) -> dict[tuple[str, str], Object]:
    """Return the reports in a file by namespace and name.

    Raises:
        UserError: It can't be read, or holds anything else.
    """
    try:
        written = file.read_text(encoding="utf-8")
        found = [orjson.loads(part) for part in written.split("---\n") if part]
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError:
        found = [None]
    reports = {}
    for obj in found:
        metadata = obj.get("metadata") if isinstance(obj, dict) else None
        kind = (obj.get("apiVersion"), obj.get("kind")) if isinstance(obj, dict) else ()
        if (
            kind != (API_VERSION, _REPORT)
            or not isinstance(metadata, dict)
            or "name" not in metadata
        ):
            raise UserError(
                f"{file}: expected PolicyReports only, found something else",
                hint="Write it with: drainproof audit … --format policyreport=FILE",
            )
        if "namespace" in metadata:
            reports[metadata["namespace"], metadata["name"]] = obj
        else:  # about a waiver of a file
            click.echo(harmless(f"left out {metadata['name']}: it is about nothing in a namespace"))
    return reports
