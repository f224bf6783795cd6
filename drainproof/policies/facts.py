"""Says in CEL what is known of engines, kinds and accelerators, so that policies know no more.

A rule names what it needs: ``facts.X`` is one of :func:`facts`, ``profile.X`` a field of the
profile, ``check._X`` a constant of the check's own module.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache
from typing import TYPE_CHECKING

from drainproof.errors import UserError
from drainproof.model import engines
from drainproof.model.accelerators import (
    _AMOUNT,
    _CPU,
    _CPU_ENV,
    _MIG,
    _OWN_RUNTIMES,
    _PRODUCT_LABELS,
    _PRODUCTS,
    _SIZES,
    _VENDORS,
)
from drainproof.model.container import _ACCELERATORS
from drainproof.model.engine import (
    _FALSE,
    _HINTS,
    _MAY_HOLD_FLAGS,
    _SIGNATURES,
    _TRUE,
    _UNRESOLVED,
    ONE_RANK,
)
from drainproof.model.kinds import KINDS, Kind, Place
from drainproof.model.language_model import (
    _BITS,
    _CONTEXTS,
    _QUANTISED,
    _SAYS_SO,
    _SMALLER_THAN_NAMED,
)
from drainproof.model.polling import _IN_FLIGHT, _LOOP
from drainproof.model.prestop import _HARMLESS
from drainproof.model.quantity import GIB
from drainproof.model.routing import _MORE_PORTS, _TGI_IMAGE
from drainproof.model.secrets import (
    _COUNTS_TOKENS,
    _EMPTY_WORDS,
    _FILE,
    _FORMS,
    _PLACEHOLDER,
    _SECRET_NAME,
    _SKIPPED,
)
from drainproof.model.shell import _CLOSERS, _JOINERS, _OPENERS, SHELLS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drainproof.judge.profiles import Profile
    from drainproof.judge.registry import Check
    from drainproof.model.engine_facts import Drain, EngineFacts, Version

RESOURCES: dict[tuple[str, str], str] = {
    ("apps", "Deployment"): "deployments",
    ("apps", "StatefulSet"): "statefulsets",
    ("apps", "DaemonSet"): "daemonsets",
    ("apps", "ReplicaSet"): "replicasets",
    ("batch", "Job"): "jobs",
    ("batch", "CronJob"): "cronjobs",
    ("", "ReplicationController"): "replicationcontrollers",
    ("", "Pod"): "pods",
    ("argoproj.io", "Rollout"): "rollouts",
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): "leaderworkersets",
    ("serving.knative.dev", "Service"): "services",
    ("serving.kserve.io", "InferenceService"): "inferenceservices",
    ("serving.kserve.io", "ServingRuntime"): "servingruntimes",
    ("serving.kserve.io", "ClusterServingRuntime"): "clusterservingruntimes",
}
"""What admission matches, by API group and kind."""
OUT_OF_REACH: dict[tuple[str, str], str] = {
    ("serving.kserve.io", "LLMInferenceService"): "KServe's own templates say most of its pods",
    ("serving.kserve.io", "LLMInferenceServiceConfig"): "it is a part of other objects' pods",
    ("apps.nvidia.com", "NIMService"): "the NIM Operator writes its pods, and their image is not "
    "in a container",
    ("ray.io", "RayService"): "KubeRay writes its pods' command, which admission does not see",
    ("ray.io", "RayCluster"): "KubeRay writes its pods' command, which admission does not see",
}
"""Kinds that the audit knows and no policy judges, with why."""

_TOKEN = re.compile(r"(?<![.\w])(facts\.|profile\.|check\.)(\w+)")
_NEVER_BEFORE = re.compile(r"\(\?<!\[((?:\\.|[^\]\\])*)\]\)")
_NEVER_AFTER = re.compile(r"\(\?!\[((?:\\.|[^\]\\])*)\]\)")
_AFTER = re.compile(r"\(\?=((?:\\.|[^()\\])*)\)")
_LOOKED_FOR = re.compile(r"\(\?=(\[[^\]]*\]\*\\d)\)")
_LOOKS_AROUND = re.compile(r"\(\?<!\[(?:\\.|[^\]])*\]\)|\(\?!\[[^\]]*\]\)|\(\?=.*\)")
"""What secrets must have somewhere inside, and what stands around them."""
_DEEPEST = 17
"""How deep the texts of an object are looked for: Kubernetes has none that is deeper."""
KEYWORDS = sorted((_OPENERS | _CLOSERS | _JOINERS) - {"exec", "!", "{", "}"})
"""Words of the shell after which a command need not run, or is another than it seems."""
PLAIN = r"^[A-Za-z0-9_./:=@%+,~; \t\r\n-]*$"
"""Scripts that CEL can take apart, joined lines and ``&&`` aside: commands one after the other."""


def fill(text: str, profile: Profile, check: Check) -> str:
    """Return an expression with what it names filled in.

    Raises:
        UserError: It names something that there is not.
    """
    constants = check.rule.__globals__

    def literal(found: re.Match[str]) -> str:
        where, name = found.groups()
        try:
            if where == "facts.":
                return facts()[name]
            return cel(getattr(profile, name) if where == "profile." else constants[name])
        except (KeyError, AttributeError):
            raise UserError(
                f"the policy of {check.slug}: expected a known name, found {where}{name}"
            ) from None

    return _TOKEN.sub(literal, text)


def cel(value: object) -> str:
    """Write a value as a CEL literal, which is as in JSON; a regular expression as RE2 has it.

    Raises:
        TypeError: CEL has no literal for it.
    """
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: object) -> object:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    pattern, flags = getattr(value, "pattern", None), getattr(value, "flags", 0)
    if isinstance(pattern, str):
        return re2(pattern, flags)
    raise TypeError(f"no literal for {type(value).__name__}")


def re2(pattern: str, flags: int = 0) -> str:
    """Return a regular expression of Python's for RE2, which does not look around.

    What is looked for at the edges of a match may be part of it where only whether there is a match
    is asked.
    """
    if pattern.startswith("(?x)") or flags & re.VERBOSE:
        pattern = re.sub(r"\s+", "", pattern.removeprefix("(?x)"))
    pattern = _NEVER_BEFORE.sub(r"(?:^|[^\1])", pattern)
    pattern = _NEVER_AFTER.sub(r"(?:[^\1]|$)", pattern)
    pattern = pattern.replace(r"(?!\d)", r"(?:\D|$)")
    pattern = _AFTER.sub(r"(?:\1)", pattern)
    return f"(?i){pattern}" if flags & re.IGNORECASE else pattern


@cache
def facts() -> Mapping[str, str]:
    """Return what rules may name ``facts.X``, as CEL."""
    shells = "|".join(sorted(SHELLS))
    values: dict[str, object] = {
        "shell": rf"^(?:.*/)?(?:{shells})$",
        "plain": PLAIN,
        "keyword": rf"^(?:.*/)?(?:{shells})$|^(?:{'|'.join(KEYWORDS)})$"
        r"|^[A-Za-z_][A-Za-z0-9_]*=",
        "unclear": rf"^(?:.*/)?(?:{shells}|{'|'.join(KEYWORDS)}"
        r"|sleep|timeout|python[^/]*|exit|kill|pkill|killall)$|^[A-Za-z_][A-Za-z0-9_]*=",
        "harmless": rf"^(?:.*/)?(?:{'|'.join(sorted(_HARMLESS))})$",
        "loop": _LOOP.pattern,
        "in_flight": _IN_FLIGHT.pattern,
        "words_as_program": r"^\S*(?:sleep|sh)\s",
        "seconds": r"^[0-9]+([.][0-9]+)?[smhd]?$",
        "number": r"^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?$",
        "no": _FALSE,
        "yes": _TRUE,
        "start": "|".join(_start(item) for item in engines.ENGINES),
        "hint": "|".join(map(re.escape, (*_HINTS, *sorted(_SIGNATURES)))),
        "args_env": [name for item in engines.ENGINES for name in item.args_env],
        "not_engine": re2(engines.NOT_ENGINES),
        "foreign": engines.NOT_ENGINE_IMAGES,
        "foreign_tags": engines.FOREIGN_TAGS,
        "accelerator": "|".join(
            part if part.startswith("/") else f"{part}.*/|/.*{part}" for part in _ACCELERATORS
        ),
        "vendors": {
            domain: "^(?:" + "|".join(names) + ")" for domain, (_, names) in _VENDORS.items()
        },
        "amount": _AMOUNT,
        "mig": _MIG,
        "sizes": _SIZES,
        "product_labels": _PRODUCT_LABELS,
        "products": [{"part": part, "size": str(size)} for part, size in _PRODUCTS],
        "quantised": [{"how": how, "name": name} for how, name in _QUANTISED],
        "bits": _BITS,
        "smaller": _SMALLER_THAN_NAMED,
        "says_so": _SAYS_SO,
        "one_rank": ONE_RANK,
        "cpu_image": _CPU,
        "cpu_variables": _CPU_ENV,
        "gpu_runtimes": _OWN_RUNTIMES,
        "secret_name": _SECRET_NAME,
        "counts_tokens": _COUNTS_TOKENS,
        "file": f"^(?:{_FILE.pattern})$",
        "no_secret": _EMPTY_WORDS,
        "secret": "|".join(_form(pattern) for _, pattern in _FORMS),
        "stands_for_secret": _PLACEHOLDER,
        "tgi_image": _TGI_IMAGE,
        "unresolved": f"^(?:{_UNRESOLVED.pattern})$",
        "may_hold_flags": _MAY_HOLD_FLAGS,
        "gib": float(GIB),
    }
    return {
        **{name: cel(value) for name, value in values.items()},
        "contexts": "[" + ", ".join(map(_context, *zip(*_CONTEXTS, strict=True))) + "]",
        "engines": "[" + ",\n  ".join(map(_engine, engines.ENGINES)) + "]",
        "templates": _templates(),
        "places": _templates(placed=True),
        "texts": _texts(),
        "secret_forms": "[" + ", ".join(map(_secret_form, *zip(*_FORMS, strict=True))) + "]",
    }


def _start(item: EngineFacts) -> str:
    return rf"(?:^|[\s/])(?:{'|'.join(item.starts)})(?:\s|$)"


def _engine(item: EngineFacts) -> str:
    more_ports_flag, more_ports = _MORE_PORTS.get(item.name, ("", -1))
    known: dict[str, object] = {
        "name": item.name,
        "title": item.title,
        "start": _start(item),
        "launchers": item.launchers,
        "image": re2(item.image.pattern, item.image.flags & ~re.UNICODE),
        "signature": item.signature,
        "port": item.port,
        "port_flags": item.port_flags,
        "port_env": item.port_env,
        "health": item.health_paths,
        "live": item.live_paths,
        "keyed": item.keyed_paths,
        "unkeyed": item.unkeyed_paths,
        "key_env": item.key_env,
        "busy": item.busy_paths,
        "metrics": item.metrics_path,
        "metrics_port": item.metrics_port or -1,
        "metrics_port_flag": item.metrics_port_flag,
        "more_ports": more_ports,
        "more_ports_flag": more_ports_flag,
        "parallel": item.parallel_flags,
        "parallel_env": item.parallel_env,
        "pipeline": item.pipeline_flags,
        "data": item.data_flags,
        "nodes": item.nodes_flags,
        "parallel_all": item.parallel_default_all,
        "config": item.config_flags,
        "config_alone": item.config_flags_alone,
        "oldest": item.oldest_major,
        "newest": item.newest_major,
    }
    rows = ", ".join(map(_drain, item.drains))
    fields = ", ".join(f"'{name}': dyn({cel(value)})" for name, value in known.items())
    return f"{{{fields}, 'drains': dyn([{rows}])}}"


def _drain(row: Drain) -> str:
    known: dict[str, object] = {
        "since": number_of(row.since),
        "seconds": row.default_s if row.default_s and math.isfinite(row.default_s) else 0.0,
        "aborts": row.default_s == 0,
        "flag": row.flag,
        "env": row.env,
        "abort": row.abort_env,
    }
    return "{" + ", ".join(f"'{name}': dyn({cel(value)})" for name, value in known.items()) + "}"


def _context(name: re.Pattern[str], tokens: int) -> str:
    """Return a model's longest context; RE2 gets what must not follow a name on its own."""
    before, never, after = name.pattern.partition("(?!")
    known: dict[str, object] = {
        "name": before,
        "besides": before + after.removesuffix(")") if never else "",
        "tokens": tokens,
        "written": f"{tokens:,}",
    }
    return "{" + ", ".join(f"'{name}': dyn({cel(value)})" for name, value in known.items()) + "}"


def _form(pattern: str) -> str:
    """Return what finds a secret, and maybe a character on each side of it."""
    return re2(_LOOKED_FOR.sub("", pattern)).replace("(?=", "(?:")


def _secret_form(form: str, pattern: str) -> str:
    """Return a form of secrets: what finds one, what it is itself, and what has to be in it."""
    has = _LOOKED_FOR.search(pattern)
    before = _LOOKS_AROUND.sub("", pattern[: has.start()]) if has else ""
    known = {
        "form": form,
        "around": _form(pattern),
        "itself": _LOOKS_AROUND.sub("", _LOOKED_FOR.sub("", pattern)),
        "has": f"^{before}{has[1]}" if has else "",
    }
    return "{" + ", ".join(f"'{name}': {cel(value)}" for name, value in known.items()) + "}"


def _texts(level: int = 0) -> str:
    """Return the expression that finds every text in an object; CEL has no recursion."""
    if level == _DEEPEST:
        return "[]"
    found = "dyn([dyn(object)])"
    if level:
        fields = f"v.transformList(k, x, !(k in {cel(_SKIPPED)}), dyn(x))"
        parts = f"type(v) == map ? {fields} : type(v) == list ? dyn(v) : dyn([])"
        found = f"dyn(at{level}.map(v, {parts}).flatten())"
    inside = f"at{level + 1}"
    texts = f"{inside}.filter(v, type(v) == string).map(v, string(v))"
    return f"[{found}].map({inside}, {texts}\n  + {_texts(level + 1)})[0]"


def number_of(version: Version) -> int:
    """Return a version as one whole number: major, minor and patch in four digits each."""
    major, minor, patch = (*version, 0, 0, 0)[:3]
    return major * 10**8 + minor * 10**4 + patch


def _templates(*, placed: bool = False) -> str:
    """Return the expression that finds an object's pod templates, by its kind.

    Args:
        placed: Whether each says where its pods' spec is, as a JSON pointer.
    """
    alike: dict[str, list[str]] = {}
    for key in RESOURCES:
        alike.setdefault(_places(KINDS[key], placed=placed), []).append(key[1])
    at = "'path': t.path, " if placed else ""
    choices = "\n  : ".join(
        f"object.kind in {cel(kinds)} ? {places}" for places, kinds in alike.items()
    )
    return f"""[{choices}
  : []].map(all, [all.filter(t, t.there)].map(there,
    (there.size() > 0 ? there : all.filter(t, t.first))
    .filter(t, there.size() < 2 || !(t.spec.?containers.orValue([]).size() == 0
      || t.spec.containers.exists(c, !has(c.image))))
    .map(t, {{{at}'spec': t.spec, 'annotations': t.annotations, 'complete': t.complete,
      'grace_field': t.grace_field, 'grace_default': t.grace_default,
      'role': dyn(there.size() > 1 ? t.role : ''),
      'worker': dyn(there.size() > 1 && t.worker)}}))[0])[0]"""


def _places(kind: Kind, *, placed: bool) -> str:
    return (
        "["
        + ",\n    ".join(
            _place(kind, place, first=index == 0, placed=placed)
            for index, place in enumerate(kind.places)
        )
        + "]"
    )


def _place(kind: Kind, place: Place, *, first: bool, placed: bool) -> str:
    steps = place.path.split(".") if place.path else []
    way = "object" + "".join(f".?{step}" for step in steps)
    holder = f"{way}.orValue({{}})" if steps else way
    spec = holder if place.inline else f"{way}.?spec.orValue({{}})"
    metadata = f"{way}.?annotations" if place.inline else f"{way}.?metadata.?annotations"
    at = ["", *steps] if place.inline else ["", *steps, "spec"]
    fields = {
        **({"path": cel("/".join(at))} if placed else {}),
        "there": f"{way}.hasValue()" if steps else "true",
        "first": cel(first),
        "spec": spec,
        "annotations": f"{metadata}.orValue({{}})",
        "complete": cel(kind.complete),
        "grace_field": cel(kind.grace_field),
        "grace_default": cel(kind.default_grace_s),
        "role": cel(place.role),
        "worker": cel(place.worker),
    }
    return "{" + ", ".join(f"'{name}': dyn({value})" for name, value in fields.items()) + "}"
