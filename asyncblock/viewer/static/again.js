// What is started from the page: a session once more, or a flow that was offered to it.

import { ask, of } from "./api.js";
import { fill, h } from "./dom.js";
import { openForm } from "./form.js";

/** @param {string} id */
export const startAgain = (id) =>
  openForm("Run again", "The same version of the flow, in a new session.", of(id, "/again"));

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
