"use strict";
// What both pages share. Data is shown as text only: nothing here parses markup.
const DATA = JSON.parse(document.getElementById("data").textContent);
const MAIN = document.getElementById("main");
const ROWS_AT_ONCE = 100;

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined).map(
    (child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return node;
}

function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function plural(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

let fields = 0;

// A control with its label.
function field(label, control) {
  control.id = `field-${fields++}`;
  return [el("div", { class: "field" }, el("label", { for: control.id }, label), control), control];
}

// A select with "any" and what there is.
function choice(label, any, options, change) {
  const select = el("select", { onchange: change }, el("option", { value: "" }, any),
    options.map(([value, said]) => el("option", { value }, said)));
  return field(label, select);
}

// A search field; it acts when typing pauses.
function search(label, change) {
  let timer = 0;
  const input = el("input", { type: "search", autocomplete: "off", spellcheck: "false",
    oninput: () => { clearTimeout(timer); timer = setTimeout(change, 120); } });
  return field(label, input);
}

// Rows of a table, so many at a time, each of which may open a row of details below it.
class Rows {
  // row(item, toggle): the item's row; details(item): what is below it; columns(): how many.
  constructor(body, word, { row, details, columns }) {
    Object.assign(this, { body, word, row, details, columns, items: [], shown: 0 });
    this.rows = new Map();
    this.said = el("p", { class: "dim", role: "status" });
    this.more = el("button", { class: "more", type: "button", onclick: () => this.add() });
  }

  show(items, of) {
    Object.assign(this, { items, of, shown: 0 });
    this.rows.clear();
    this.body.replaceChildren();
    this.add();
  }

  add(count = ROWS_AT_ONCE) {
    const next = this.items.slice(this.shown, this.shown + count);
    this.body.append(...next.map((item) => {
      const row = this.row(item, (what) => this.toggle(item, what));
      this.rows.set(item, row);
      return row;
    }));
    this.shown += next.length;
    const left = this.items.length - this.shown;
    this.said.textContent = `${plural(this.items.length, this.word)} of ${
      this.of.toLocaleString("en")}${left ? `, the first ${this.shown.toLocaleString("en")} shown` : ""}`;
    this.more.hidden = left === 0;
    this.more.textContent = `Show ${Math.min(left, ROWS_AT_ONCE)} more`;
  }

  // Opens or closes an item's details; `what` chooses a part of them, which stays open.
  toggle(item, what = null, open = null) {
    if (!this.rows.has(item)) {
      const place = this.items.indexOf(item);
      if (place < 0) return null;
      this.add(place + 1 - this.shown);
    }
    const row = this.rows.get(item);
    const below = row.nextElementSibling;
    const isOpen = below !== null && below.classList.contains("details");
    const same = isOpen && row.dataset.what === String(what);
    if (isOpen) below.remove();
    const opens = open ?? !same;
    if (opens) {
      row.dataset.what = String(what);
      row.after(el("tr", { class: "details" },
        el("td", { colspan: this.columns() }, this.details(item, what))));
    }
    for (const button of row.querySelectorAll("button[aria-expanded]")) {
      button.setAttribute("aria-expanded", String(opens && (button.dataset.what ?? "null") === String(what)));
    }
    return row;
  }
}
