// A chaos run. All times are seconds since the first fault began.
const LEFT = 64;
const RIGHT = 14;
const TOP = 50;
const LINE = DATA.timeline;
const MARKS = DATA.marks;
const NAMES = { F: "fault begins", E: "fault over", H: "pod hit", D: "pod deleted", T: "SIGTERM",
  P: "endpoint gone", X: "container ended", R: "pod ready" };

const seconds = (at) => `${at > 0 ? "+" : ""}${Number(at.toFixed(at % 1 ? 1 : 0)).toLocaleString("en")} s`;
const podColour = (place) => `hsl(${(210 + place * 137.5) % 360} 55% var(--pod-light))`;
const most = (series) => series.reduce((top, value) => Math.max(top, value ?? 0), 0);
const short = (value) => Number(value.toFixed(2)).toLocaleString("en");
const when = (failure) => failure.ended ?? failure.sent ?? failure.due;

// A whole scale: ticks at 1, 2 or 5 times a power of ten.
function ticks(from, to, number) {
  const raw = (to - from) / number;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}

// Places labels in rows, so that none lies over another; null where no row has room.
function placer(number, room) {
  const ends = Array(number).fill(-Infinity);
  return (x) => {
    const row = ends.findIndex((end) => x - end >= room);
    if (row < 0) return null;
    ends[row] = x;
    return row;
  };
}

// ── The run over time ───────────────────────────────────────────────────────────────────────────

class Chart {
  constructor() {
    const steps = LINE.in_flight.length;
    this.extent = [Math.min(LINE.begin, ...MARKS.map(([at]) => at)),
      Math.max(LINE.begin + steps * LINE.step_s, ...MARKS.map(([at]) => at + 1))];
    this.view = [...this.extent];
    this.chosen = null;
    this.svg = svg("svg", { role: "img", "aria-label": `The run over time: ${
      plural(most(LINE.in_flight), "stream")} in flight at most, ${
      plural(MARKS.length, "event")}, ${DATA.failed} The tables below say the same.` });
    this.readout = el("p", { class: "readout" }, "Point at the picture for the numbers; drag over it to zoom.");
    this.range = el("span", { class: "dim", role: "status" });
    const button = (said, act) => el("button", { type: "button", onclick: act }, said);
    this.bar = el("div", { class: "bar" },
      button("Zoom in", () => this.zoom(0.5)), button("Zoom out", () => this.zoom(2)),
      button("Earlier", () => this.move(-0.5)), button("Later", () => this.move(0.5)),
      button("All", () => this.look(...this.extent)), this.range);
    this.box = el("div", { class: "chart" }, this.svg);
    this.svg.addEventListener("pointerdown", (event) => this.press(event));
    this.svg.addEventListener("pointermove", (event) => this.hover(event));
    this.svg.addEventListener("pointerup", (event) => this.release(event));
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  look(from, to) {
    const [first, last] = this.extent;
    const width = Math.min(Math.max(to - from, LINE.step_s * 4), last - first);
    const begin = Math.min(Math.max(from, first), last - width);
    this.view = [begin, begin + width];
    this.draw();
  }

  zoom(factor, about = (this.view[0] + this.view[1]) / 2) {
    const half = ((this.view[1] - this.view[0]) * factor) / 2;
    this.look(about - half, about + half);
  }

  move(share) {
    const by = (this.view[1] - this.view[0]) * share;
    this.look(this.view[0] + by, this.view[1] + by);
  }

  choose(failure) {
    this.chosen = failure;
    const at = when(failure);
    if (at < this.view[0] || at > this.view[1]) this.move((at - (this.view[0] + this.view[1]) / 2) / (this.view[1] - this.view[0]));
    else this.draw();
  }

  x(at) {
    const [from, to] = this.view;
    return LEFT + ((at - from) / (to - from)) * (this.width - LEFT - RIGHT);
  }

  at(event) {
    const x = event.clientX - this.svg.getBoundingClientRect().left;
    const share = (x - LEFT) / (this.width - LEFT - RIGHT);
    return this.view[0] + Math.min(1, Math.max(0, share)) * (this.view[1] - this.view[0]);
  }

  stepOf(at) {
    return Math.min(LINE.in_flight.length - 1, Math.max(0, Math.floor((at - LINE.begin) / LINE.step_s)));
  }

  press(event) {
    if (event.button !== 0) return;
    this.from = event.clientX;
    this.svg.setPointerCapture(event.pointerId);
  }

  hover(event) {
    const at = this.at(event);
    const x = this.x(at);
    this.cursor.setAttribute("x1", x);
    this.cursor.setAttribute("x2", x);
    this.readout.textContent = this.saidAt(this.stepOf(at));
    if (this.from === undefined) return;
    const left = this.svg.getBoundingClientRect().left;
    const [a, b] = [this.from - left, event.clientX - left].sort((one, other) => one - other);
    this.drag.setAttribute("x", a);
    this.drag.setAttribute("width", b - a);
  }

  release(event) {
    if (this.from === undefined) return;
    const moved = Math.abs(event.clientX - this.from);
    const ends = [this.at({ clientX: this.from }), this.at(event)].sort((one, other) => one - other);
    this.from = undefined;
    if (moved > 5) this.look(...ends);
    else {
      this.draw();
      this.pick(this.x(ends[0]));
    }
  }

  // Opens the failed stream that is nearest to where was clicked.
  pick(x) {
    const near = DATA.failures.map((failure) => [Math.abs(this.x(when(failure)) - x), failure])
      .sort((one, other) => one[0] - other[0])[0];
    if (near && near[0] <= 6) openFailure(near[1]);
  }

  saidAt(step) {
    const from = LINE.begin + step * LINE.step_s;
    const pods = LINE.pods.filter(([, counts]) => counts[step]).map(([pod, counts]) => `${pod} ${short(counts[step])}`);
    const parts = [plural(LINE.in_flight[step], "stream") + " in flight",
      pods.length ? `by the engines' gauges: ${pods.join(", ")}` : "",
      LINE.lost[step] ? `${LINE.lost[step]} failed` : "",
      LINE.gaps_s[step] === null ? "" : `longest gap ${short(LINE.gaps_s[step])} s`,
      LINE.ready[step] === null ? "" : `${LINE.ready[step]} ready`,
      LINE.wanted[step] === null ? "" : `${LINE.wanted[step]} wanted`,
      LINE.waiting[step] === null ? "" : `${short(LINE.waiting[step])} waiting`];
    return `${seconds(from)}: ${parts.filter(Boolean).join("; ")}`;
  }

  draw() {
    this.width = Math.max(360, this.box.clientWidth);
    this.y = TOP;
    const [first, last] = [this.stepOf(this.view[0]), this.stepOf(this.view[1])];
    this.steps = Array.from({ length: last - first + 1 }, (_, place) => first + place);
    const panels = [
      this.panel(190, "streams in flight, by pod", Math.max(most(LINE.in_flight), this.stackTop()), (y) => this.flow(y)),
      this.panel(50, "streams that failed", most(LINE.lost), (y) => this.bars(LINE.lost, "lost", y)),
      this.panel(60, "longest gap between tokens, s", most(LINE.gaps_s), (y) => this.bars(LINE.gaps_s, "gap", y)),
      this.panel(60, "replicas: ready, wanted", Math.max(most(LINE.ready), most(LINE.wanted)),
        (y) => [this.line(LINE.wanted, "wanted", y), this.line(LINE.ready, "ready", y)]),
      this.panel(60, "requests waiting", most(LINE.waiting), (y) => this.line(LINE.waiting, "waiting", y)),
    ];
    const bottom = this.y - 14;
    this.cursor = svg("line", { class: "cursor", x1: -9, x2: -9, y1: TOP, y2: bottom });
    this.drag = svg("rect", { class: "drag", x: 0, y: TOP, width: 0, height: bottom - TOP });
    const clip = svg("clipPath", { id: "plot" }, svg("rect", { x: LEFT, y: 0, width: this.width - LEFT - RIGHT, height: bottom + 1 }));
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${bottom + 24}`);
    this.svg.replaceChildren(clip,
      ...DATA.faults.map((fault) => svg("rect", { class: "span", "clip-path": "url(#plot)", x: this.x(fault.begin), y: TOP,
        width: Math.max(0, this.x(fault.end ?? this.extent[1]) - this.x(fault.begin)), height: bottom - TOP })),
      ...ticks(...this.view, this.width / 110).flatMap((at) => [
        svg("line", { class: "grid", x1: this.x(at), x2: this.x(at), y1: TOP, y2: bottom }),
        svg("text", { class: "dim", x: this.x(at), y: bottom + 18, "text-anchor": "middle" }, seconds(at))]),
      ...panels, ...this.marks(bottom), ...this.failures(), this.cursor, this.drag);
    this.range.textContent = `${seconds(this.view[0])} to ${seconds(this.view[1])}`;
  }

  // A part of the picture with its own height and scale, below the one before.
  panel(height, title, top, draw) {
    const bottom = this.y + height;
    const scale = top || 1;
    const y = (value) => bottom - (value / scale) * (height - 18);
    const parts = svg("g", {},
      svg("line", { class: "axis", x1: LEFT, x2: this.width - RIGHT, y1: bottom, y2: bottom }),
      svg("text", { class: "dim", x: LEFT - 8, y: bottom, "text-anchor": "end" }, "0"),
      top ? svg("text", { class: "dim", x: LEFT - 8, y: y(top) + 9, "text-anchor": "end" }, short(top)) : null,
      svg("g", { "clip-path": "url(#plot)" }, draw(y)),
      svg("text", { x: LEFT + 6, y: this.y + 12 }, title));
    if (title === "streams that failed") this.failedAt = [this.y + 18, bottom];
    this.y = bottom + 14;
    return parts;
  }

  stackTop() {
    return LINE.in_flight.reduce((top, _, step) =>
      Math.max(top, LINE.pods.reduce((sum, [, counts]) => sum + (counts[step] ?? 0), 0)), 0);
  }

  edges(step) {
    return [this.x(LINE.begin + step * LINE.step_s), this.x(LINE.begin + (step + 1) * LINE.step_s)];
  }

  flow(y) {
    const base = new Map(this.steps.map((step) => [step, 0]));
    const areas = LINE.pods.map(([pod, counts], place) => {
      const [up, down] = [[], []];
      for (const step of this.steps) {
        const [low, high] = [base.get(step), base.get(step) + (counts[step] ?? 0)];
        base.set(step, high);
        const [a, b] = this.edges(step);
        up.push(`${a.toFixed(1)},${y(high).toFixed(1)} ${b.toFixed(1)},${y(high).toFixed(1)}`);
        down.unshift(`${b.toFixed(1)},${y(low).toFixed(1)} ${a.toFixed(1)},${y(low).toFixed(1)}`);
      }
      return svg("polygon", { points: [...up, ...down].join(" "), fill: podColour(place), "fill-opacity": 0.55 },
        svg("title", {}, pod));
    });
    return [...areas, this.line(LINE.in_flight, "total", y)];
  }

  // A line that goes in steps, with gaps where nothing is known.
  line(series, kind, y) {
    const parts = [[]];
    for (const step of this.steps) {
      if (series[step] === null) parts.push([]);
      else parts.at(-1).push(...this.edges(step).map((x) => `${x.toFixed(1)},${y(series[step]).toFixed(1)}`));
    }
    return parts.filter((points) => points.length).map((points) => svg("polyline", { class: kind, points: points.join(" ") }));
  }

  bars(series, kind, y) {
    return this.steps.filter((step) => series[step]).map((step) => {
      const [a, b] = this.edges(step);
      return svg("rect", { class: kind, x: a, width: Math.max(1.5, b - a - 0.5), y: y(series[step]), height: y(0) - y(series[step]), "fill-opacity": 0.6 });
    });
  }

  marks(bottom) {
    const row = placer(3, 13);
    return MARKS.filter(([at]) => at >= this.view[0] && at <= this.view[1]).map(([at, letter, what, of]) => {
      const x = this.x(at);
      const place = row(x);
      return svg("g", {}, svg("title", {}, `${seconds(at)} ${what}: ${of}`),
        svg("line", { class: `mark mark-${letter}`, x1: x, x2: x, y1: place === null ? TOP : 16 + place * 14, y2: bottom, "stroke-opacity": 0.55 }),
        place === null ? null : svg("text", { class: "mark", x: x + 2, y: 14 + place * 14 }, letter));
    });
  }

  failures() {
    const [top, bottom] = this.failedAt;
    return DATA.failures.filter((failure) => when(failure) >= this.view[0] && when(failure) <= this.view[1]).map((failure) =>
      svg("line", { class: `failed ${failure === this.chosen ? "chosen" : ""}`, x1: this.x(when(failure)),
        x2: this.x(when(failure)), y1: failure === this.chosen ? TOP : top, y2: bottom },
      svg("title", {}, `${failure.id}: ${failure.outcome}`)));
  }

  // What a colour or a letter stands for.
  legend() {
    const line = (kind) => svg("svg", { viewBox: "0 0 20 16", "aria-hidden": "true" }, svg("line", { class: kind, x1: 0, x2: 20, y1: 8, y2: 8 }));
    const letters = Object.keys(NAMES).filter((letter) => MARKS.some((mark) => mark[1] === letter));
    return [
      el("ul", { class: "legend", "aria-label": "lines and areas" },
        el("li", {}, line("total"), "all streams, by the client"),
        LINE.pods.map(([pod], place) => el("li", {}, svg("svg", { viewBox: "0 0 20 16", "aria-hidden": "true" },
          svg("rect", { width: 20, height: 16, fill: podColour(place), "fill-opacity": 0.55 })), pod)),
        LINE.pods.length ? el("li", { class: "dim" }, "areas: what each engine's gauge says it has in hand") : null,
        el("li", {}, line("ready"), "ready"), el("li", {}, line("wanted"), "wanted")),
      el("ul", { class: "legend", "aria-label": "marks" },
        letters.map((letter) => el("li", {}, el("b", {}, letter), ` ${NAMES[letter]}`))),
    ];
  }
}

function headers(names, numbers = []) {
  return names.map((name) => el("th", { scope: "col", class: numbers.includes(name) ? "number" : null }, name));
}

// A table in a <details>, made when it is opened.
function folded(title, heads, rows) {
  const details = el("details", { ontoggle: () => {
    if (!details.open || details.querySelector("table")) return;
    details.append(el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": title },
      el("table", {}, el("thead", {}, el("tr", {}, headers(heads))),
        el("tbody", {}, rows().map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell ?? ""))))))));
  } }, el("summary", {}, title));
  return details;
}

function numbers() {
  const value = (series, step) => (series[step] === null ? "" : short(series[step]));
  return folded("The numbers over time, as a table",
    ["from", "in flight", "failed", "longest gap, s", "ready", "wanted", "waiting", ...LINE.pods.map(([pod]) => pod)],
    () => LINE.in_flight.map((count, step) => [seconds(LINE.begin + step * LINE.step_s), count, LINE.lost[step],
      ...[LINE.gaps_s, LINE.ready, LINE.wanted, LINE.waiting, ...LINE.pods.map(([, counts]) => counts)].map(
        (series) => value(series, step))]));
}

// ── Failed streams ──────────────────────────────────────────────────────────────────────────────

const FAILURE_HEADS = ["stream", "outcome", "fault", "cause", "ended", "tokens", "can have been on"];
const distinct = (key) => [...new Set(DATA.failures.map((failure) => failure[key]))].sort().map((value) => [value, value]);
const [searchLabel, searched] = search("Search streams, pods, evidence", () => refresh());
const [outcomeLabel, outcome] = choice("Outcome", "any outcome",
  [["silent", "silently truncated"], ...distinct("outcome")], () => refresh());
const [causeLabel, cause] = choice("Cause", "any cause", distinct("cause"), () => refresh());
const [faultLabel, fault] = choice("Fault", "any fault", distinct("fault"), () => refresh());
const failureBody = el("tbody");
const failureRows = new Rows(failureBody, "failed stream", { row: failureRow, details: failureDetails, columns: () => FAILURE_HEADS.length });
const said = new Map(DATA.failures.map((failure) =>
  [failure, [failure.id, failure.detail, failure.evidence, ...failure.pods].join("\n").toLowerCase()]));
const chart = LINE ? new Chart() : null;

function refresh() {
  const sought = searched.value.trim().toLowerCase();
  failureRows.show(DATA.failures.filter((failure) => said.get(failure).includes(sought)
    && (outcome.value === "" || (outcome.value === "silent" ? failure.silently_truncated : outcome.value === failure.outcome))
    && (cause.value === "" || cause.value === failure.cause)
    && (fault.value === "" || fault.value === failure.fault)), DATA.failures.length);
}

function failureRow(failure, toggle) {
  const tokens = failure.expected_tokens === null ? failure.tokens ?? "" : `${failure.tokens ?? "?"} of ${failure.expected_tokens}`;
  return el("tr", {},
    el("th", { scope: "row" }, el("button", { class: "open", type: "button", "aria-expanded": "false",
      onclick: () => { toggle(null); if (chart) chart.choose(failure); } }, failure.id)),
    el("td", { class: "fail" }, failure.outcome, failure.silently_truncated ? el("b", {}, ", silently truncated") : null),
    el("td", {}, failure.fault), el("td", {}, failure.cause),
    el("td", { class: "number" }, failure.ended === null ? "unknown" : seconds(failure.ended)),
    el("td", { class: "number" }, tokens), el("td", { class: "long" }, failure.pods.join(", ")));
}

// Opens a failed stream wherever it is in the list.
function openFailure(failure) {
  for (const field of [searched, outcome, cause, fault]) field.value = "";
  refresh();
  const row = failureRows.toggle(failure, null, true);
  if (chart) chart.choose(failure);
  row.querySelector("button").focus();
}

function failureDetails(failure) {
  return [
    el("p", {}, failure.detail), el("p", {}, failure.evidence),
    failure.check ? el("p", { class: "dim" }, `foreseen by the check ${failure.check}`) : null,
    ownTimeline(failure),
    el("ol", {}, failure.timeline.map(([at, what, pod, detail]) =>
      el("li", {}, `${seconds(at)} ${[pod, what, detail].filter(Boolean).join(" ")}`))),
  ];
}

function ownTimeline(failure) {
  const steps = failure.timeline;
  if (!steps.length) return null;
  const [from, to] = [steps[0][0], Math.max(steps.at(-1)[0], steps[0][0] + 0.1)];
  const x = (at) => 14 + ((at - from) / (to - from)) * 850;
  const row = placer(4, 16);
  const bar = (kind, begin, end) => (begin === null || end === null ? null
    : svg("line", { class: kind, x1: x(begin), x2: Math.max(x(end), x(begin) + 1), y1: 66, y2: 66 }));
  return svg("svg", { viewBox: "0 0 900 102", role: "img", "aria-label": `Stream ${failure.id} over time; the list below says the same.` },
    bar("wait", failure.due, failure.ended ?? to), bar("stream", failure.first_token, failure.last_token),
    steps.map(([at, what, pod], place) => {
      const up = row(x(at));
      const kind = pod ? (what === "SIGTERM" ? "mark-T" : "mark-D") : "mark";
      return [svg("line", { class: `mark ${kind}`, x1: x(at), x2: x(at), y1: up === null ? 56 : 14 + up * 12, y2: 76 }),
        up === null ? null : svg("text", { class: "mark", x: x(at) + 2, y: 12 + up * 12 }, place + 1)];
    }),
    [from, to].map((at, place) => svg("text", { class: "dim", x: place ? 864 : 14, y: 96, "text-anchor": place ? "end" : "start" }, seconds(at))));
}

// ── The page ────────────────────────────────────────────────────────────────────────────────────

function faultSection(one, place) {
  const [streams, whole, dropped, notServed, excused, silent] = one.counts;
  return el("section", {},
    DATA.faults.length > 1 ? el("h2", {}, `${place + 1}. ${one.name} (${one.cost}): `, el("span", { class: `word ${one.verdict}` }, one.verdict)) : null,
    el("p", {}, `${plural(streams, "stream")}: ${short(whole)} whole, ${short(dropped)} dropped, ${short(notServed)} new requests failed`,
      excused ? `, ${short(excused)} of these as an abrupt fault may` : "",
      silent ? el("span", { class: "word fail" }, `; ${short(silent)} silently truncated`) : "",
      one.gap_s === null ? "" : `; longest gap between tokens ${short(one.gap_s)} s`),
    one.causes.map(([name, number]) => el("p", {}, el("b", {}, `cause: ${name} (${number})`))),
    one.evidence ? el("p", {}, one.evidence, one.check ? ` · foreseen by the check ${one.check}` : "") : null);
}

MAIN.replaceChildren(
  el("h1", {}, DATA.title, ": ", el("span", { class: `word ${DATA.verdict}` }, DATA.verdict)),
  el("p", { class: "dim" }, DATA.facts.join("; ")),
  ...DATA.reasons.map((reason) => el("p", {}, reason)),
  ...DATA.faults.map(faultSection),
  el("h2", {}, "The run over time"),
  ...(chart ? [chart.bar, chart.box, chart.readout, ...chart.legend(),
    folded(`${plural(MARKS.length, "fault and cluster event")}${LINE.ready_more ? `, and ${LINE.ready_more} more times a pod became ready` : ""}`,
      ["at", "what", "of"], () => MARKS.map(([at, , what, of]) => [seconds(at), what, of])), numbers()]
    : [el("p", {}, "No stream went through, so there is nothing to draw.")]),
  el("h2", {}, "Failed streams"),
  el("p", {}, DATA.failed),
  ...(DATA.failures.length ? [
    el("form", { role: "search", onsubmit: (event) => event.preventDefault() }, searchLabel, outcomeLabel, causeLabel, faultLabel,
      el("button", { type: "reset", class: "reset", onclick: () => setTimeout(refresh) }, "Clear")),
    failureRows.said,
    el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "failed streams" },
      el("table", {}, el("thead", {}, el("tr", {}, headers(FAILURE_HEADS, ["ended", "tokens"]))), failureBody)),
    el("p", {}, failureRows.more)] : []),
  el("h2", {}, "All streams by outcome"),
  el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "streams by outcome" }, el("table", {},
    el("thead", {}, el("tr", {}, headers(["streams", "outcome", "what users got", "what their client noticed"], ["streams"]))),
    el("tbody", {}, DATA.outcomes.map(([number, name, got, noticed]) => el("tr", {},
      el("td", { class: "number" }, number), el("th", { scope: "row" }, name), el("td", {}, got), el("td", {}, noticed)))))));
if (DATA.failures.length) refresh();
