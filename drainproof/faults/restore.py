"""Undoing what a killed run left behind, from its journal in the cluster or on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.errors import UserError
from drainproof.faults.api import Api
from drainproof.faults.consent import Need, labelled, permissions
from drainproof.faults.journal import FILE, JOURNALS, Journal, journal_name, load
from drainproof.faults.lease import drop, holder, is_dead, run_of
from drainproof.faults.undo import MANAGED, preview, verbs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drainproof.faults.api import Object
    from drainproof.faults.journal import Entry


LOOK = (Need("list", "ConfigMap"), Need("list", "Lease"), Need("get", "Lease"))
"""What finding journals takes; undoing one takes what its changes do besides."""


def restore(
    context: str,
    namespace: str,
    journal_file: Path | None,
    say: Callable[[str], None],
    *,
    dry_run: bool = False,
) -> bool:
    """Undo every journal that is found; say what was done; return whether all of it worked.

    Args:
        context: Name of a kubeconfig context.
        namespace: Where to look; empty is everywhere.
        journal_file: A journal on disk to undo instead of those in the cluster.
        say: Told each step.
        dry_run: Only say what would be undone.

    Raises:
        UserError: The journal belongs to another cluster or can't be read, or a permission is
            missing.
    """
    from drainproof.collect.connect import connect  # noqa: PLC0415 - loads the Kubernetes client

    api = Api(connect(context))
    return restore_with(api, context, namespace, journal_file, say, dry_run=dry_run)


def restore_with(  # noqa: PLR0913 - what the command line names
    api: Api,
    context: str,
    namespace: str,
    journal_file: Path | None,
    say: Callable[[str], None],
    *,
    dry_run: bool = False,
) -> bool:
    """Do what :func:`restore` does, on a cluster that is connected already."""
    entries = [_from_disk(journal_file, context)] if journal_file else []
    if journal_file:
        namespace = entries[0].namespace
    permissions(api, namespace, LOOK)
    clean = True
    if not journal_file:
        for item in api.list("ConfigMap", namespace, labels=JOURNALS)["items"]:
            try:
                entries.append(_from_cluster(item))
            except UserError as error:  # the other journals are none the worse for it
                say(str(error))
                clean = False
    folder = journal_file.parent if journal_file else None
    for entry in entries:
        say(f"run {entry.run} on {entry.target} in {entry.namespace}:")
        try:
            clean &= _restored(api, entry, folder, say, dry_run=dry_run)
        except UserError as error:
            say(f"  {error}")
            clean = False
    freed = 0 if dry_run else _free_leases(api, namespace, say)
    if clean and not entries and not freed:
        where = f"namespace {namespace}" if namespace else "any namespace"
        say(f"nothing to restore: no journal of a run in {where} of context {context}")
    return clean


def _restored(
    api: Api, entry: Entry, folder: Path | None, say: Callable[[str], None], *, dry_run: bool
) -> bool:
    """Undo one journal; return whether all of it worked.

    Raises:
        UserError: Its run, or another one on its target, is alive; or a permission is missing.
    """
    if not dry_run:
        for where, needs in _needs(entry).items():
            permissions(api, where, needs)
            if where != entry.namespace and folder is None:
                _allowed(api, where, entry)
    lease = api.find("Lease", entry.namespace, entry.lease)
    if lease is not None and not is_dead(api, entry.namespace, lease, wait=not dry_run):
        raise UserError(
            f"left alone: run {run_of(lease)} on {entry.target} is alive, {holder(lease)}",
            hint="Wait until it ends; it undoes its own changes. Or stop it with Ctrl-C.",
        )
    if dry_run:
        for change in reversed(entry.changes):
            if not change.undone:
                say(f"  {preview(api, entry.namespace, change)}")
        return True
    undone = Journal(api, folder, entry).undo(lambda text: say(f"  {text}"))
    if undone:
        drop(api, entry.namespace, entry.lease, entry.run)
    return undone


def _needs(entry: Entry) -> dict[str, tuple[Need, ...]]:
    """Return the permissions that undoing takes, by namespace; the target's own comes first."""
    found = {
        entry.namespace: (
            *(Need(verb, "ConfigMap") for verb in ("update", "delete")),
            Need("delete", "Lease"),
        )
    }
    for change in entry.changes:
        if not change.undone:
            where = change.namespace or entry.namespace
            needs = (Need(verb, kind) for verb, kind in verbs(change))
            found[where] = (*found.get(where, ()), *needs)
    return found


def _allowed(api: Api, namespace: str, entry: Entry) -> None:
    """See that a journal may speak for another namespace: else whoever may write it could, too.

    Raises:
        UserError: That namespace does not allow chaos.
    """
    try:
        labelled(api, namespace, entry.context)
    except UserError as error:
        raise UserError(
            f"run {entry.run} changed something in namespace {namespace}: {error.message}",
            hint=f"{error.hint} Or undo the journal on disk, with --journal.",
        ) from None


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
    entry = load(text, name)
    where = item["metadata"]["namespace"]
    if entry.namespace != where:
        raise UserError(f"{name} in {where}: a journal of namespace {entry.namespace}, left alone")
    return entry


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
