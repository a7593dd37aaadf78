// Rows of the list of sessions: a session, a group of sessions, and what is left of a group.

import { fill, h, pill, say } from "./dom.js";
import { date, duration, many } from "./words.js";

/** @typedef {import("./sessions.js").Row} Row */

/** What all rows show: a state, a time and a progress. @param {any} first */
function makeCells(first) {
  const state = h("td");
  const took = h("td", { class: "n" });
  const bar = h("i");
  const progress = h("span", { class: "progress", role: "progressbar", "aria-label": "Progress" }, bar);
  const last = h("td", null, progress);
  let word = "";
  return {
    state, last,
    times: [h("td", null, date(first.began)), took],
    update: (/** @type {any} */ now) => {
      if (now.state !== word) fill(state, pill((word = now.state)));
      const until = now.ended ?? (now.state === "running" ? Date.now() : null);
      say(took, until === null ? "" : duration(until - now.began));
      const done = now.state === "succeeded" ? 100 : now.progress ?? 0;
      bar.style.width = `${done}%`;
      last.title = now.state === "running" ? `${Math.round(done)} %` : "";
      progress.setAttribute("aria-valuenow", String(Math.round(done)));
      progress.hidden = now.state !== "running";
    },
  };
}

/** @param {string | null | undefined} error */
const firstLine = (error) => error?.split("\n")[0] ?? "";

/** @param {any} session @param {string} [group] Under which it stands. @returns {Row} */
export function makeRow(session, group) {
  const cells = makeCells(session);
  const title = h("a", { href: `#/s/${encodeURIComponent(session.id)}`, class: "name" });
  const error = h("div", { class: "why" });
  const place = group === undefined ? null : h("small", { class: "index" }, `${session.index + 1}`);
  const row = h("tr", group === undefined ? null : { class: "member", "data-in": group }, cells.state,
    h("td", { class: "what" }, place, title, h("small", null, session.id), error), cells.times, cells.last);
  return {
    row,
    update: (now) => {
      cells.update(now);
      say(title, now.title || now.id);
      say(error, firstLine(now.error));
    },
  };
}

/** @param {any} group @param {() => void} toggle @param {() => void} cancel @returns {Row} */
export function makeGroup(group, toggle, cancel) {
  const cells = makeCells(group);
  const title = h("span");
  const fold = h("button", { type: "button", class: "fold", "aria-expanded": "false", onclick: toggle }, title);
  const counts = h("div", { class: "counts" });
  const error = h("div", { class: "why" });
  const stop = h("button", { type: "button", class: "danger", hidden: true, onclick: cancel }, "Cancel all");
  const row = h("tr", { class: "several", "data-group": group.id }, cells.state,
    h("td", { class: "what" }, fold, h("small", null, group.id), counts, error, stop), cells.times, cells.last);
  return {
    row,
    update: (now, open, mayCancel) => {
      cells.update(now);
      say(title, now.title || now.id);
      fold.setAttribute("aria-expanded", String(open));
      const words = Object.entries(now.states).map(([state, count]) => `${count.toLocaleString("en")} ${state}`);
      say(counts, `${many(now.count, "session")}: ${words.join(", ")}`);
      say(error, firstLine(now.error));
      stop.hidden = !(mayCancel && now.states.running);
    },
  };
}

/** What is left of a group. @param {string} group @param {(shown: number) => void} wanted @returns {Row} */
export function makeMore(group, wanted) {
  let shown = 0;
  const button = h("button", { type: "button", onclick: () => wanted(shown) });
  const row = h("tr", { class: "member", "data-in": group }, h("td"), h("td", { class: "what", colspan: 4 }, button));
  return {
    row,
    update: (found) => {
      shown = found.sessions.length;
      say(button, `Show more: ${many(found.count - shown, "session")} further`);
    },
  };
}
