"""Undoing what a killed run left behind, from its journal in the cluster or on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.errors import UserError
from drainproof.faults.api import Api
from drainproof.faults.consent import RESTORE_NEEDS, permissions
from drainproof.faults.journal import FILE, JOURNALS, MANAGED, Journal, journal_name, load
from drainproof.faults.lease import drop, is_dead, run_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drainproof.faults.api import Object
    from drainproof.faults.journal import Entry


def restore(
    context: str, namespace: str, journal_file: Path | None, say: Callable[[str], None]
) -> bool:
    """Undo every journal that is found; say what was done; return whether all of it worked.

    Args:
        context: Name of a kubeconfig context.
        namespace: Where to look; empty is everywhere.
        journal_file: A journal on disk to undo instead of those in the cluster.
        say: Told each step.

    Raises:
        UserError: The journal belongs to a run that is alive, or to another cluster, or can't be
            read; or a permission is missing.
    """
    from drainproof.collect.connect import connect  # noqa: PLC0415 - loads the Kubernetes client

    return restore_with(Api(connect(context)), context, namespace, journal_file, say)


def restore_with(
    api: Api, context: str, namespace: str, journal_file: Path | None, say: Callable[[str], None]
) -> bool:
    """Do what :func:`restore` does, on a cluster that is connected already."""
    if journal_file:
        entries = [_from_disk(journal_file, context)]
        namespace = entries[0].namespace
        permissions(api, namespace, RESTORE_NEEDS)
    else:
        permissions(api, namespace, RESTORE_NEEDS)
        entries = [
            _from_cluster(item)
            for item in api.list("ConfigMap", namespace, labels=JOURNALS)["items"]
        ]
    clean = True
    for entry in entries:
        lease = api.find("Lease", entry.namespace, entry.lease)
        if lease is not None and run_of(lease) == entry.run:
            say(f"run {entry.run} on {entry.target} in {entry.namespace}: is it still alive?")
            if not is_dead(api, entry.namespace, lease, wait=True):
                raise UserError(
                    f"run {entry.run} on {entry.target} is alive: it renews lease/{entry.lease}",
                    hint="Wait until it ends; it undoes its own changes. Or stop it with Ctrl-C.",
                )
        say(f"run {entry.run} on {entry.target} in {entry.namespace}: undoing")
        folder = journal_file.parent if journal_file else None
        undone = Journal(api, folder, entry).undo(lambda text: say(f"  {text}"))
        if undone:
            drop(api, entry.namespace, entry.lease, entry.run)
        clean = clean and undone
    freed = _free_leases(api, namespace, say)
    if not entries and not freed:
        where = f"namespace {namespace}" if namespace else "any namespace"
        say(f"nothing to restore: no journal of a run in {where} of context {context}")
    return clean


def _free_leases(api: Api, namespace: str, say: Callable[[str], None]) -> int:
    """Delete Leases of runs that died before they changed anything else."""
    labels = ",".join(f"{key}={value}" for key, value in MANAGED.items())
    freed = 0
    for lease in api.list("Lease", namespace, labels=labels)["items"]:
        where, name, run = lease["metadata"]["namespace"], lease["metadata"]["name"], run_of(lease)
        if api.find("ConfigMap", where, journal_name(run)) is None and is_dead(
            api, where, lease, wait=False
        ):
            freed += drop(api, where, name, run)
            say(f"lease/{name} of the dead run {run}: deleted")
    return freed


def _from_cluster(item: Object) -> Entry:
    name = f"configmap/{item['metadata']['name']}"
    text = (item.get("data") or {}).get(FILE)
    if text is None:
        raise UserError(f"{name}: has no {FILE}, so it is no journal of drainproof")
    return load(text, name)


def _from_disk(path: Path, context: str) -> Entry:
    try:
        entry = load(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f"{path}: cannot read the journal: {error.strerror}") from None
    if entry.context != context:
        raise UserError(
            f"{path}: the journal is of context {entry.context}, not of {context}",
            hint=f"drainproof restore --context {entry.context} --journal {path}",
        )
    return entry
