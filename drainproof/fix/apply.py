"""Applies what mends findings to objects, and audits again, until nothing is left to mend.

Auditing again after each round shows that a repair does what it says, and lets two repairs of the
same list (two flags in ``args``) follow each other instead of overwriting each other.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from drainproof.collect.lines import steps
from drainproof.judge.verdict import Verdict
from drainproof.model.snapshot import Item, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from drainproof.judge import audit
    from drainproof.model.finding import Finding, Origin
    from drainproof.model.shape import Raw

ROUNDS = 20
"""Most rounds of mending and auditing. Each mends at least one field of every object left."""

Step = str | int


class Mended(Struct):
    """One object, before and after."""

    before: Raw
    after: Raw
    origin: Origin | None
    ref: str
    fields: dict[str, Any] = field(default_factory=dict)
    """Field path to its new value; None where it was removed."""
    checks: list[tuple[str, str]] = field(default_factory=list)
    """Slug and field path of each finding that was mended, in order."""


def mend(
    snapshot: Snapshot,
    audited: Callable[[Snapshot], audit.AuditResult],
    *,
    refuses: Callable[[Mended], bool] = lambda _: False,
) -> tuple[list[Mended], audit.AuditResult]:
    """Return the objects that could be mended, and the audit of what they are then.

    The Snapshot itself, and the objects in it, stay as they are. What is waived, or in the
    baseline, is left alone.

    Args:
        snapshot: What was collected.
        audited: Audits a Snapshot.
        refuses: Tells of an object, mended, whether it can't be written so, such as a patch that
            would show a secret. The finding is left then.
    """
    items = list(snapshot.items)
    at = {id(item.object): index for index, item in enumerate(items)}
    mended: dict[int, Mended] = {}
    result = audited(snapshot)
    tried: set[tuple[int, str, str]] = set()
    for _ in range(ROUNDS):
        changed = False
        touched: dict[int, list[tuple[Step, ...]]] = {}
        for outcome, finding in result.findings:
            index = at.get(id(finding.where.object))
            if index is None or not finding.repair or finding.verdict is Verdict.WAIVED:
                continue
            key = (index, outcome.check.slug, repr(sorted(finding.repair.items())))
            paths = [steps(path) for path in finding.repair]
            if key in tried or _overlaps(paths, touched.get(index, ())):
                continue  # it did not help, or the next round sees what it is worth then
            tried.add(key)
            entry = _mended(mended.get(index) or items[index], finding)
            if refuses(entry):
                continue
            entry.checks.append((outcome.check.slug, finding.path))
            mended[index] = entry
            touched.setdefault(index, []).extend(paths)
            changed = True
        if not changed:
            break
        for index, entry in mended.items():
            # a copy, so that what an earlier audit kept of this object is not changed under it
            items[index] = Item(unshared(entry.after), entry.origin)
        at = {id(item.object): index for index, item in enumerate(items)}
        result = audited(_with(snapshot, items))
    return [mended[index] for index in sorted(mended)], result


def _mended(what: Mended | Item, by: Finding) -> Mended:
    """Return an object with a finding's repair in it, beside what was mended in it before."""
    if isinstance(what, Item):
        what = Mended(what.object, what.object, what.origin, by.object)
    made = Mended(
        what.before,
        unshared(what.after),
        what.origin,
        what.ref,
        {**what.fields, **by.repair},
        [*what.checks],
    )
    for path, value in by.repair.items():
        put(made.after, steps(path), unshared(value))
    return made


def unshared(value: Any) -> Any:  # noqa: ANN401 - any part of a manifest
    """Return a copy in which every part is there once: YAML's aliases share theirs."""
    if isinstance(value, dict):
        return {key: unshared(part) for key, part in value.items()}
    if isinstance(value, list):
        return [unshared(part) for part in value]
    return value


def put(obj: Raw, path: Sequence[Step], value: object) -> None:
    """Set a field, making what is missing on the way; None removes it.

    A step is a key, an index, or ``key=value`` for the item of a list that has that value; it is
    appended if there is none.

    Raises:
        TypeError: Something on the way is neither a mapping nor a list.
    """
    node: Any = obj
    for step, following in itertools.pairwise(path):
        empty: Any = [] if isinstance(following, int) or _names_item(following) else {}
        if isinstance(step, int):
            node = node[step]
        elif isinstance(node, list):
            node = _item(node, step)
        else:
            if node.get(step) is None:
                node[step] = empty
            node = node[step]
        if not isinstance(node, dict | list):
            raise TypeError(f"{step} holds neither a mapping nor a list")
    last = path[-1]
    if isinstance(node, list) and isinstance(last, str):
        item = _item(node, last)
        if isinstance(value, dict):
            item.update(value)
        else:
            node.remove(item)
    elif value is None:
        node.pop(last, None)
    else:
        node[last] = value


def _names_item(step: Step) -> bool:
    return isinstance(step, str) and "=" in step


def _item(node: list[Any], step: str) -> Raw:
    key, _, name = step.partition("=")
    for item in node:
        if isinstance(item, dict) and str(item.get(key)) == name:
            return item
    made: Raw = {key: name}
    node.append(made)
    return made


def _overlaps(paths: Iterable[tuple[Step, ...]], touched: Iterable[tuple[Step, ...]]) -> bool:
    listed = list(touched)
    return any(
        path[: len(other)] == other or other[: len(path)] == path
        for path in paths
        for other in listed
    )


def _with(snapshot: Snapshot, items: Iterable[Item]) -> Snapshot:
    texts: Mapping[str, str] = snapshot.texts
    return Snapshot(
        items,
        partial=snapshot.partial,
        files=snapshot.files,
        skipped=snapshot.skipped,
        taken_at=snapshot.taken_at,
        source=snapshot.source,
        texts=texts,
    )
