// The slider over a session's journal: the session as it was after any row of it.

import { copied, h, later, say } from "./dom.js";

/**
 * @param {import("./session.js").Session} session
 * @param {(at: number | null) => void} go
 */
export function openTravel(session, go) {
  const slider = /** @type {HTMLInputElement} */ (h("input", {
    type: "range", min: 0, max: 0, step: 1, "aria-label": "Moment of the session, as a row of its journal",
    oninput: () => { told(); move(Number(slider.value)); },
  }));
  const words = h("span", { class: "moment" });
  const now = /** @type {HTMLButtonElement} */ (h("button", { type: "button", onclick: () => go(null) }, "Now"));
  const copy = h("button", { type: "button", title: "Copy a link to this moment", onclick: async () => {
    const [path, asked = ""] = location.hash.split("?");
    const query = new URLSearchParams(asked);
    query.set("at", slider.value);
    const link = new URL(location.href);
    link.hash = `${path}?${query}`;
    if (await copied(link.href)) say(words, "link copied");
    // The address is the link then.
    else location.hash = link.hash;
  } }, "Link");
  const element = h("div", { class: "travel", hidden: true }, slider, words, now, copy);
  let rows = 0;

  // A drag asks for the moments where it rests.
  const move = later(120, (/** @type {number} */ at) => go(at >= rows ? null : at));

  function told() {
    const at = Number(slider.value);
    say(words, at >= rows ? `row ${rows.toLocaleString("en")}, now` : `row ${at.toLocaleString("en")} of ${rows.toLocaleString("en")}`);
    now.hidden = at >= rows;
  }

  return {
    element,
    /** @param {number} last @param {boolean} over */
    update(last, over) {
      rows = Math.max(last, 0);
      element.hidden = rows < 2;
      slider.max = String(rows);
      if (session.at === null) slider.value = String(rows);
      if (document.activeElement !== slider || over) told();
    },
    /** @param {number | null} at */
    show(at) {
      if (at !== null && Number(slider.max) < at) slider.max = String(at);
      slider.value = String(at ?? rows);
      element.classList.toggle("past", at !== null);
      told();
    },
  };
}
