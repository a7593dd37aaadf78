// Values, outputs, failures, and what kept blocks from running: lists of texts, asked for when they are shown.

import { ask, of } from "./api.js";
import { fill, h } from "./dom.js";
import { concerns, paced } from "./pace.js";
import { clock, date, many, size } from "./words.js";

/**
 * Make a part that asks for something and draws what comes, again when it may have changed.
 * @param {import("./session.js").Session} session
 * @param {string | null} node
 * @param {string} label
 * @param {string} path
 * @param {(answer: any) => import("./dom.js").Child} draw
 * @returns {import("./session.js").Part}
 */
function asked(session, node, label, path, draw) {
  const place = h("div", null, h("p", { class: "empty" }, "Loading…"));
  const element = h("section", { "aria-label": label }, place);
  let closed = false, before = "";
  const loading = paced(800, async () => {
    const then = session.at;
    try {
      const answer = await ask(of(session.id, path), { node, at: then });
      const text = JSON.stringify(answer);
      if (closed || then !== session.at || text === before) return;
      before = text;
      fill(place, draw(answer));
    } catch (error) {
      if (!closed) fill(place, h("p", { class: "empty" }, /** @type {Error} */ (error).message));
    }
  });
  loading.run();
  return {
    element,
    update: (changed) => { if (concerns(changed, node)) loading.run(); },
    close: () => { closed = true; loading.close(); },
  };
}

const empty = (/** @type {string} */ words) => h("p", { class: "empty" }, words);

/** @param {any} value @param {string} address */
function shown(value, address) {
  const about = h("p", { class: "note" }, `${value.type}, ${value.text === null ? size(value.size) : many(value.size, "character")} `,
    h("a", { href: address, download: "" }, "Download"));
  return [value.text === null ? null : h("pre", { class: "json" }, value.text + (value.cut ? " …" : "")), about];
}

/** @param {any} given @param {string} address */
const shownInput = (given, address) => h("div", { class: "handle" },
  h("h4", null, h("bdi", { class: "name" }, given.handle), " ", h("small", null, given.declared)),
  given.hidden ? h("p", { class: "note" }, "A secret in its own words, which isn't shown.") : shown(given, address),
  h("p", { class: "note" }, "from ", h("bdi", null, given.source)));

/** @param {import("./session.js").Session} session @param {string} node */
const openInputs = (session, node) => asked(session, node, "Inputs", "/inputs", (answer) => [
  h("h3", null, "Inputs"),
  answer.jobs.length === 0 ? empty("No job of it has begun.") : answer.jobs.map((/** @type {any} */ job, /** @type {number} */ index) =>
    h("details", { open: index === 0 }, h("summary", null, h("small", null, index === 0 ? "of its last job" : `of job ${job.job}`)),
      job.inputs.length === 0 ? empty("It takes none.") : job.inputs.map((/** @type {any} */ each) =>
        shownInput(each, of(session.id, `/input/${job.place}/${encodeURIComponent(each.handle)}`)))))]);

/** @param {import("./session.js").Session} session @param {string | null} node @returns {import("./session.js").Part} */
export function openValues(session, node) {
  const outputs = openPutOut(session, node);
  if (node === null) return outputs;
  const inputs = openInputs(session, node);
  return {
    element: h("div", null, inputs.element, outputs.element),
    update: (changed) => { inputs.update(changed); outputs.update(changed); },
    close: () => { inputs.close(); outputs.close(); },
  };
}

/** @param {import("./session.js").Session} session @param {string | null} node */
const openPutOut = (session, node) => asked(session, node, "Values", "/values", (answer) => [
  node === null ? null : h("h3", null, "Outputs"),
  answer.handles.length === 0 ? empty("No values were put out, as far as is known.") :
    answer.handles.map((/** @type {any} */ each) => h("div", { class: "handle" },
      h(node === null ? "h3" : "h4", null, node === null ? [h("bdi", { class: "name" }, each.node), " · "] : null, h("bdi", { class: "name" }, each.handle), " ",
        h("small", null, many(each.count, "value"))),
      each.values.map((/** @type {any} */ value, /** @type {number} */ index) => h("details", { open: index === 0 },
        h("summary", null, h("small", null, index === 0 ? "the last one, " : "", `after ${clock(value.t - (session.summary?.began ?? value.t))}`)),
        shown(value, of(session.id, `/value/${value.place}/${encodeURIComponent(each.handle)}`))))))]);

/** @param {import("./session.js").Session} session */
export const openOutputs = (session) => asked(session, null, "Outputs", "/outputs", (answer) =>
  answer.outputs.length === 0 ? empty(session.moves() ? "Outputs are there when the session has ended." : "It has no outputs.") :
    answer.outputs.map((/** @type {any} */ each) => h("div", { class: "handle" }, h("h3", null, h("bdi", { class: "name" }, each.handle)),
      shown(each, of(session.id, `/value/0/${encodeURIComponent(each.handle)}`)))));

/** @param {import("./session.js").Session} session @param {string | null} node */
export const openFailures = (session, node) => asked(session, node, "Errors", "/failures", (answer) => [
  node === null && answer.error ? h("pre", { class: "whole" }, answer.error) : null,
  answer.failures.length === 0 ? empty(answer.error && node === null ? "No attempt of a block failed." : "Nothing has failed.") : null,
  answer.failures.map((/** @type {any} */ each) => h("details", { class: `failure${each.retried ? " retried" : ""}`, open: !each.retried },
    h("summary", null, h("a", { class: "name", href: session.address("errors", each.node, "errors") }, h("bdi", null, each.node)),
      h("small", null, `attempt ${each.attempt}${each.retried ? ", tried again" : ""} · ${date(each.t)}`),
      h("span", { class: "what" }, each.error.trim().split("\n")[0].slice(0, 300))),
    each.traceback && !each.traceback.includes(each.error) ? h("pre", null, each.error) : null,
    h("pre", { class: "trace" }, (each.traceback ?? each.error).trimEnd()))),
]);

/** @param {import("./session.js").Session} session @param {string | null} node */
export const openResources = (session, node) => asked(session, node, "Executors", "/resources", (answer) => [
  answer.waiting.length ? [h("h3", null, "Jobs that no executor takes"), answer.waiting.map((/** @type {any} */ each) =>
    h("p", { class: "notice" }, h("bdi", { class: "name" }, each.node), ": ", each.reason))] : null,
  h("h3", null, "Event loops that were kept from running"),
  answer.stalls.length === 0 ? empty("None was, for long enough to be told.") : h("div", { class: "scroll" }, h("table", { class: "data" },
    h("thead", null, h("tr", null, ["Node", "Time", "Where"].map((each) => h("th", { scope: "col" }, each)))),
    h("tbody", null, answer.stalls.map((/** @type {any} */ each) => h("tr", null, h("td", null, h("bdi", null, each.node)),
      h("td", { class: "n" }, `${each.seconds.toFixed(1)} s`), h("td", null, h("code", null, each.where))))))),
  node !== null ? null : [h("h3", null, "Executors that were given jobs"),
    answer.executors.length === 0 ? empty("None yet.") : h("div", { class: "scroll" }, h("table", { class: "data" },
      h("thead", null, h("tr", null, h("th", { scope: "col" }, "Executor"), h("th", { scope: "col", class: "n" }, "Attempts"))),
      h("tbody", null, answer.executors.map((/** @type {any} */ each) => h("tr", null, h("td", null, h("code", null, each.link)), h("td", { class: "n" }, each.attempts.toLocaleString("en")))))))],
]);
