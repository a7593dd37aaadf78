// The list of sessions, the newest first. The first page moves as sessions do; further ones come as one scrolls.

import { ask } from "./api.js";
import { fill, h, later, pill, say } from "./dom.js";
import { show } from "./link.js";
import { date, duration } from "./words.js";

const STATES = ["", "running", "succeeded", "failed", "cancelled", "interrupted"];
const TIMES = { "any time": 0, "last hour": 3600e3, "last day": 86400e3, "last week": 7 * 86400e3 };
const PAGE = 100;

/** @param {import("./main.js").Place} place @returns {import("./main.js").View} */
export function openSessions(place) {
  const state = /** @type {HTMLSelectElement} */ (h("select", { "aria-label": "State", onchange: () => changed() },
    STATES.map((each) => h("option", { value: each }, each || "all states"))));
  const since = /** @type {HTMLSelectElement} */ (h("select", { "aria-label": "When", onchange: () => changed() },
    Object.keys(TIMES).map((each) => h("option", null, each))));
  const text = /** @type {HTMLInputElement} */ (h("input", {
    type: "search", placeholder: "Find by title, flow, id, error", "aria-label": "Find sessions",
    oninput: later(200, () => changed()),
  }));
  const rows = h("tbody");
  const table = h("table", { class: "data nodes sessions" },
    h("thead", null, h("tr", null, ["State", "Session", "Began", "Took", "Progress"].map((each) => h("th", { scope: "col", class: each === "Took" ? "n" : null }, each)))),
    rows);
  const empty = h("p", { class: "empty", hidden: true });
  const end = h("div", { class: "end", "aria-hidden": "true" });
  const status = h("p", { class: "note", role: "status" });
  const element = h("div", { class: "list" },
    h("div", { class: "tools" }, text, state, since),
    h("section", { "aria-label": "Sessions" }, h("div", { class: "scroll" }, table), empty, end), status);

  /** @type {Map<string, { row: HTMLElement, update: (session: any) => void }>} */
  const known = new Map();
  /** @type {[number, string] | null} */
  let last = null;
  let more = false, loading = false, closed = false, pages = 1;
  let since_ms = 0;

  const query = () => ({ state: state.value, text: text.value.trim(), since: since_ms || null });

  function read(/** @type {import("./main.js").Place} */ from) {
    state.value = from.query.get("state") ?? "";
    text.value = from.query.get("text") ?? "";
    since.value = from.query.get("since") ?? "any time";
    begin();
  }

  function changed() {
    const words = new URLSearchParams();
    if (state.value) words.set("state", state.value);
    if (text.value.trim()) words.set("text", text.value.trim());
    if (since.value !== "any time") words.set("since", since.value);
    history.replaceState(null, "", `#/${words.size ? `?${words}` : ""}`);
    begin();
  }

  function begin() {
    const back = /** @type {any} */ (TIMES)[since.value];
    since_ms = back ? Date.now() - back : 0;
    known.clear();
    rows.replaceChildren();
    last = null;
    pages = 1;
    more = false;
    say(status, "");
    show({ list: { ...query(), limit: PAGE } }, pushed);
  }

  function pushed(/** @type {any} */ message) {
    if (message.type === "error") {
      say(status, message.error);
      return;
    }
    if (message.type !== "list") return;
    say(status, "");
    for (const [index, session] of message.sessions.entries()) {
      put(session, rows.children[index] ?? null);
    }
    if (pages === 1) {
      // What has been deleted since, or has another state now.
      const there = new Set(message.sessions.map((/** @type {any} */ each) => each.id));
      for (const [id, each] of known) if (!there.has(id)) { each.row.remove(); known.delete(id); }
      more = message.more;
      last = message.last;
    }
    told();
    if (more) watcher.observe(end);
  }

  function told() {
    empty.hidden = known.size > 0;
    table.hidden = known.size === 0;
    const filtered = state.value || text.value || since_ms;
    fill(empty, filtered ? "No session fits these filters." : ["No session yet. Start one: ", h("code", null, "asyncblock submit stocks"), ", or ", h("code", null, "asyncblock run stocks"), "."]);
  }

  /** @param {any} session @param {Element | null} before */
  function put(session, before) {
    let there = known.get(session.id);
    if (!there) {
      there = makeRow(session);
      known.set(session.id, there);
      rows.insertBefore(there.row, before);
    } else if (before && there.row !== before) {
      rows.insertBefore(there.row, before);
    }
    there.update(session);
  }

  async function loadMore() {
    if (loading || !more || !last) return;
    loading = true;
    try {
      const answer = await ask("api/sessions", { ...query(), limit: PAGE, before: `${last[0]},${last[1]}` });
      if (closed) return;
      pages += 1;
      for (const each of answer.sessions) put(each, null);
      last = answer.last;
      more = answer.more;
      watcher.unobserve(end);
      if (more) watcher.observe(end);
    } catch (error) {
      say(status, /** @type {Error} */ (error).message);
    } finally {
      loading = false;
    }
  }

  const watcher = new IntersectionObserver((entries) => { if (entries.some((each) => each.isIntersecting)) loadMore(); },
    { rootMargin: "800px" });
  read(place);
  return {
    element,
    title: () => "Sessions",
    go: (to) => {
      if (to.session !== null) return false;
      read(to);
      return true;
    },
    close: () => { closed = true; watcher.disconnect(); },
  };
}

/** @param {any} session */
function makeRow(session) {
  const state = h("td");
  const title = h("a", { href: `#/s/${encodeURIComponent(session.id)}`, class: "name" });
  const id = h("small", null, session.id);
  const error = h("div", { class: "why" });
  const took = h("td", { class: "n" });
  const bar = h("i");
  const progress = h("td", null, h("span", { class: "progress" }, bar));
  const row = h("tr", null, state, h("td", { class: "what" }, title, id, error), h("td", null, date(session.began)), took, progress);
  let word = "";
  return {
    row,
    update: (/** @type {any} */ now) => {
      if (now.state !== word) fill(state, pill((word = now.state)));
      say(title, now.title || now.id);
      say(error, now.error?.split("\n")[0] ?? "");
      const until = now.ended ?? (now.state === "running" ? Date.now() : null);
      say(took, until === null ? "" : duration(until - now.began));
      const done = now.state === "succeeded" ? 100 : now.progress ?? 0;
      bar.style.width = `${done}%`;
      progress.title = now.state === "running" ? `${Math.round(done)} %` : "";
      /** @type {HTMLElement} */ (progress.firstChild).hidden = now.state !== "running";
    },
  };
}
