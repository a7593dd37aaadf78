// The panel of a node: what it shows, says, puts out, and what went wrong in it.

import { fill, h, pill, say } from "./dom.js";
import { openFailures, openResources, openValues } from "./values.js";
import { openLog } from "./log.js";
import { openPreviews } from "./previews.js";
import { PHASES, duration, many } from "./words.js";

/** @type {Record<string, [string, (session: import("./session.js").Session, node: string | null) => import("./session.js").Part]>} */
const TABS = {
  previews: ["Previews", openPreviews], log: ["Log", openLog], values: ["Values", openValues],
  errors: ["Errors", openFailures], resources: ["Resources", openResources],
};

/**
 * @param {import("./session.js").Session} session
 * @param {string} path
 * @param {string} wanted
 * @returns {import("./session.js").Part}
 */
export function openNode(session, path, wanted) {
  const state = h("span");
  const facts = h("p", { class: "sub" });
  const spent = h("div", { class: "phases" });
  const links = Object.fromEntries(Object.entries(TABS).map(([key, [words]]) => [key, h("a", { class: "tab", href: "#" , onclick: (/** @type {Event} */ event) => {
    event.preventDefault();
    session.select(path, key);
  } }, words, h("small"))]));
  const place = h("div", { class: "part" });
  const element = h("div", null,
    h("div", { class: "bar" }, h("h2", null, h("bdi", null, path)), state,
      h("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => session.select(null) }, "×")),
    facts, spent, h("nav", { "aria-label": "Of the node" }, Object.values(links)), place);
  const node = () => session.nodes.get(path);
  const first = () => {
    const now = node();
    if (Object.hasOwn(TABS, wanted)) return wanted;
    if (now?.ended.failed) return "errors";
    return now && !now.previews && now.lines ? "log" : "previews";
  };
  let name = "";
  /** @type {import("./session.js").Part | null} */
  let part = null;

  function open() {
    name = first();
    part = TABS[name][1](session, path);
    fill(place, part.element);
    for (const [key, link] of Object.entries(links)) {
      if (key === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  let word = "", times = "";
  function draw() {
    const now = node();
    if (!now) { say(facts, "It hasn't begun."); return; }
    if (now.state !== word) fill(state, pill((word = now.state)));
    const parts = [now.kind === "block" ? "" : now.kind, many(now.jobs, "job"),
      now.attempts > now.jobs && now.kind === "block" ? many(now.attempts - now.jobs, "further attempt") : "",
      Object.keys(now.open).length ? `${Math.round(now.progress)} %` : "",
      ...Object.keys(PHASES).filter((each) => now.ms[each]).map((each) => `${/** @type {any} */ (PHASES)[each]} ${duration(now.ms[each])}`)];
    say(facts, parts.filter(Boolean).join(" · "));
    const text = JSON.stringify(now.ms);
    if (text !== times) {
      times = text;
      fill(spent, Object.keys(PHASES).filter((each) => now.ms[each]).map((each) => {
        const made = h("i", { class: `p-${each}` });
        made.style.flexGrow = String(now.ms[each]);
        return made;
      }));
    }
    const counts = /** @type {Record<string, number>} */ ({ previews: now.previews, log: now.lines, values: now.values, errors: now.ended.failed ?? 0, resources: now.stalls });
    for (const [key, link] of Object.entries(links)) say(/** @type {Element} */ (link.lastElementChild), counts[key] ? counts[key].toLocaleString("en") : "");
  }

  draw();
  if (session.summary) open();
  return {
    element,
    update(changed) {
      draw();
      if (!part) open();
      else part.update(changed);
    },
    close() { part?.close(); },
  };
}
