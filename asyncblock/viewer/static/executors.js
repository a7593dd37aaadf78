// Who runs blocks for the mainframe: what each executor has, does, and is kept from; drained and cancelled from here.

import { ask, of } from "./api.js";
import { fill, h, say } from "./dom.js";
import { show } from "./link.js";
import { duration, many, size } from "./words.js";

/** @returns {import("./main.js").View} */
export function openExecutors() {
  const about = h("p", { class: "sub" }, "Loading …");
  const problem = h("p", { class: "notice bad", role: "alert", hidden: true });
  const cards = h("div", { class: "executors" });
  const element = h("div", { class: "list" }, h("h1", null, "Executors"), about, problem, cards);
  /** @type {Map<string, ReturnType<typeof makeCard>>} */
  const known = new Map();

  function complain(/** @type {string} */ words) {
    problem.hidden = words === "";
    say(problem, words);
  }

  /** @param {string} path @param {string} [question] */
  async function order(path, question) {
    if (question && !confirm(question)) return;
    complain("");
    try {
      await ask(path, {}, { method: "POST" });
    } catch (error) {
      complain(/** @type {Error} */ (error).message);
    }
  }

  show({ executors: true }, (message) => {
    if (message.type === "error") complain(message.error);
    if (message.type !== "executors") return;
    say(about, message.none ? "No mainframe is served here. A local run has executors of its own: its session's Executors tell of them."
      : [many(message.count, "executor"), `${many(message.waiting, "job")} waiting for one`,
        message.count > message.executors.length ? `the first ${message.executors.length} are shown` : ""].filter(Boolean).join(" · ")
        + (message.count ? "" : ". Start one: asyncblock executor --package DIR"));
    const there = new Set();
    message.executors.forEach((/** @type {any} */ each, /** @type {number} */ index) => {
      there.add(each.link);
      let card = known.get(each.link);
      if (!card) known.set(each.link, (card = makeCard(each.link, order)));
      card.update(each, message.may_order);
      if (cards.children[index] !== card.element) cards.insertBefore(card.element, cards.children[index] ?? null);
    });
    for (const [link, card] of known) if (!there.has(link)) { card.element.remove(); known.delete(link); }
  });
  return { element, title: () => "Executors", go: (to) => to.view === "executors" && to.session === null, close: () => {} };
}

/** @param {string} link @param {(path: string, question?: string) => void} order */
function makeCard(link, order) {
  const state = h("span", { class: "pill" });
  const slots = h("p", { class: "slots" });
  const what = h("p", { class: "note" });
  const stall = h("p", { class: "notice", hidden: true });
  const more = h("p", { class: "note", hidden: true });
  const rows = h("tbody");
  const jobs = h("div", { class: "scroll" }, h("table", { class: "data" }, h("thead", null, h("tr", null,
    ["Node", "Session", "For", ""].map((each) => h("th", { scope: "col", class: each === "For" ? "n" : null }, each || h("span", { class: "unseen" }, "Cancel"))))), rows));
  let drained = false;
  const drain = h("button", { type: "button", onclick: () => order(`api/executors/${encodeURIComponent(link)}/${drained ? "undrain" : "drain"}`) });
  const element = h("section", { "aria-label": `Executor ${link}` },
    h("div", { class: "bar" }, h("h2", null, h("code", null, link)), state, drain), slots, what, stall, jobs, more);
  /** @type {Map<string, { row: HTMLElement, took: HTMLElement, stop: HTMLElement }>} */
  const known = new Map();

  /** @param {any} job */
  function makeJob(job) {
    const took = h("td", { class: "n" });
    const stop = h("button", { type: "button", class: "danger", "aria-label": `Cancel job ${job.job_id} of ${job.node_id}`,
      onclick: () => order(of(job.session_id, `/cancel-job/${encodeURIComponent(job.job_id)}`), `Cancel this job of ${job.node_id}? Its node fails, unless its retries go on.`) }, "Cancel");
    const row = h("tr", null, h("td", null, h("a", { class: "name", href: `#/s/${encodeURIComponent(job.session_id)}/graph` }, h("bdi", null, job.node_id))),
      h("td", null, h("code", null, job.session_id.slice(0, 12))), took, h("td", null, stop));
    return { row, took, stop };
  }

  return {
    element,
    update: (/** @type {any} */ now, /** @type {boolean} */ mayOrder) => {
      drained = now.drained;
      const word = !now.connected ? "away" : drained ? now.job_count ? "draining" : "drained" : now.job_count ? "working" : "idle";
      say(state, word);
      state.className = `pill e-${word}`;
      drain.hidden = !mayOrder || now.once;
      say(drain, drained ? "Take jobs again" : "Drain");
      drain.title = drained ? "" : "It takes no new jobs; what runs here goes on.";
      const places = [["loop", "on its loop"], ["threads", "in threads"], ["processes", "in processes"]];
      say(slots, places.filter(([key]) => now.slots[key] || now.load[key]).map(([key, words]) => `${now.load[key]} of ${now.slots[key]} ${words}`).join(" · "));
      const packages = Object.values(now.packages);
      const beyond = now.package_count - packages.length;
      say(what, [now.languages.join(", "), packages.length ? `${packages.join(", ")}${beyond > 0 ? ` and ${many(beyond, "more", "more")}` : ""}` : "no packages",
        Object.entries(now.offers).map(([name, amount]) => `${name} ${Array.isArray(amount) ? amount.join(", ") : name === "memory" ? size(amount) : amount}`).join(", "),
        now.held_bytes ? `${size(now.held_bytes)} of values held` : "", now.once ? "started for one job" : "",
        now.quiet !== null && now.quiet > QUIET ? `nothing heard for ${duration(now.quiet * 1000)}` : ""].filter(Boolean).join(" · "));
      stall.hidden = now.stall === null;
      if (now.stall) say(stall, `Kept from running for ${duration(now.stall.seconds * 1000)}, told ${duration(now.stall.ago * 1000)} ago: ${now.stall.where}`);
      jobs.hidden = now.jobs.length === 0;
      more.hidden = now.job_count === now.jobs.length;
      say(more, `and ${many(now.job_count - now.jobs.length, "job")} more`);
      const there = new Set();
      for (const job of now.jobs) {
        const key = `${job.session_id} ${job.job_id} ${job.attempt}`;
        there.add(key);
        let made = known.get(key);
        if (!made) { known.set(key, (made = makeJob(job))); rows.append(made.row); }
        say(made.took, job.seconds === null ? "" : duration(job.seconds * 1000) + (job.running ? "" : ", starting"));
        made.stop.hidden = !mayOrder;
      }
      for (const [key, made] of known) if (!there.has(key)) { made.row.remove(); known.delete(key); }
    },
  };
}

/** Seconds without a word after which that is said: a connection that is there tells something more often. */
const QUIET = 15;
