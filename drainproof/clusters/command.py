"""The ``cluster`` command: the embedded cluster, up and down."""

from __future__ import annotations

import sys

import click

from drainproof import clusters
from drainproof.errors import ExitCode
from drainproof.examples import examples
from drainproof.progress import PlainProgress

_name = click.option("--name", default="drainproof", show_default=True, help="The cluster's name.")


@click.group(
    epilog=examples(
        "drainproof cluster up --with keda,prometheus",
        "drainproof audit --context kind-drainproof -A",
        "drainproof cluster down",
    )
)
def cluster() -> None:
    """Bring up a real Kubernetes of drainproof's own, or take it down.

    Its context is called kind-NAME: name it to audit or chaos.
    """


@cluster.command(
    epilog=examples("drainproof cluster up", "drainproof cluster up --with keda,prometheus")
)
@_name
@click.option(
    "--with",
    "stacks",
    default="",
    metavar="STACK,…",
    help="What is installed in it, if it is not there already: keda, prometheus.",
)
def up(name: str, stacks: str) -> None:
    """Bring the cluster up; one that is healthy is used as it is."""
    wanted = [one.strip() for one in stacks.split(",") if one.strip()]
    found = clusters.up(name, progress=PlainProgress(), stacks=wanted)
    click.echo(f"context: {found.context}\nkubeconfig: {found.kubeconfig}")


@cluster.command(epilog=examples("drainproof cluster down", "drainproof cluster down --name mine"))
@_name
def down(name: str) -> None:
    """Remove the cluster and everything that runs for it."""
    if not clusters.down(name, progress=PlainProgress()):
        click.echo(f"the cluster {name} is not there", err=True)


@cluster.command(epilog=examples("drainproof cluster status"))
@_name
def status(name: str) -> None:
    """Say how the cluster is; exit code 1 if it can't be used."""
    found = clusters.status(name)
    if not found.running:
        click.echo(f"{name}: not running")
    elif found.healthy:
        click.echo(f"{name}: healthy")
    else:
        click.echo(f"{name}: {found.problem}")
    for node, ready in found.nodes.items():
        click.echo(f"  {node}: {'Ready' if ready else 'not Ready'}")
    for stack, problem in found.stacks.items():
        click.echo(f"  with {stack}: {problem or 'Ready'}")
    sys.exit(ExitCode.CLEAN if found.healthy else ExitCode.FINDINGS)


@cluster.command(
    context_settings={"ignore_unknown_options": True},
    epilog=examples("drainproof cluster shell", "drainproof cluster shell kubectl get pods -A"),
)
@_name
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND]...")
def shell(name: str, argv: tuple[str, ...]) -> None:
    """Run a command (by default your shell) inside the cluster's network, kubectl at hand."""
    sys.exit(clusters.shell(name, argv))
