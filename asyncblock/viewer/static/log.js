// A log of any length as one list that asks for the lines in view. A million lines are a scroll bar and a few rows.

import { ask, of } from "./api.js";
import { copied, fill, h, later, oncePerFrame, say } from "./dom.js";
import { concerns, paced } from "./pace.js";
import { clock, many } from "./words.js";

const HEIGHT = 20;
const PAGE = 200;
const KEPT = 40;
/** Browsers end at some 33 million pixels; a longer list scrolls in larger steps. */
const TALLEST = 16_000_000;
const COPIED = 20_000;

/** @param {import("./session.js").Session} session @param {string | null} node @returns {import("./session.js").Part} */
export function openLog(session, node) {
  const find = /** @type {HTMLInputElement} */ (h("input", { type: "search", placeholder: "Find in the log", "aria-label": "Find in the log", oninput: later(250, () => search()) }));
  const count_ = h("span", { role: "status" });
  const copy = h("button", { type: "button", onclick: () => copyAll() }, "Copy");
  const spacer = h("div", { class: "spacer" });
  const rows = h("div", { class: "rows" });
  const list = h("div", { class: "lines", tabindex: 0, role: "log", "aria-label": "Log", "aria-live": "off" }, spacer, rows);
  const found = h("ol", { class: "log found", hidden: true });
  const whole = h("pre", { class: "whole-line", hidden: true });
  const element = h("section", { class: "logs", "aria-label": "Log" }, h("div", { class: "tools" }, find, count_, copy), found, list, whole);

  let count = 0, follows = true, closed = false;
  /** @type {number | null | undefined} */
  let at;
  /** @type {Map<number, any[]>} */
  const pages = new Map();
  /** @type {Set<number>} */
  const asked = new Set();

  const tall = () => Math.min(count * HEIGHT, TALLEST);
  const firstInView = () => {
    const room = Math.max(tall() - list.clientHeight, 1);
    const lines = Math.max(count - Math.floor(list.clientHeight / HEIGHT), 0);
    return Math.round(Math.min(list.scrollTop / room, 1) * lines);
  };

  async function load(/** @type {number} */ page) {
    if (asked.has(page)) return;
    asked.add(page);
    const then = session.at;
    try {
      const answer = await ask(of(session.id, "/log"), { node, from: page * PAGE, count: PAGE, at: then });
      if (closed || then !== session.at) return;
      pages.delete(page);
      pages.set(page, answer.lines);
      while (pages.size > KEPT) pages.delete(/** @type {number} */ (pages.keys().next().value));
      setCount(answer.count);
      paint();
    } catch (error) {
      say(count_, /** @type {Error} */ (error).message);
    } finally {
      asked.delete(page);
    }
  }

  function setCount(/** @type {number} */ now) {
    if (now === count && spacer.style.height) return;
    count = now;
    spacer.style.height = `${tall()}px`;
    say(count_, count ? many(count, "line") : session.moves() ? "Nothing was said yet." : "Nothing was said.");
    if (follows) list.scrollTop = list.scrollHeight;
  }

  const paint = oncePerFrame(() => {
    if (closed) return;
    const first = firstInView();
    const last = Math.min(first + Math.ceil(list.clientHeight / HEIGHT) + 1, count);
    const made = [];
    for (let index = first; index < last; index++) {
      const page = Math.floor(index / PAGE);
      const line = pages.get(page)?.[index % PAGE];
      if (!line) load(page);
      made.push(line ? drawn(line) : h("div", { class: "line" }, h("time"), h("span", null, "…")));
    }
    rows.style.transform = `translateY(${list.scrollTop}px)`;
    rows.replaceChildren(...made);
  });

  function drawn(/** @type {any} */ line) {
    const kind = ["stdout", "stderr", "warning", "error", "notice", "json", "message"].includes(line.kind) ? line.kind : "logger";
    return h("div", { class: `line l-${kind}`, title: line.cut ? "A long line: click to see more of it" : null, onclick: () => open(line) },
      h("time", null, clock(line.t - (session.summary?.began ?? line.t))),
      node === null && line.node ? h("span", { class: "of" }, line.node) : null,
      ["stdout", "stderr"].includes(line.kind) ? null : h("em", null, line.kind),
      h("span", null, line.text.replaceAll("\n", " ⏎ ")), line.cut ? h("small", null, ` … ${many(line.cut, "character")} more`) : null);
  }

  async function open(/** @type {any} */ line) {
    if (String(getSelection())) return;
    whole.hidden = false;
    say(whole, line.text);
    if (!line.cut) return;
    const answer = await ask(of(session.id, "/log"), { node, from: line.n, count: 1, full: 1, at: session.at });
    if (answer.lines[0]) say(whole, answer.lines[0].text);
  }

  let searching = 0;
  async function search() {
    const words = find.value.trim(), mine = ++searching;
    found.hidden = !words;
    if (!words) { setCountAgain(); return; }
    /** @type {any[]} */
    const lines = [];
    let from = /** @type {number | null} */ (0);
    while (from !== null && mine === searching && !closed && lines.length < 1000) {
      say(count_, `searching… ${many(lines.length, "line")} found`);
      let answer;
      try {
        answer = await ask(of(session.id, "/search"), { node, text: words, from, at: session.at });
      } catch (error) {
        say(count_, /** @type {Error} */ (error).message);
        return;
      }
      if (mine !== searching) return;
      lines.push(...answer.found);
      from = answer.next;
      fill(found, lines.map((line) => h("li", { class: `l-${line.kind}` },
        h("button", { type: "button", class: "go", onclick: () => jump(line.n) }, `line ${(line.n + 1).toLocaleString("en")}`), h("span", null, line.text))));
    }
    say(count_, `${many(lines.length, "line")} found${from === null ? "" : ", and more"}`);
  }

  function setCountAgain() { say(count_, many(count, "line")); fill(found); }

  function jump(/** @type {number} */ line) {
    follows = false;
    const lines = Math.max(count - Math.floor(list.clientHeight / HEIGHT), 1);
    list.scrollTop = Math.min(line / lines, 1) * Math.max(tall() - list.clientHeight, 0);
    paint();
  }

  async function copyAll() {
    /** @type {string[]} */
    const texts = [];
    const begin = Math.max(count - COPIED, 0);
    while (begin + texts.length < count) {
      const answer = await ask(of(session.id, "/log"), { node, from: begin + texts.length, count: 400, full: 1, at: session.at });
      if (!answer.lines.length) break;
      texts.push(...answer.lines.map((/** @type {any} */ each) => each.text));
    }
    const done = await copied(texts.join("\n"));
    say(count_, done ? `${begin ? "the last " : ""}${many(texts.length, "line")} copied` : "this browser doesn't let a page copy");
  }

  list.addEventListener("scroll", () => {
    follows = list.scrollTop + list.clientHeight >= list.scrollHeight - 2 * HEIGHT;
    paint();
  });
  const size = new ResizeObserver(() => paint());
  size.observe(list);

  const refresh = paced(150, async () => {
    if (closed) return;
    if (at !== session.at) { at = session.at; pages.clear(); asked.clear(); count = 0; }
    // The last page may have been filled since; which one that is the answer says.
    const last = Math.max(Math.floor((known() - 1) / PAGE), 0);
    asked.delete(last);
    await load(last);
  });
  const known = () => Math.max((node === null ? session.summary?.lines : session.nodes.get(node)?.lines) ?? 0, count);
  let told = -1;
  refresh.run();
  return {
    element,
    update(changed) {
      const now = known();
      if (at === session.at && (now === told && changed !== null || !concerns(changed, node))) return;
      told = now;
      if (now > count) pages.delete(Math.floor(count / PAGE));
      refresh.run();
    },
    close() { closed = true; refresh.close(); size.disconnect(); },
  };
}
