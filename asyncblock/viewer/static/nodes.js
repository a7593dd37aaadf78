// The nodes as a table. Beyond what a table can hold at once the rest comes by a button: nothing needs the graph.

import { fill, h, oncePerFrame, pill, say } from "./dom.js";
import { PHASES, duration } from "./words.js";

const MOST = 500;

/** @param {import("./session.js").Session} session @returns {import("./session.js").Part} */
export function openNodes(session) {
  const rows = h("tbody");
  const find = /** @type {HTMLInputElement} */ (h("input", { type: "search", placeholder: "Find nodes", "aria-label": "Find nodes", oninput: () => all() }));
  const more = h("button", { type: "button", hidden: true, onclick: () => { most += MOST; all(); } });
  const empty = h("p", { class: "empty" });
  const heads = ["Node", "State", "Jobs", "Values", "Lines", "Previews", "Where the time went"];
  const element = h("section", { "aria-label": "Nodes" }, h("div", { class: "tools" }, find),
    h("div", { class: "scroll" }, h("table", { class: "data nodes" },
      h("thead", null, h("tr", null, heads.map((each, index) => h("th", { scope: "col", class: index > 1 && index < 6 ? "n" : null }, each)))), rows)),
    empty, more, h("div", { class: "legend" }, Object.entries(PHASES).slice(1).map(([phase, words]) => h("span", null, h("i", { class: `dot p-${phase}` }), words))));
  let most = MOST;
  /** @type {Map<string, (node: any) => void>} */
  const known = new Map();
  /** @type {Set<string>} */
  let waiting = new Set();

  function all() {
    const words = find.value.toLowerCase();
    const fitting = [...session.nodes.values()].filter((each) => !words || each.path.toLowerCase().includes(words));
    known.clear();
    fill(rows, fitting.slice(0, most).map((node) => {
      const made = makeRow(session, node);
      known.set(node.path, made.update);
      return made.row;
    }));
    more.hidden = fitting.length <= most;
    say(more, `Show ${Math.min(fitting.length - most, MOST)} more of ${fitting.length.toLocaleString("en")}`);
    say(empty, fitting.length ? "" : session.nodes.size ? "No node has this in its name." : "No node is known yet.");
  }

  const some = oncePerFrame(() => {
    for (const path of waiting) {
      const node = session.nodes.get(path);
      const update = known.get(path);
      if (update) update(node);
      else if (node && session.nodes.size <= most) { all(); break; }
    }
    waiting = new Set();
  });

  all();
  return {
    element,
    update(changed) {
      if (changed === null) all();
      else { for (const each of changed) waiting.add(each); some(); }
    },
    close() {},
  };
}

/** @param {import("./session.js").Session} session @param {any} first */
function makeRow(session, first) {
  const name = h("a", { class: "name" }, h("bdi", null, first.path));
  const state = h("td");
  const numbers = ["jobs", "values", "lines", "previews"].map(() => h("td", { class: "n" }));
  const bar = h("span", { class: "phases" });
  const row = h("tr", null, h("td", null, name, first.kind === "block" ? null : h("small", null, first.kind)), state, numbers, h("td", null, bar));
  let word = "", spent = "";
  const update = (/** @type {any} */ node) => {
    name.setAttribute("href", session.address("nodes", node.path));
    const percent = Object.keys(node.open).length ? ` ${Math.round(node.progress)} %` : "";
    if (word !== node.state + percent) { word = node.state + percent; fill(state, pill(node.state), percent && h("small", null, percent)); }
    const done = Object.values(node.ended).reduce((a, b) => a + b, 0);
    const jobs = Object.keys(node.open).length ? `${done.toLocaleString("en")}/${node.jobs.toLocaleString("en")}` : node.jobs.toLocaleString("en");
    const again = node.kind === "block" && node.attempts > node.jobs ? ` +${node.attempts - node.jobs}` : "";
    [node.jobs ? jobs + again : "–", node.values, node.lines, node.previews].forEach((each, index) =>
      say(numbers[index], typeof each === "number" ? each ? each.toLocaleString("en") : "–" : each));
    const now = JSON.stringify(node.ms);
    if (now !== spent) {
      spent = now;
      fill(bar, Object.keys(PHASES).filter((phase) => node.ms[phase]).map((phase) => {
        const made = h("i", { class: `p-${phase}`, title: `${/** @type {any} */ (PHASES)[phase]}: ${duration(node.ms[phase])}` });
        made.style.flexGrow = String(node.ms[phase]);
        return made;
      }));
    }
  };
  update(first);
  return { row, update };
}
