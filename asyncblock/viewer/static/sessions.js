// The list of sessions, the newest first. The first page moves as sessions do; further ones come as one scrolls.

import { startFlow } from "./again.js";
import { ask } from "./api.js";
import { fill, h, later, say } from "./dom.js";
import { show } from "./link.js";
import { makeGroup, makeMore, makeRow } from "./rows.js";

const STATES = ["", "running", "succeeded", "failed", "cancelled", "interrupted"];
const TIMES = { "any time": 0, "last hour": 3600e3, "last day": 86400e3, "last week": 7 * 86400e3 };
const PAGE = 100;
const MEMBERS = 50;

/** @typedef {{ row: HTMLElement, update: (now: any, ...more: any[]) => void }} Row */

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
  const start = h("button", { type: "button", class: "start", hidden: true, onclick: () => startFlow() }, "Start a flow …");
  const rows = h("tbody");
  const table = h("table", { class: "data nodes sessions" },
    h("thead", null, h("tr", null, ["State", "Session", "Began", "Took", "Progress"].map((each) => h("th", { scope: "col", class: each === "Took" ? "n" : null }, each)))),
    rows);
  const empty = h("p", { class: "empty", hidden: true });
  const end = h("div", { class: "end", "aria-hidden": "true" });
  const status = h("p", { class: "note", role: "status" });
  const element = h("div", { class: "list" },
    h("div", { class: "tools" }, text, state, since, start),
    h("section", { "aria-label": "Sessions" }, h("div", { class: "scroll" }, table), empty, end), status);

  /** Rows by what they show: sessions and groups by their ids. @type {Map<string, Row>} */
  const known = new Map();
  /** Groups that are unfolded, and how many of their sessions are shown. @type {Map<string, number>} */
  const unfolded = new Map();
  /** @type {[number, string] | null} */
  let last = null;
  let more = false, loading = false, closed = false, pages = 1;
  let since_ms = 0;

  const query = () => ({ state: state.value, text: text.value.trim(), since: since_ms || null });
  const look = () => show({ list: { ...query(), limit: PAGE, unfolded: Object.fromEntries(unfolded) } }, pushed);

  function read(/** @type {import("./main.js").Place} */ from) {
    state.value = from.query.get("state") ?? "";
    text.value = from.query.get("text") ?? "";
    since.value = from.query.get("since") ?? "any time";
    unfolded.clear();
    for (const each of from.query.get("open")?.split(" ").filter(Boolean) ?? []) unfolded.set(each, MEMBERS);
    begin();
  }

  function changed() {
    note();
    begin();
  }

  /** Note in the address what is shown: who comes back finds it. */
  function note() {
    const words = new URLSearchParams();
    if (state.value) words.set("state", state.value);
    if (text.value.trim()) words.set("text", text.value.trim());
    if (since.value !== "any time") words.set("since", since.value);
    if (unfolded.size) words.set("open", [...unfolded.keys()].join(" "));
    history.replaceState(null, "", `#/${words.size ? `?${words}` : ""}`);
  }

  /** @param {string} group @param {number} count Of its sessions that are shown; none folds it. */
  function unfold(group, count) {
    if (count) unfolded.set(group, count);
    else unfolded.delete(group);
    note();
    look();
  }

  async function cancel(/** @type {any} */ group) {
    if (!confirm("Cancel all sessions of this group that run? Their blocks may clean up.")) return;
    try {
      await ask(`api/groups/${encodeURIComponent(group.id)}/cancel`, {}, { method: "POST" });
    } catch (error) {
      say(status, /** @type {Error} */ (error).message);
    }
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
    look();
  }

  function pushed(/** @type {any} */ message) {
    if (message.type === "error") {
      say(status, message.error);
      return;
    }
    if (message.type !== "list") return;
    say(status, "");
    start.hidden = !message.may_start;
    /** @type {{ rows: Row[], after: Row | null }[]} */
    const wanted = [{ rows: [], after: null }];
    const there = new Set();
    for (const session of message.sessions) {
      there.add(session.group ?? session.id);
      wanted[0].rows.push(put(session, message));
      if (session.group) wanted[0].rows.push(...members(session.group, message, there));
    }
    // Groups of further pages that are unfolded: their rows stay where they are.
    for (const group of Object.keys(message.members)) {
      if (there.has(group) || !known.has(group)) continue;
      there.add(group);
      const after = put({ group }, message);
      wanted.push({ after, rows: members(group, message, there) });
    }
    for (const [id, each] of known) {
      // What has been deleted since, has another state now, or was folded; of further pages nothing is said here.
      if (!there.has(id) && (pages === 1 || each.row.dataset.in)) { each.row.remove(); known.delete(id); }
    }
    for (const part of wanted) {
      let at = part.after ? part.after.row.nextElementSibling : rows.firstElementChild;
      for (const { row } of part.rows) {
        // One that is in its place isn't touched: it may have the focus.
        if (row === at) at = at.nextElementSibling;
        else rows.insertBefore(row, at);
      }
    }
    if (pages === 1) {
      more = message.more;
      last = message.last;
    }
    told();
    if (more) watcher.observe(end);
  }

  /**
   * Make or update the rows of an unfolded group's sessions, which stand below it.
   * @param {string} group @param {any} message @param {Set<string>} there @returns {Row[]}
   */
  function members(group, message, there) {
    const found = message.members[group];
    if (!found || !unfolded.has(group)) return [];
    const made = found.sessions.map((/** @type {any} */ each) => {
      there.add(each.id);
      return row(each.id, () => makeRow(each, group), each);
    });
    if (found.count <= found.sessions.length) return made;
    const key = `${group} more`;
    there.add(key);
    return [...made, row(key, () => makeMore(group, (shown) => unfold(group, shown + 10 * MEMBERS)), found)];
  }

  function told() {
    empty.hidden = known.size > 0;
    table.hidden = known.size === 0;
    const filtered = state.value || text.value || since_ms;
    fill(empty, filtered ? "No session fits these filters." : ["No session yet. Start one: ", h("code", null, "asyncblock submit stocks"), ", or ", h("code", null, "asyncblock run stocks"), "."]);
  }

  /**
   * Make or update the row of a session of the list; where it is of a group, that of the group.
   * @param {any} session @param {any} message @returns {Row}
   */
  function put(session, message) {
    const group = session.group && message.groups[session.group];
    if (!group) return row(session.id, () => makeRow(session), session);
    const toggle = () => unfold(group.id, unfolded.has(group.id) ? 0 : MEMBERS);
    return row(group.id, () => makeGroup(group, toggle, () => cancel(group)), group, unfolded.has(group.id), message.may_cancel);
  }

  /** @param {string} key @param {() => Row} make @param {any} now @param {...any} more @returns {Row} */
  function row(key, make, now, ...more) {
    let there = known.get(key);
    if (!there) known.set(key, (there = make()));
    there.update(now, ...more);
    return there;
  }

  async function loadMore() {
    if (loading || !more || !last) return;
    loading = true;
    try {
      const answer = await ask("api/sessions", { ...query(), limit: PAGE, before: `${last[0]},${last[1]}` });
      if (closed) return;
      pages += 1;
      for (const each of answer.sessions) {
        const made = put(each, answer);
        if (!made.row.isConnected) rows.append(made.row);
      }
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
      if (to.session !== null || to.view !== "sessions") return false;
      read(to);
      return true;
    },
    close: () => { closed = true; watcher.disconnect(); },
  };
}
