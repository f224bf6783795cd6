// An audit: workloads by checks. Cells hold places in DATA.words: error, warning, inconclusive,
// waived, pass, not run.
const WORDS = DATA.words;
const PASS = WORDS.indexOf("pass");
const SIGNS = ["✗", "!", "?", "~", "✓", ""];
const [CHECK, WORD, SEVERITY, PLACE, PATH, MESSAGE, LAST] = [0, 1, 2, 3, 4, 5, 6];

const subjects = DATA.subjects.map((subject, place) => {
  const own = [subject.kind, subject.namespace, subject.name].filter(Boolean).join("/");
  const ref = subject.cluster ? `${subject.cluster}: ${own}` : own;
  const passed = [...subject.cells].filter((cell) => Number(cell) === PASS).length;
  const run = [...subject.cells].filter((cell) => Number(cell) <= PASS).length;
  const said = [ref, subject.file].join("\n").toLowerCase();
  return { ...subject, ref, passed, run, said, place };
});
const texts = DATA.texts.map((text) => text.toLowerCase());
const slugs = DATA.checks.map(([slug, id]) => `${slug}\n${id}`.toLowerCase());

const [searchLabel, searched] = search("Search names, files, messages", () => refresh());
const [severityLabel, severity] = choice("Severity", "any severity",
  [["error", "error"], ["warning", "warning"]], () => refresh());
const [verdictLabel, verdict] = choice("Verdict", "any verdict",
  ["fail", "inconclusive", "waived", "pass"].map((word) => [word, word]), () => refresh());
const [checkLabel, check] = choice("Check", "all checks",
  DATA.checks.map(([slug, id], place) => [place, `${id} ${slug}`]), () => refresh());
const namespaces = [...new Set(subjects.map((subject) => subject.namespace))].sort();
const [namespaceLabel, namespace] = choice("Namespace", "all namespaces",
  namespaces.map((name, place) => [place, name || "(none named)"]), () => refresh());
const reset = el("button", { type: "reset", class: "reset", onclick: () => setTimeout(refresh) }, "Clear");

const head = el("tr");
const body = el("tbody");
const table = el("table", { class: "matrix" }, el("caption", { class: "hidden" },
  "Workloads by checks. A button in a cell opens its findings; arrow keys go from one to the next."),
  el("thead", {}, head), body);
let columns = [];
const rows = new Rows(body, "workload", { row: rowOf, details: detailsOf, columns: () => columns.length + 1 });

function verdictOf(word) {
  return word < 2 ? "fail" : WORDS[word];
}

// What a cell or a finding is must be what is asked for, all at once.
function wants(place, word, level) {
  return (check.value === "" || Number(check.value) === place)
    && (verdict.value === "" || verdict.value === verdictOf(word))
    && (severity.value === "" || severity.value === level);
}

function matches(finding, sought) {
  return [PLACE, PATH, MESSAGE, LAST].some((part) => texts[finding[part]].includes(sought))
    || slugs[finding[CHECK]].includes(sought);
}

function findingsOf(subject, sought) {
  const named = subject.said.includes(sought);
  return subject.findings.filter((finding) =>
    wants(finding[CHECK], finding[WORD], finding[SEVERITY]) && (named || matches(finding, sought)));
}

function isShown(subject, sought) {
  if (namespace.value !== "" && namespaces[Number(namespace.value)] !== subject.namespace) return false;
  if (findingsOf(subject, sought).length) return true;
  if (!subject.said.includes(sought) || severity.value !== "") return false;
  return [...subject.cells].some((cell, place) =>
    SIGNS[cell] !== "" && wants(place, Number(cell), DATA.checks[place][3]));
}

function refresh() {
  columns = DATA.checks.map((_, place) => place).filter(
    (place) => check.value === "" || Number(check.value) === place);
  head.replaceChildren(el("th", { scope: "col" }, "workload"), ...columns.map((place) => {
    const [slug, id, title] = DATA.checks[place];
    return el("th", { scope: "col", class: "check", title: `${id} ${title}` }, el("span", {}, slug));
  }));
  const sought = searched.value.trim().toLowerCase();
  rows.show(subjects.filter((subject) => isShown(subject, sought)), subjects.length);
}

function rowOf(subject, toggle) {
  return el("tr", {},
    el("th", { scope: "row" },
      el("button", { class: "open", type: "button", "aria-expanded": "false", onclick: () => toggle(null) },
        subject.ref),
      el("div", { class: "dim" }, `${subject.passed} of ${subject.run} checks pass`)),
    columns.map((place) => cellOf(subject, place, toggle)));
}

function cellOf(subject, place, toggle) {
  const word = Number(subject.cells[place]);
  const [sign, said] = [SIGNS[word], WORDS[word]];
  if (word >= PASS && !subject.findings.some((finding) => finding[CHECK] === place)) {
    return el("td", { class: `cell ${word === PASS ? "pass" : ""}` },
      sign && el("span", { "aria-hidden": "true" }, sign), el("span", { class: "hidden" }, said));
  }
  return el("td", { class: `cell ${said}` },
    el("button", { type: "button", tabindex: "-1", "aria-expanded": "false", "data-what": place,
      "aria-label": `${said}: ${DATA.checks[place][0]}`, onclick: () => toggle(place) }, sign));
}

function detailsOf(subject, place) {
  const sought = searched.value.trim().toLowerCase();
  const found = place === null ? findingsOf(subject, sought)
    : subject.findings.filter((finding) => finding[CHECK] === place);
  const passed = place === null && verdict.value === "" && severity.value === ""
    ? columns.filter((column) => Number(subject.cells[column]) === PASS) : [];
  const slugsOf = (places) => places.map((column) => DATA.checks[column][0]).join(", ");
  return [
    ...found.map(findingOf),
    found.length || place === null ? null
      : el("p", {}, `${DATA.checks[place][0]}: ${WORDS[subject.cells[place]]}, with no finding of its own`),
    passed.length ? el("article", { class: "dim" }, el("p", {}, `passed: ${slugsOf(passed)}`)) : null,
    subject.file && !found.length ? el("p", { class: "place" }, subject.file) : null,
  ];
}

function findingOf(finding) {
  const [slug, id, title] = DATA.checks[finding[CHECK]];
  const word = finding[WORD] === PASS ? "assumed" : WORDS[finding[WORD]];
  const text = (part) => DATA.texts[finding[part]];
  return el("article", {},
    el("p", {}, el("span", { class: `word ${word}` }, word), " ", el("b", {}, slug), ` ${id} `,
      el("span", { class: "dim" }, title)),
    el("p", { class: "place" }, text(PLACE)),
    text(PATH) ? el("p", {}, el("code", {}, text(PATH))) : null,
    el("p", {}, text(MESSAGE)),
    text(LAST) ? el("p", {}, text(LAST)) : null);
}

// Arrow keys go from cell to cell that has a button; Tab goes from row to row.
table.addEventListener("keydown", (event) => {
  const button = event.target.closest("button");
  if (!button || !event.key.startsWith("Arrow")) return;
  const row = button.closest("tr");
  let next = null;
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    const all = [...row.querySelectorAll("button")];
    next = all[all.indexOf(button) + (event.key === "ArrowRight" ? 1 : -1)];
  } else {
    const step = event.key === "ArrowDown" ? "nextElementSibling" : "previousElementSibling";
    for (let other = row[step]; other && !next; other = other[step]) {
      next = other.querySelector(button.dataset.what === undefined ? "th button"
        : `button[data-what="${button.dataset.what}"]`);
    }
  }
  if (next) { event.preventDefault(); next.focus(); }
});

MAIN.replaceChildren(
  el("h1", {}, "drainproof audit: ", DATA.tally.length ? DATA.tally.map(([said, word], place) =>
    [place ? ", " : "", el("span", { class: word }, said)]) : el("span", { class: "pass" }, "no findings")),
  el("p", { class: "dim" }, DATA.looked_at),
  ...DATA.problems.map(([said, hint]) => el("p", {}, el("span", { class: "word error" }, "not judged "),
    said, " ", el("span", { class: "dim" }, hint))),
  el("form", { role: "search", onsubmit: (event) => event.preventDefault() },
    searchLabel, severityLabel, verdictLabel, checkLabel, namespaceLabel, reset),
  el("ul", { class: "legend", "aria-label": "signs" }, WORDS.slice(0, PASS + 1).map((word, place) =>
    el("li", { class: word }, `${SIGNS[place]} ${word}`))),
  rows.said,
  el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "workloads by checks" }, table),
  el("p", {}, rows.more));
refresh();
