"""Keeps one of equal parts of manifests, so that thousands of them fit into little memory.

Fleets are written from templates: the probes, ports and limits of a thousand Deployments are a few
different ones. Nobody may change an object that was read, since others may hold the same part.
"""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING, Any

import orjson

from drainproof.collect import yaml_text
from drainproof.model.form import Form, named
from drainproof.patterns import regex

if TYPE_CHECKING:
    from drainproof.model.shape import Raw

_MOST = 20_000
"""How many different parts are known at a time; names make some of them different for ever."""
_MOST_TEXTS = 1000
_TEMPLATE = "\n  template:\n"
_SPEC = "\n    spec:\n"
_MARK = "{drainproof: the spec of the pods}"
_MARKED = {"drainproof": "the spec of the pods"}
_INSIDE = regex(r"(?:(?: {5}[^\n]*)?\n)*(?: {5}[^\n]*\Z)?")
"""The rows under ``spec`` of a pod template, in two spaces' indentation."""
_COMMENT = regex(r" {0,4}#")


class Sharing:
    """The parts of pod templates that were read so far, by what they are in JSON."""

    def __init__(self) -> None:
        self._known: dict[bytes, Any] = {}
        self._by_text: dict[str, Raw] = {}
        """What the text under ``spec`` of a pod template holds."""
        self._forms: dict[str, Form] = {}
        """Documents that were parsed, by their text without the number in their name."""

    def twin(self, text: str) -> tuple[Raw, Form] | None:
        """Return what a document holds that differs from one before in its number only, unparsed.

        Args:
            text: A document of a file, without control characters.
        """
        numbered = named(text)
        form = self._forms.get(numbered[1]) if numbered else None
        if form is None or numbered is None:
            return None
        found = form.of(numbered[0])
        return None if found is None else (found, form)

    def parse(self, text: str) -> object:
        """Return what a document holds, as :func:`yaml_text.parse` does and :meth:`share` then.

        Pods' specs that are written alike are parsed once, which takes most of the time.

        Args:
            text: A document of which :func:`yaml_text.plain` is true.

        Raises:
            YamlError: Kubernetes would not read it.
        """
        found = self._parse_apart(text) or self._parse_whole(text)
        numbered = named(text)
        if numbered is not None and numbered[1] not in self._forms:
            if len(self._forms) > _MOST_TEXTS:
                self._forms.clear()
            self._forms[numbered[1]] = Form(numbered[1], numbered[0], found)
        return found

    def _parse_whole(self, text: str) -> object:
        whole = yaml_text.parse(text, is_plain=True)
        try:
            return self._shared(whole)
        except (TypeError, ValueError):  # as below; keys that are no strings are to become some
            return yaml_text.parse(text, is_plain=False)

    def _parse_apart(self, text: str) -> Raw | None:
        """Parse what is under ``spec`` of the pod template, and the rest; None if that can't be."""
        place = _pods_in(text)
        if place is None:
            return None
        start, end = place
        after = "end: 0\n" if end < len(text) else ""  # what ends a text may be read in another way
        written = f"spec:\n{text[start:end]}{after}"
        try:
            pods = self._by_text.get(written)
            if pods is None:
                parsed: Any = yaml_text.parse(written, is_plain=True)
                if not isinstance(parsed["spec"], dict) or len(parsed) > 1 + bool(after):
                    return None
                pods = self._part(parsed["spec"], 3)
            rest: Any = yaml_text.parse(f"{text[: start - 1]} {_MARK}\n{text[end:]}", is_plain=True)
            template = rest["spec"]["template"]
            if template["spec"] != _MARKED:
                return None
            found = _with_pods(rest, template, pods)
        except (LookupError, TypeError, ValueError):
            return None  # parsed as a whole, that says what is wrong and where
        if len(self._by_text) > _MOST_TEXTS:
            self._by_text.clear()
        self._by_text[written] = pods
        return found

    def share(self, found: object) -> object:
        """Return an equal document that shares its keys, and what is in pods, with those before.

        The document itself is used up: it may be changed.
        """
        try:
            return self._shared(found)
        except (TypeError, ValueError):  # JSON can't say it: numbers beyond 64 bits, deep nesting
            return found

    def _shared(self, found: object) -> object:
        if not isinstance(found, dict):
            return found
        items = found.get("items")
        if isinstance(items, list):
            for index, item in enumerate(items):  # so that a long list is never there twice
                items[index] = self._shared(item)
            return found
        if len(self._known) > _MOST:
            self._known.clear()
        return self._object(found)

    def _object(self, found: Raw) -> Raw:
        holder = _holder(found)
        if holder is None:
            return _copy(found)
        return _with_pods(found, holder, self._part(holder["spec"], 3))

    def _part(self, value: Any, depth: int) -> Any:  # noqa: ANN401 - any part of a manifest
        """Return the one of a part; of what is as deep in it, that part's own parts are the ones.

        A pod's spec holds lists of containers and volumes, which hold probes, limits and so on.
        """
        kind = type(value)
        if kind is not dict and kind is not list:
            return value
        written = orjson.dumps(value)
        known = self._known.get(written)
        if known is None:
            if not depth:
                known = orjson.loads(written)
            elif kind is dict:
                known = {intern(key): self._part(part, depth - 1) for key, part in value.items()}
            else:
                known = [self._part(part, depth - 1) for part in value]
            self._known[written] = known
        return known


def _holder(found: Raw) -> Raw | None:
    """Return the part of an object whose ``spec`` is that of pods; None if it has none."""
    spec = found.get("spec")
    if not isinstance(spec, dict):
        return None
    template = spec.get("template")
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        return template
    return found if "containers" in spec else None


def _copy(found: Raw) -> Raw:
    """Return a copy with keys that are in memory once, and so is what most objects have in common.

    The fast parser makes a new string of every key, orjson does not.
    """
    copy: Raw = orjson.loads(orjson.dumps(found))
    _intern(copy, "apiVersion")
    _intern(copy, "kind")
    _intern(copy.get("metadata"), "namespace")
    return copy


def _intern(part: object, key: str) -> None:
    if type(part) is dict and type(value := part.get(key)) is str:
        part[key] = intern(value)


def _with_pods(found: Raw, holder: Raw, pods: Raw) -> Raw:
    """Return a copy of an object in which the ``spec`` of ``holder`` is ``pods``."""
    before = holder["spec"]
    holder["spec"] = None
    try:
        copy = _copy(found)
    finally:
        holder["spec"] = before
    at = copy if holder is found else copy["spec"]["template"]
    at["spec"] = pods
    return copy


def _pods_in(text: str) -> tuple[int, int] | None:
    """Return where the text under ``spec`` of a pod template begins and ends, as far as seen."""
    at = text.find(_TEMPLATE)
    at = text.find(_SPEC, at) if at >= 0 else at
    if at < 0:
        return None
    start = at + len(_SPEC)
    inside = _INSIDE.match(text, start)
    end = inside.end() if inside else start
    if _COMMENT.match(text, end):  # it may be in the midst of it
        return None
    return start, end
