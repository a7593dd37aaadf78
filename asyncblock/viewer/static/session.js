// A session: what stands above it, its views, and the panel of a node. Each view asks for what it shows by itself.

import { resume, retry, startAgain } from "./again.js";
import { ask, of } from "./api.js";
import { fill, h, oncePerFrame, pill, say } from "./dom.js";
import { openGraph } from "./graph.js";
import { show } from "./link.js";
import { openFailures, openOutputs, openResources, openValues } from "./values.js";
import { openLog } from "./log.js";
import { openNode } from "./node.js";
import { openNodes } from "./nodes.js";
import { openPreviews } from "./previews.js";
import { openTimeline } from "./timeline.js";
import { openTravel } from "./travel.js";
import { date, duration, many } from "./words.js";

/**
 * What is known of a session. `nodes` has the rows of its nodes by path, in order; `at` is a row of its journal, or null
 * for now.
 * @typedef {object} Session
 * @property {string} id
 * @property {any} summary
 * @property {Map<string, any>} nodes
 * @property {number | null} at
 * @property {() => boolean} moves  Whether it may still change.
 * @property {(node: string | null, tab?: string) => void} select
 * @property {(view: string, node: string | null, tab?: string) => string} address
 */

/** A part of a session that is shown. `update` is told which nodes have changed, null for all of them.
 * @typedef {{ element: HTMLElement, update: (changed: Set<string> | null) => void, close: () => void }} Part */

/** @type {Record<string, [string, (session: Session, node: string | null) => Part]>} */
const VIEWS = {
  graph: ["Graph", openGraph], nodes: ["Nodes", openNodes], timeline: ["Timeline", openTimeline],
  previews: ["Previews", openPreviews], log: ["Log", openLog], errors: ["Errors", openFailures],
  values: ["Values", openValues], outputs: ["Outputs", openOutputs], executors: ["Executors", openResources],
};

/** @param {import("./main.js").Place} place @returns {import("./main.js").View} */
export function openSession(place) {
  const id = /** @type {string} */ (place.session);
  let name = "", query = place.query;
  /** @type {Part | null} */
  let part = null;
  /** @type {Part | null} */
  let panel = null;
  let panelOf = "";
  let received = Date.now(), closed = false;

  /** @type {Session} */
  const session = {
    id, summary: null, nodes: new Map(), at: null,
    moves: () => session.at === null && !(session.summary?.over ?? false),
    address: (view, node, tab) => {
      const words = new URLSearchParams();
      if (node) words.set("node", node);
      if (node && tab) words.set("tab", tab);
      if (session.at !== null) words.set("at", String(session.at));
      return `#/s/${encodeURIComponent(id)}/${view}${words.size ? `?${words}` : ""}`;
    },
    select: (node, tab) => { location.hash = session.address(name, node, tab); },
  };

  const title = h("bdi", null, id);
  const state = h("span");
  const took = h("span", { class: "took" });
  const bar = h("i");
  const progress = h("span", { class: "progress", role: "progressbar", "aria-label": "Progress" }, bar);
  const cancel = /** @type {HTMLButtonElement} */ (h("button", { type: "button", class: "danger", hidden: true, onclick: stop }, "Cancel"));
  const again = /** @type {HTMLButtonElement} */ (h("button", { type: "button", class: "again", hidden: true, onclick: () => startAgain(id) }, "Run again …"));
  const tryAgain = /** @type {HTMLButtonElement} */ (h("button", { type: "button", class: "again retry", hidden: true, onclick: () => retry(id) }, "Retry …"));
  const goesOn = /** @type {HTMLButtonElement} */ (h("button", { type: "button", class: "again resume", hidden: true, onclick: goOn }, "Resume"));
  const about = h("p", { class: "sub" });
  const notice = h("div", { class: "notices", role: "status" });
  const travel = openTravel(session, (at) => { location.hash = withAt(at); });
  const tabs = Object.fromEntries(Object.entries(VIEWS).map(([key, [words]]) => [key, h("a", { class: "tab" }, words, h("small"))]));
  const place_of_part = h("div", { class: "part" });
  const place_of_panel = h("aside", { class: "panel", "aria-label": "Node", hidden: true });
  const body = h("div", { class: "body" }, place_of_part, place_of_panel);
  const element = h("div", { class: "session" },
    h("div", { class: "head" },
      h("div", { class: "bar" }, h("h1", null, title), state, took, progress, again, tryAgain, goesOn, cancel),
      about, travel.element, h("nav", { "aria-label": "Views" }, Object.values(tabs))),
    notice, body);

  function withAt(/** @type {number | null} */ at) {
    session.at = at;
    return session.address(name, query.get("node"), query.get("tab") ?? undefined);
  }

  async function stop() {
    if (!confirm("Cancel this session? Its blocks may clean up.")) return;
    cancel.disabled = true;
    try {
      await ask(of(id, "/cancel"), {}, { method: "POST" });
    } catch (error) {
      complain(/** @type {Error} */ (error).message);
    }
    cancel.disabled = false;
  }

  async function goOn() {
    goesOn.disabled = true;
    try {
      await resume(id);
    } catch (error) {
      complain(/** @type {Error} */ (error).message);
    }
    goesOn.disabled = false;
  }

  function complain(/** @type {string} */ words) {
    fill(notice, h("p", { class: "notice", role: "alert" }, words));
  }

  const draw = oncePerFrame(() => {
    const summary = session.summary;
    if (!summary || closed) return;
    say(title, summary.title || id);
    if (state.textContent !== summary.state) fill(state, pill(summary.state));
    bar.style.width = `${summary.progress}%`;
    progress.setAttribute("aria-valuenow", String(Math.round(summary.progress)));
    progress.hidden = summary.state !== "running";
    tick();
    say(about, [`session ${id}`, summary.began ? `began ${date(summary.began)}` : "", summary.path ?? "",
      many(summary.jobs, "job"), many(summary.values, "value"), many(summary.previews, "preview"), many(summary.lines, "line")]
      .filter(Boolean).join(" · "));
    const counts = /** @type {Record<string, number>} */ ({
      nodes: summary.nodes, previews: summary.previews, log: summary.lines, errors: summary.failures,
      outputs: summary.outputs.length, executors: summary.executors,
    });
    for (const [key, tab] of Object.entries(tabs)) {
      say(/** @type {Element} */ (tab.lastElementChild), counts[key] ? counts[key].toLocaleString("en") : "");
    }
    tabs.errors.classList.toggle("bad", summary.failures > 0);
    const words = [...summary.notices];
    if (summary.state === "interrupted") words.push(`The process of this run was killed before its end. Nothing goes on for being looked at; to go on with it: asyncblock resume ${id}`);
    if (summary.error && summary.state !== "succeeded") words.push(summary.error);
    if (notice.textContent !== words.join("")) fill(notice, words.map((each) => h("p", { class: `notice${each === summary.error ? " bad" : ""}` }, each)));
  });

  function tick() {
    const summary = session.summary;
    if (!summary?.began) return;
    // The clocks of the two machines may differ: what has passed since the last word is counted here.
    const passed = session.moves() && summary.state === "running" ? Date.now() - received : 0;
    say(took, duration(summary.now - summary.began + passed));
  }
  const ticking = setInterval(tick, 1000);

  function pushed(/** @type {any} */ message) {
    if (message.type === "error") {
      // It isn't followed any more: what stands here is as it was.
      complain(message.error);
      clearInterval(ticking);
      for (const each of [again, tryAgain, goesOn, cancel]) each.hidden = true;
    }
    if (message.type !== "session" || closed) return;
    cancel.hidden = !message.may_cancel;
    again.hidden = !message.may_start;
    tryAgain.hidden = !message.may_retry;
    goesOn.hidden = !message.may_resume;
    travel.update(message.session.offset, message.session.over);
    if (session.at !== null) return;
    take(message.session, message.nodes, message.whole);
  }

  function take(/** @type {any} */ summary, /** @type {any[]} */ nodes, /** @type {boolean} */ whole) {
    received = Date.now();
    session.summary = summary;
    if (whole) session.nodes = new Map();
    for (const each of nodes) session.nodes.set(each.path, each);
    draw();
    const changed = whole ? null : new Set(nodes.map((each) => each.path));
    part?.update(changed);
    panel?.update(changed);
  }

  async function moment() {
    if (session.at === null) {
      show({ watch: id }, pushed);
      return;
    }
    const at = session.at;
    try {
      const answer = await ask(of(id), { at });
      if (session.at !== at || closed) return;
      travel.update(answer.rows, true);
      take(answer.session, answer.nodes, true);
    } catch (error) {
      complain(/** @type {Error} */ (error).message);
    }
  }

  function go(/** @type {import("./main.js").Place} */ to) {
    if (to.session !== id) return false;
    query = to.query;
    const wanted = Object.hasOwn(VIEWS, to.view) ? to.view : "graph";
    const at = /^\d{1,15}$/.test(query.get("at") ?? "") ? Number(query.get("at")) : null;
    const moved = at !== session.at || !session.summary;
    session.at = at;
    travel.show(session.at);
    if (wanted !== name) {
      part?.close();
      name = wanted;
      part = VIEWS[name][1](session, null);
      fill(place_of_part, part.element);
    }
    for (const [key, tab] of Object.entries(tabs)) {
      tab.setAttribute("href", session.address(key, query.get("node"), query.get("tab") ?? undefined));
      if (key === name) {
        tab.setAttribute("aria-current", "page");
        // Where not all have room, that one is to be seen.
        requestAnimationFrame(() => {
          const bar = /** @type {HTMLElement} */ (tab.parentElement);
          const its = tab.getBoundingClientRect(), all = bar.getBoundingClientRect();
          bar.scrollLeft += Math.min(its.left - all.left, 0) + Math.max(its.right - all.right, 0);
        });
      } else tab.removeAttribute("aria-current");
    }
    const node = query.get("node") ?? "", tab = query.get("tab") ?? "";
    if (`${node}\n${tab}` !== panelOf) {
      panel?.close();
      panelOf = `${node}\n${tab}`;
      panel = node ? openNode(session, node, tab) : null;
      fill(place_of_panel, panel?.element);
      place_of_panel.hidden = !panel;
      part?.update(new Set());
    }
    body.classList.toggle("with-panel", panel !== null);
    if (moved) moment();
    return true;
  }

  go(place);
  return {
    element,
    title: () => session.summary?.title || id,
    go,
    close: () => { closed = true; clearInterval(ticking); part?.close(); panel?.close(); },
  };
}
