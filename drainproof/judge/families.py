"""Finds workloads of which the same is to be said: a fleet's, that differ in their number only.

Swap two numbers everywhere, and the input is what it was: then what holds for one workload holds
for the other, with the number exchanged. That is so where both are named in documents of the same
forms, and nowhere else.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import orjson
from msgspec import Struct

from drainproof.content import content
from drainproof.judge.audit import Outcome
from drainproof.model.finding import Finding
from drainproof.model.form import blind, mentions
from drainproof.model.scaler import strays_near

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from drainproof.judge.registry import Check
    from drainproof.model.finding import Located
    from drainproof.model.snapshot import Item, Snapshot
    from drainproof.model.workload import Workload


Placed = tuple[int, Outcome]
"""An outcome, after the place of its check among those that apply."""
_KINDS = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
"""Kinds that bring no autoscaler of their own."""
_FEWEST = 3
"""Two members are judged to see what is the same; the third is the first to gain."""
_Key = tuple[object, ...]


class Known(Struct, frozen=True):
    """What is known of a workload before any check is run on it."""

    said: list[Placed]
    left: list[tuple[int, Check]]
    """The checks that are to be run on it all the same, with their places."""


class Families:
    """What is said of the workloads of a Snapshot that differ in their number only."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._keys = _keys(snapshot.items)
        self._first: dict[_Key, _Member] = {}
        """One member of each family."""
        self._alike: dict[_Key, _Alike] = {}
        """What is said of each member, of families with a second one."""
        self._own = f"{content('checks')}/"

    def known(self, workload: Workload) -> Known | None:
        """Return what is known of a workload by others of its family; None if nothing is."""
        key = self._key(workload)
        alike = self._alike.get(key) if key else None
        if alike is None:
            return None
        own = self._member(workload, ())
        if not alike.fits(own) or strays_near(self._snapshot, workload):
            return None  # something is meant for it and has nearly its name
        return Known(alike.said_of(own), alike.left)

    def note(self, workload: Workload, checks: Sequence[Check], said: Iterable[Placed]) -> None:
        """Note what all checks said of a workload; after the second one, it is known what is alike.

        Args:
            workload: The subject.
            checks: Those that ran.
            said: What they said beyond a pass.
        """
        key = self._key(workload)
        if key is None or key in self._alike:
            return
        own = self._member(workload, said)
        first = self._first.setdefault(key, own)
        if first is own:
            return
        left = [
            (place, check)
            for place, check in enumerate(checks)
            # a check of the user's may go by numbers
            if not f"{check.file}".startswith(self._own) or not self._same(first, own, place)
        ]
        self._alike[key] = _Alike(first, left)

    def _key(self, workload: Workload) -> _Key | None:
        form = workload.origin.form if workload.origin else None
        if form is None or workload.kind not in _KINDS:
            return None
        key = self._keys.get(form.name_in(workload.name))
        return key and (*key, id(form))

    def _member(self, workload: Workload, said: Iterable[Placed]) -> _Member:
        form = workload.origin.form if workload.origin else None
        name = form.name_in(workload.name) if form else ""
        return _Member(name, (workload, *self._snapshot.scalers_for(workload)), dict(said))

    def _same(self, one: _Member, two: _Member, place: int) -> bool:
        mine, its = one.said.get(place), two.said.get(place)
        if mine is None or its is None:
            return mine is its
        pairs = (mine.findings, its.findings), (mine.assumptions, its.assumptions)
        return mine.verdict is its.verdict and all(
            len(some) == len(others)
            and all(self._equal(one, a, two, b) for a, b in zip(some, others, strict=True))
            for some, others in pairs
        )

    def _equal(self, one: _Member, mine: Finding, two: _Member, its: Finding) -> bool:
        """Tell whether two findings say the same of two members, and nothing of a third."""
        return (
            (mine.path, mine.severity, mine.verdict, mine.repair)
            == (its.path, its.severity, its.verdict, its.repair)
            and one.name not in f"{mine.path} {mine.repair}"
            and mine.message.replace(one.name, two.name) == its.message
            and self._keys.keys().isdisjoint(mentions(mine.message.replace(one.name, " ")))
            and one.place(mine.where) == two.place(its.where) >= 0
        )


class _Member(Struct, frozen=True):
    name: str
    objects: tuple[Located, ...]
    """The workload and its autoscalers."""
    said: dict[int, Outcome]

    def place(self, where: Located) -> int:
        """Return which of its objects one is; -1 if it is another's."""
        return next((at for at, one in enumerate(self.objects) if one is where), -1)


class _Alike:
    """What is said of every member of a family.

    Args:
        first: The member of which it was said.
        left: The checks that say other things of others.
    """

    def __init__(self, first: _Member, left: list[tuple[int, Check]]) -> None:
        self.left = left
        self._first = first
        varying = {place for place, _ in left}
        self._said = [
            (place, said, self._parts(said.findings), self._parts(said.assumptions))
            for place, said in first.said.items()
            if place not in varying
        ]

    def _parts(self, listed: Sequence[Finding]) -> list[tuple[Finding, int, bool]]:
        """Return findings, each with which object it is in, and whether it says the name."""
        return [
            (one, self._first.place(one.where), self._first.name in one.message) for one in listed
        ]

    def fits(self, member: _Member) -> bool:
        """Tell whether a member has the same objects."""
        return len(member.objects) == len(self._first.objects)

    def said_of(self, member: _Member) -> list[Placed]:
        """Return what is said of a member."""
        old, new, objects = self._first.name, member.name, member.objects
        subject = objects[0]

        def made(parts: list[tuple[Finding, int, bool]]) -> tuple[Finding, ...]:
            return tuple(
                [
                    Finding(
                        one.path,
                        one.message.replace(old, new) if named else one.message,
                        objects[at],
                        one.severity,
                        one.verdict,
                        one.repair,
                        one.fix,
                    )
                    for one, at, named in parts
                ]
            )

        return [
            (
                place,
                Outcome(
                    said.check,
                    subject,
                    said.verdict,
                    made(findings),
                    made(assumed) if assumed else (),
                ),
            )
            for place, said, findings, assumed in self._said
        ]


def _keys(items: Sequence[Item]) -> Mapping[str, _Key]:
    """Return, by name, what workloads that differ in their number have in common.

    That is: which forms the documents have that speak of it, in order, and what else is between
    them. A name of which anything else speaks is none of these.
    """
    others: list[Item] = []
    parts: dict[str, list[tuple[int, int, str]]] = {}
    forms: dict[int, str] = {}
    for item in items:
        form = item.origin.form if item.origin else None
        if form is None or not form.blind or item.origin is None:
            others.append(item)
            continue
        forms[id(form)] = form.text
        name = form.name_in(item.object["metadata"]["name"])
        parts.setdefault(name, []).append((id(form), len(others), item.origin.world))
    keys: dict[str, _Key] = {name: tuple(listed) for name, listed in parts.items()}
    counts = Counter(keys.values())
    keys = {
        name: key
        for name, key in keys.items()
        if counts[key] >= _FEWEST and len({part[0] for part in parts[name]}) == len(key)
    }
    if not keys:
        return {}
    for text in forms.values():
        _leave_out(keys, text)
    try:
        for item in others:
            text = orjson.dumps(item.object).decode()
            if not blind(text):
                return {}
            _leave_out(keys, text)
    except TypeError:  # a number or a text that JSON has no room for
        return {}
    return keys


def _leave_out(keys: dict[str, _Key], text: str) -> None:
    for name in mentions(text):
        keys.pop(name, None)
