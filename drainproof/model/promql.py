"""Reads a PromQL query as an autoscaler uses it: which series it reads, and what its answer means.

The parser is loaded with the first query, and each text is parsed once: in practice a thousand
autoscalers share a few.
"""

from __future__ import annotations

import json
import re
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Extent = Literal["each", "total", "level", ""]
"""How an answer moves with the number of replicas: ``each`` is one value per series, ``total``
grows with the replicas, ``level`` (a mean, a quantile, a ratio) does not. Empty if it can't be
told."""

EVERY_LABEL: Final = "*"
"""Stands for all labels that a series has: nothing was aggregated."""
SOME_LABELS: Final = "?"
"""Stands for labels that can't be told, as after ``without (…)``."""
REPLICA_LABELS: Final = frozenset(
    {"pod", "pod_name", "kubernetes_pod_name", "exported_pod", "instance", "ip", "pod_ip"}
)
"""Labels whose values differ between the replicas of a workload."""

_PLACEHOLDER = regex(r"\{\{|\$\{|\$\(|\$_|<%|<[A-Za-z][\w .-]*>|%\(")
RATES: Final = frozenset({"rate", "irate", "increase"})
"""Functions that make what grows for ever into how fast it grows."""
_OVER_TIME = frozenset(
    {"rate", "irate", "increase", "delta", "idelta", "deriv", "resets", "changes"}
)
_UNCHANGED = frozenset(
    {
        "abs", "ceil", "floor", "round", "clamp", "clamp_min", "clamp_max", "sort", "sort_desc",
        "sort_by_label", "sort_by_label_desc", "label_replace", "label_join", "scalar",
    }
)  # fmt: skip
"""Functions whose answer means what their argument means."""
_CONSTANTS = frozenset(
    {"vector", "time", "pi", "absent", "absent_over_time", "day_of_week", "hour", "minute", "month"}
)
_LEVELS = frozenset({"avg", "max", "min", "quantile"})
_COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})
_COUNTS_REPLICAS = regex(r"replicas", re.IGNORECASE)
_OPS = {
    "MatchOp.Equal": "=",
    "MatchOp.NotEqual": "!=",
    "MatchOp.Re": "=~",
    "MatchOp.NotRe": "!~",
}
_VALUE = regex(r"""([=~]\s*)["']([\w.*+/: -]*)["']""")
"""A filter's value that needs no parser to be understood."""
_MARK = "\x1f"
"""Begins what stands in for such a value; nobody types it."""
_SUFFIX = regex(r"_(?:bucket|sum|count)$")
_NOT_NAMES = regex(
    r"""
      \{[^{}]*\}                                       # label filters
    | \[[^\[\]]*\]                                     # ranges
    | "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*'            # strings
    | \b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)   # label lists
    | \b(?:by|without|on|ignoring|group_left|group_right|and|or|unless|bool|offset|inf|nan)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NAME = regex(r"(?<![\w:.])[A-Za-z_:][\w:]*(?!\s*\(|[\w:])")


class Matcher(Struct, frozen=True):
    """One label filter of a selector."""

    label: str
    op: str
    """``=``, ``!=``, ``=~`` or ``!~``; empty for one of several, of which any may hold."""
    value: str

    def accepts(self, value: str) -> bool | None:
        """Tell whether a label's value gets through; None if it can't be told."""
        if not self.op:
            return None
        literal = _LITERAL.fullmatch(self.value)  # by far the most usual, and nothing to compile
        if not literal and _PLACEHOLDER.search(self.value):
            return None
        if self.op in {"=", "!="}:
            return (self.value == value) is (self.op == "=")
        if literal:
            begins = value.startswith(literal[1]) if literal[2] else value == literal[1]
            return (begins and len(value) >= len(literal[1]) + (literal[2] == ".+")) is (
                self.op == "=~"
            )
        pattern = quick(self.value)
        return None if pattern is None else bool(pattern.fullmatch(value)) is (self.op == "=~")

    @property
    def prefix(self) -> str | None:
        """What a regular expression wants values to begin with, if it wants just that."""
        found = _PREFIX.fullmatch(self.value) if self.op == "=~" else None
        return found[1] if found else None

    def __str__(self) -> str:
        return f"{self.label}{self.op}{json.dumps(self.value, ensure_ascii=False)}"


_LITERAL = regex(r"([\w-]*)(\.\*|\.\+)?")
_SIMPLE = regex(r"(?:[\w\-/:@ ]|\\[.\-]|\.[*+]?|\||\((?:\?:)?|\)(?![*+?{])|\[[^\]^\\]+\][*+]?)*")
_PREFIX = regex(r"([\w-]*)(?:\.\*|\.\+|\[[^\]]+\][*+](?:-\[[^\]]+\][*+])*)")
_MAX_WILDCARDS = 4  # of them each may try every place of a name: more could take seconds


@lru_cache(maxsize=4096)
def quick(written: str) -> re.Pattern[str] | None:
    """Compile what RE2 and Python surely read alike, and quickly; None for anything else."""
    if not _SIMPLE.fullmatch(written):
        return None
    if written.count("*") + written.count("+") > _MAX_WILDCARDS:
        return None
    try:
        return re.compile(written)
    except re.error:
        return None


class Use(Struct, frozen=True):
    """How a selector uses its metric."""

    metric: str
    """Its name; empty if a filter on ``__name__`` leaves it open."""
    function: str
    """The function over its range, such as ``rate`` or ``max_over_time``; empty if it has none."""
    in_quantile: bool
    """Whether ``histogram_quantile`` is made of it."""


class Selector(Struct, frozen=True):
    """One vector selector of a query."""

    use: Use
    matchers: tuple[Matcher, ...]

    def matcher(self, *labels: str) -> Matcher | None:
        """Return the filter on the first of some labels that has one."""
        for item in self.matchers:
            if item.label in labels:
                return item
        return None

    def __str__(self) -> str:
        filters = ",".join(map(str, self.matchers))
        return f"{self.use.metric}{{{filters}}}" if filters else self.use.metric


def selector_of(node: Any, function: str = "", *, in_quantile: bool = False) -> Selector:  # noqa: ANN401 - the parser has no types
    """Return what the parser found as a selector."""
    written = [*node.matchers.matchers, *(m for g in node.matchers.or_matchers for m in g)]
    either = bool(node.matchers.or_matchers)
    matchers = tuple(
        Matcher(item.name, "" if either else _OPS[str(item.op)], item.value) for item in written
    )
    metric = node.name or next(
        (m.value for m in matchers if m.label == "__name__" and m.op == "="), ""
    )
    return Selector(Use(metric, function, in_quantile), matchers)


class Answer(Struct, frozen=True):
    """What a query, or a part of one, yields."""

    labels: frozenset[str] = frozenset()
    """Labels in which its series may differ; empty is a single series. :data:`EVERY_LABEL` and
    :data:`SOME_LABELS` may be among them."""
    extent: Extent = ""
    of_ratio: bool = False
    """Whether a ``level`` is a quantile or a ratio, rather than the mean or maximum of series."""
    measures: str = ""
    """The metric whose unit it has, without a histogram's suffix; empty if none."""
    per_second: bool = False
    """Whether it is a rate of that metric."""
    factor: float = 1.0
    """What that unit is multiplied by: 1000 for seconds given in milliseconds."""
    never_empty: bool = False
    """Whether there is one even without any series, as with ``or vector(0)``."""
    number: float | None = None
    """Its value if it is a number."""
    suffix: str = ""
    """``_sum`` or ``_count`` of a histogram: their ratio is a mean."""

    @property
    def several(self) -> str:
        """What surely makes it several series, in words; empty if nothing does."""
        if EVERY_LABEL in self.labels:
            return "one for every replica"
        per_replica = sorted(self.labels & (REPLICA_LABELS | {"le"}))
        return f"one for every {per_replica[0]}" if per_replica else ""


class Query(Struct, frozen=True):
    """What a PromQL query says."""

    text: str
    """On one line."""
    error: str = ""
    """Why it can't be parsed; empty if it can."""
    placeholder: bool = False
    """Whether a template's placeholder keeps it from being parsed."""
    metrics: tuple[str, ...] = ()
    """Names of the metrics it reads, as far as it names them, even if it can't be parsed."""
    selectors: tuple[Selector, ...] = ()
    uses: tuple[Use, ...] = ()
    """How each selector uses its metric."""
    answer: Answer = field(default_factory=Answer)
    quantiles: tuple[float, ...] = ()
    """The quantiles that it asks for."""
    without_le: bool = False
    """Whether it makes a quantile of buckets that were aggregated without ``le``."""
    bare: bool = False
    """Whether it is nothing but a selector."""

    @property
    def idle_is_nan(self) -> bool:
        """Whether its answer is not a number while nothing happens: 0 requests in 0 s."""
        rates = any(item.function in RATES for item in self.uses)
        return rates and (bool(self.quantiles) or self.answer.of_ratio)


@lru_cache(maxsize=16384)
def parse(text: str) -> Query:
    """Return what a query says. One that can't be parsed says why."""
    line = " ".join(text.split())
    if any(word in text for word in ("__name__", "#", "\\", _MARK)):
        shared = _parse(text)
        return replace(shared, text=line)
    # autoscalers' queries differ in the values of their filters alone: parse what they share
    values: list[str] = []

    def number(found: re.Match[str]) -> str:
        values.append(found[2])
        return f'{found[1]}"{_MARK}{len(values) - 1}"'

    shared = _parse(_VALUE.sub(number, text))
    selectors = tuple(
        Selector(
            item.use,
            tuple(Matcher(one.label, one.op, _value(one.value, values)) for one in item.matchers),
        )
        for item in shared.selectors
    )
    return Query(
        line,
        shared.error,
        shared.placeholder,
        shared.metrics,
        selectors,
        shared.uses,
        shared.answer,
        shared.quantiles,
        shared.without_le,
        shared.bare,
    )


def _value(written: str, values: Sequence[str]) -> str:
    return values[int(written[1:])] if written[:1] == _MARK else written


@lru_cache(maxsize=1)
def parser() -> Any:  # noqa: ANN401 - a module
    """Return the module ``promql_parser``, loaded with the first query."""
    with warnings.catch_warnings():
        # Python 3.15 deprecates how promql-parser 0.12 is built; it works all the same
        warnings.filterwarnings("ignore", "type promql_parser", DeprecationWarning)
        import promql_parser  # noqa: PLC0415 - only where there is a query
    return promql_parser


@lru_cache(maxsize=4096)
def _parse(text: str) -> Query:
    try:
        tree = parser().parse(text)
    except ValueError as error:
        return Query(
            text,
            error=str(error),
            placeholder=bool(_PLACEHOLDER.search(text)),
            metrics=_names(text),
        )
    reader = _Reader(parser())
    answer = reader.read(tree)
    names = dict.fromkeys(name for item in reader.selectors for name in _named(item))
    return Query(
        text,
        metrics=tuple(names),
        selectors=tuple(reader.selectors),
        uses=tuple(item.use for item in reader.selectors),
        answer=answer,
        quantiles=tuple(reader.quantiles),
        without_le=reader.without_le,
        bare=type(tree).__name__ == "VectorSelector",
    )


def _named(selector: Selector) -> tuple[str, ...]:
    if selector.use.metric:
        return (selector.use.metric,)
    open_name = selector.matcher("__name__")
    if open_name is None or open_name.op != "=~":
        return ()
    return tuple(name for name in open_name.value.split("|") if _NAME.fullmatch(name))


def _names(text: str) -> tuple[str, ...]:
    """Return the names of the metrics in a text that is not quite PromQL."""
    return tuple(dict.fromkeys(_NAME.findall(_NOT_NAMES.sub(" ", text))))


class _Reader(Struct):
    """Walks a parsed query, from the inside out."""

    parser: Any
    selectors: list[Selector] = field(default_factory=list)
    quantiles: list[float] = field(default_factory=list)
    without_le: bool = False

    def read(self, node: Any, function: str = "", *, in_quantile: bool = False) -> Answer:  # noqa: ANN401 - the parser has no types
        """Return what a part yields.

        Args:
            node: The part.
            function: The function over its range.
            in_quantile: Whether a quantile is made of it.
        """
        kind = type(node).__name__
        if kind == "VectorSelector":
            return self._selector(node, function, in_quantile=in_quantile)
        if kind == "MatrixSelector":
            return self._selector(node.vector_selector, function, in_quantile=in_quantile)
        if kind == "NumberLiteral":
            return Answer(number=node.val, never_empty=True)
        reads: Mapping[str, Callable[..., Answer]] = {
            "ParenExpr": self._inner,
            "SubqueryExpr": self._inner,
            "UnaryExpr": self._inner,
            "AggregateExpr": self._aggregate,
            "BinaryExpr": self._binary,
            "Call": self._call,
        }
        if kind not in reads:
            return Answer()
        return reads[kind](node, function, in_quantile=in_quantile)

    def _inner(self, node: Any, function: str, *, in_quantile: bool) -> Answer:  # noqa: ANN401
        value = self.read(node.expr, in_quantile=in_quantile)
        if type(node).__name__ == "UnaryExpr" and value.number is not None:
            return replace(value, number=-value.number)
        if function in RATES and value.number is None:
            return replace(value, per_second=True)
        return value

    def _selector(self, node: Any, function: str, *, in_quantile: bool) -> Answer:  # noqa: ANN401
        found = selector_of(node, function, in_quantile=in_quantile)
        self.selectors.append(found)
        metric = found.use.metric
        suffix = _SUFFIX.search(metric)
        return Answer(
            labels=frozenset({EVERY_LABEL}),
            extent="total" if _COUNTS_REPLICAS.search(metric) else "each",
            measures=metric[: suffix.start()] if suffix else metric,
            per_second=function in RATES,
            suffix=suffix[0] if suffix else "",
        )

    def _call(self, node: Any, _: str, *, in_quantile: bool) -> Answer:  # noqa: ANN401
        name, arguments = node.func.name, list(node.args)
        if name in _CONSTANTS:
            for argument in arguments:
                self.read(argument, name)
            number = getattr(arguments[0], "val", 0.0) if name == "vector" else 0.0
            return Answer(never_empty=not name.startswith("absent"), number=number)
        if name == "histogram_quantile":
            return self._quantile(arguments)
        over_time = name in _OVER_TIME or name.endswith("_over_time")
        found = [
            self.read(argument, name if over_time else "", in_quantile=in_quantile)
            for argument in arguments
        ]
        value = next((item for item in found if item.number is None), Answer())
        if name == "scalar":
            return replace(value, labels=frozenset(), never_empty=True)
        if name in _UNCHANGED or over_time:
            return value
        return Answer(labels=value.labels)

    def _quantile(self, arguments: list[Any]) -> Answer:
        asked = self.read(arguments[0])
        if asked.number is not None:
            self.quantiles.append(asked.number)
        buckets = self.read(arguments[1], in_quantile=True)
        if not buckets.labels & {EVERY_LABEL, SOME_LABELS, "le"}:
            self.without_le = True
        return replace(
            buckets,
            labels=buckets.labels - {"le"},
            extent="level",
            of_ratio=True,
            per_second=False,
            suffix="",
        )

    def _aggregate(self, node: Any, _: str, *, in_quantile: bool) -> Answer:  # noqa: ANN401
        first = len(self.selectors)
        op = str(node.op)
        limit = self.read(node.param).number if node.param is not None else None
        value = self.read(node.expr, in_quantile=in_quantile)
        if op in {"topk", "bottomk", "limitk"}:
            if limit != 1:
                return value
            extent: Extent = "level" if value.extent == "each" else value.extent
            return replace(value, labels=frozenset(), extent=extent)
        labels = frozenset(self._kept(node.modifier, value.labels, self.selectors[first:]))
        if op in {"count", "group", "count_values"}:
            return Answer(labels=labels, extent="total")
        if op == "sum":
            extent = "total" if value.extent in {"each", "level"} else value.extent
        elif op in _LEVELS:
            extent = "level" if value.extent == "each" else value.extent
        else:
            extent = ""
        return replace(value, labels=labels, extent=extent, never_empty=False)

    def _kept(
        self,
        modifier: Any,  # noqa: ANN401
        labels: frozenset[str],
        selectors: Sequence[Selector],
    ) -> set[str]:
        """Return the labels in which the series of an aggregation may differ."""
        if modifier is None:
            return set()
        named = set(modifier.labels)
        if modifier.type == self.parser.AggModifierType.Without:
            left = set(labels) - named
            if EVERY_LABEL not in left:
                return left
            # whatever tells replicas apart is left, unless it is named here
            return {SOME_LABELS} if named & REPLICA_LABELS else {EVERY_LABEL}
        return {
            label
            for label in named
            if not all(
                any(m.label == label and m.op == "=" for m in item.matchers) for item in selectors
            )
        }

    def _binary(self, node: Any, _: str, *, in_quantile: bool) -> Answer:  # noqa: ANN401
        left = self.read(node.lhs, in_quantile=in_quantile)
        right = self.read(node.rhs, in_quantile=in_quantile)
        op, modifier = str(node.op), node.modifier
        if op == "or":
            return replace(left, never_empty=left.never_empty or right.never_empty)
        if op in {"and", "unless"}:
            return left
        if op in _COMPARISONS:
            value = right if left.number is not None else left
            as_number = modifier is not None and modifier.return_bool
            return Answer(labels=value.labels, extent=value.extent) if as_number else value
        if left.number is not None or right.number is not None:
            return _scaled(left, op, right)
        card = str(modifier.card) if modifier is not None else ""
        if op == "*" and card.endswith(("ManyToOne", "OneToMany")):
            # a join with a metric that is always 1, for its labels
            return left if card.endswith("ManyToOne") else right
        return _combined(left, op, right)


def _scaled(left: Answer, op: str, right: Answer) -> Answer:
    """Return what a number and something else yield together."""
    if left.number is not None and right.number is not None:
        products = {"*": left.number * right.number, "+": left.number + right.number}
        if op == "/" and right.number:
            products["/"] = left.number / right.number
        return Answer(number=products.get(op, 0.0), never_empty=True)
    number = left.number if right.number is None else right.number
    value = right if right.number is None else left
    if number and op == "*":
        return replace(value, factor=value.factor * number)
    if number and op == "/" and value is left:
        return replace(value, factor=value.factor / number)
    return value if op in {"+", "-"} and value is left else Answer(value.labels)


def _combined(left: Answer, op: str, right: Answer) -> Answer:
    """Return what two vectors yield together."""
    # what is matched with a single series is a single series
    labels = left.labels if left.labels and right.labels else left.labels or right.labels
    never_empty = left.never_empty and right.never_empty
    if op in {"+", "-"}:
        same = left.extent if left.extent == right.extent else ""
        measures = left.measures if left.measures == right.measures else ""
        return replace(left, labels=labels, extent=same, measures=measures, never_empty=never_empty)
    pair = (left.extent, right.extent)
    if op == "*":
        extent: Extent = "total" if set(pair) == {"total", "level"} else ""
        return Answer(labels=labels, extent=extent)
    if op != "/":
        return Answer(labels=labels)
    divided: dict[tuple[Extent, Extent], Extent] = {
        ("total", "total"): "level",
        ("level", "level"): "level",
        ("each", "each"): "each",
        ("total", "level"): "total",
    }
    mean = left.suffix == "_sum" and right.suffix == "_count" and left.measures == right.measures
    of_replicas = not right.measures or bool(_COUNTS_REPLICAS.search(right.measures))
    keeps_unit = mean or of_replicas
    return Answer(
        labels=labels,
        extent=divided.get(pair, ""),
        of_ratio=True,
        measures=left.measures if keeps_unit else "",
        per_second=left.per_second and not mean,
        factor=left.factor / right.factor if keeps_unit else 1.0,
    )
