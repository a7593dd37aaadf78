// What is started from the page: a session once more, or a flow that was offered to it.

import { ask, of } from "./api.js";
import { fill, h } from "./dom.js";
import { openForm } from "./form.js";

/** @param {string} id */
export const startAgain = (id) =>
  openForm("Run again", "The same version of the flow, in a new session.", of(id, "/again"));

/**
 * Tell what would run again of a session, and let it be run.
 * @param {string} id
 */
export async function retry(id) {
  const about = h("div", { class: "fields" }, "Looking what has changed …");
  const problem = h("p", { class: "notice bad", role: "alert", hidden: true });
  const start = /** @type {HTMLButtonElement} */ (h("button", { type: "button", class: "main", disabled: true, onclick: begin }, "Retry"));
  const dialog = /** @type {HTMLDialogElement} */ (h("dialog", { class: "form retry", "aria-labelledby": "retry-title" },
    h("h2", { id: "retry-title" }, "Retry from where it failed"),
    h("p", { class: "sub" }, "In a new session. What has finished stays as it was where its code, its inputs and what it imports are the same."),
    about, problem, h("div", { class: "bar" }, start, h("button", { type: "button", onclick: () => dialog.close() }, "Close"))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();

  function complain(/** @type {unknown} */ error) {
    problem.hidden = false;
    fill(problem, /** @type {Error} */ (error).message);
  }

  async function begin() {
    start.disabled = true;
    problem.hidden = true;
    try {
      const answer = await ask(of(id, "/retry"), {}, { method: "POST" });
      dialog.close();
      location.hash = `#/s/${encodeURIComponent(answer.session)}/graph`;
    } catch (error) {
      complain(error);
      start.disabled = false;
    }
  }

  try {
    const told = await ask(of(id, "/retry"));
    const again = Object.entries(told.again ?? {});
    fill(about, [
      h("p", null, "Stays: ", told.kept.length ? h("bdi", { class: "name" }, told.kept.join(", ")) : "nothing"),
      again.map(([node, why]) => h("p", null, h("bdi", { class: "name" }, node), ` runs again: ${why}`))]);
    start.disabled = false;
    start.focus();
  } catch (error) {
    fill(about);
    complain(error);
  }
}

/**
 * Go on with a session after its process was killed. If code was edited since, ask first whether to accept that.
 * @param {string} id
 */
export async function resume(id) {
  const { edited } = await ask(of(id, "/resume"));
  if (edited.length === 0) return ask(of(id, "/resume"), {}, { method: "POST" });
  const problem = h("p", { class: "notice bad", role: "alert", hidden: true });
  const start = /** @type {HTMLButtonElement} */ (h("button", { type: "button", class: "main", onclick: begin }, "Resume with the code that is here"));
  const dialog = /** @type {HTMLDialogElement} */ (h("dialog", { class: "form accept", "aria-labelledby": "accept-title" },
    h("h2", { id: "accept-title" }, "The code was edited since"),
    h("p", { class: "sub" }, "What hasn't finished would wait for the code with which the session began. Bring that back, or let it go on under the code that is here."),
    h("div", { class: "fields" }, edited.map((/** @type {any} */ each) => h("p", null, h("bdi", { class: "name" }, each.package), ": it began with ", h("code", null, each.version.slice(0, 12)), ", here is ", h("code", null, each.now.slice(0, 12))))),
    problem, h("div", { class: "bar" }, start, h("button", { type: "button", onclick: () => dialog.close() }, "Close"))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  start.focus();

  async function begin() {
    start.disabled = true;
    problem.hidden = true;
    const accept = new URLSearchParams(edited.map((/** @type {any} */ each) => ["accept", each.version]));
    try {
      await ask(`${of(id, "/resume")}?${accept}`, {}, { method: "POST" });
      dialog.close();
    } catch (error) {
      problem.hidden = false;
      fill(problem, /** @type {Error} */ (error).message);
      start.disabled = false;
    }
  }
}

/** Let a flow be chosen, and open its form. */
export async function startFlow() {
  const list = h("div", { class: "fields", role: "group", "aria-labelledby": "start-title" }, "Loading …");
  const dialog = /** @type {HTMLDialogElement} */ (h("dialog", { class: "form flows", "aria-labelledby": "start-title" },
    h("h2", { id: "start-title" }, "Start a flow"), list,
    h("div", { class: "bar" }, h("button", { type: "button", onclick: () => dialog.close() }, "Close"))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();

  function chosen(/** @type {any} */ flow) {
    dialog.close();
    openForm(flow.title, flow.about, `api/flows/${encodeURIComponent(flow.key)}`);
  }

  try {
    const answer = await ask("api/flows");
    fill(list, answer.flows.map((/** @type {any} */ each) => h("button", { type: "button", class: "flow", onclick: () => chosen(each) },
      h("b", null, h("bdi", null, each.title)), h("span", { class: "sub" }, h("bdi", null, each.about)), h("small", null, h("bdi", null, each.place)))));
    /** @type {HTMLElement | null} */ (list.querySelector("button"))?.focus();
  } catch (error) {
    fill(list, h("p", { class: "notice bad", role: "alert" }, /** @type {Error} */ (error).message));
  }
}
