// Attempts as bars, in lanes of executors and their slots; drawn by the server as a report draws it.

import { ask, of } from "./api.js";
import { fill, h, markup } from "./dom.js";
import { paced } from "./pace.js";
import { duration } from "./words.js";

/** @param {import("./session.js").Session} session @returns {import("./session.js").Part} */
export function openTimeline(session) {
  const chart = h("div", null, h("p", { class: "empty" }, "Loading…"));
  const path = h("p", { class: "path" });
  const element = h("section", { "aria-label": "Timeline" }, path, chart);
  let closed = false;
  const loading = paced(1500, async () => {
    const at = session.at;
    try {
      const answer = await ask(of(session.id, "/timeline"), { at });
      if (closed || at !== session.at) return;
      const scroll = chart.querySelector(".scroll"), left = scroll?.scrollLeft ?? 0;
      markup(chart, answer.html);
      const fresh = chart.querySelector(".scroll");
      if (fresh) fresh.scrollLeft = left;
      fill(path, answer.critical.length > 1 ? ["Critical path: ", answer.critical.map((/** @type {any} */ each, /** @type {number} */ index) =>
        [index ? " → " : "", h("a", { href: session.address("timeline", each.node) }, h("bdi", null, each.node)), h("small", null, ` ${duration(each.ms)}`)])] : null);
    } catch (error) {
      if (!closed) fill(chart, h("p", { class: "empty" }, /** @type {Error} */ (error).message));
    }
  });
  loading.run();
  return { element, update: () => { loading.run(); }, close: () => { closed = true; loading.close(); } };
}
