// A form that starts a session: a field for each of a flow's inputs.

import { ask } from "./api.js";
import { fill, h } from "./dom.js";

/** @typedef {{ name: string, kind: string, about: string, type: string, optional: boolean, choices: string[], text: string, none: boolean, hidden: boolean, long: boolean, size: number }} Field */

/** What is said below a field of a kind, beside what its author says. @type {Record<string, string>} */
const HINTS = {
  secret: "The name of a secret, TYPE,NAME,KEY. The secret itself would be kept in the journal.",
  credential: "The name of a credential, ${{OO_CREDENTIAL:TYPE,NAME,ID}}.",
  file: "A path on the machine of the flow's executors.",
};
const AS_WRITTEN = ["text", "file"];

/**
 * Open the form of what is to be started, and go to the session when it has begun.
 * @param {string} name What it does.
 * @param {string} about
 * @param {string} address Where the form comes from, and goes to.
 */
export async function openForm(name, about, address) {
  const problem = h("p", { class: "notice bad", role: "alert", hidden: true });
  const fields = h("div", { class: "fields" }, "Loading …");
  const start = /** @type {HTMLButtonElement} */ (h("button", { type: "submit", class: "main", disabled: true }, "Start"));
  const dialog = /** @type {HTMLDialogElement} */ (h("dialog", { class: "form", "aria-labelledby": "again-title" }));
  const form = h("form", { onsubmit: send },
    h("h2", { id: "again-title" }, h("bdi", null, name)),
    about ? h("p", { class: "sub" }, h("bdi", null, about)) : null,
    fields, problem,
    h("div", { class: "bar" }, start, h("button", { type: "button", onclick: () => dialog.close() }, "Close")));
  fill(dialog, form);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();

  /** @type {Map<string, () => string | null | undefined>} */
  const values = new Map();

  function complain(/** @type {unknown} */ error) {
    problem.hidden = false;
    fill(problem, /** @type {Error} */ (error).message);
  }

  try {
    const answer = await ask(address);
    fill(fields, answer.fields.length ? answer.fields.map(draw) : h("p", { class: "sub" }, "This flow takes no inputs."));
    start.disabled = false;
    (fields.querySelector("input,select,textarea") ?? start).focus?.();
  } catch (error) {
    fill(fields);
    complain(error);
  }

  /** @param {Field} field @param {number} index */
  function draw(field, index) {
    const control = /** @type {HTMLInputElement} */ (made(field));
    const words = `again-${index}`;
    control.id = words;
    control.setAttribute("name", field.name);
    const about = [field.about, HINTS[field.kind]].filter(Boolean);
    if (about.length) control.setAttribute("aria-describedby", `${words}-about`);
    // A field that the user hasn't touched keeps its value; an optional one that was emptied takes its default.
    let touched = false;
    // A browser's field has line feeds alone.
    const ends = field.text.includes("\r\n") && !/(^|[^\r])\n/.test(field.text) ? "\r\n" : "\n";
    const written = () => control.value.replaceAll("\n", ends);
    const optional = field.optional || field.none;
    control.addEventListener("input", () => { touched = true; });
    values.set(field.name, () => !touched ? undefined : control.value === "" && optional && !AS_WRITTEN.includes(field.kind) ? null : written());
    const none = field.optional && AS_WRITTEN.includes(field.kind) ? h("button", { type: "button", onclick: () => {
      control.value = "";
      values.set(field.name, () => touched && control.value !== "" ? written() : null);
    } }, "Default") : null;
    return h("div", { class: "field" },
      h("label", { for: words }, h("bdi", null, field.name), h("small", null, [field.type, field.optional ? "optional" : ""].filter(Boolean).join(", "))),
      h("div", { class: "bar" }, control, none),
      about.length ? h("p", { class: "sub", id: `${words}-about` }, about.map((each) => h("bdi", null, each, " "))) : null);
  }

  async function send(/** @type {Event} */ event) {
    event.preventDefault();
    start.disabled = true;
    problem.hidden = true;
    const sent = Object.fromEntries([...values].map(([name, value]) => [name, value()]).filter(([, value]) => value !== undefined));
    try {
      const answer = await ask(address, {}, { method: "POST", body: JSON.stringify(sent) });
      dialog.close();
      location.hash = `#/s/${encodeURIComponent(answer.session)}/graph`;
    } catch (error) {
      complain(error);
      start.disabled = false;
    }
  }
}

/** @param {Field} field */
function made(field) {
  if (field.long) return h("input", { disabled: true, value: `${field.size.toLocaleString("en")} characters, as before` });
  if (field.kind === "choice") {
    const odd = field.text !== "" && !field.choices.includes(field.text) ? [field.text] : [];
    const choices = [...(field.none || field.optional ? [""] : []), ...odd, ...field.choices];
    return h("select", null, choices.map((each) => h("option", { value: each, selected: each === field.text }, each || "(default)")));
  }
  if (field.kind === "number") return h("input", { inputmode: "decimal", autocomplete: "off", value: field.text });
  if (field.kind in HINTS || (field.kind === "text" && !/[\r\n]/.test(field.text))) {
    const placeholder = field.hidden ? "as before: what was given isn't a name, and isn't shown" : null;
    return h("input", { autocomplete: "off", spellcheck: "false", value: field.text, placeholder });
  }
  const area = /** @type {HTMLTextAreaElement} */ (h("textarea", { rows: 4, spellcheck: "false" }));
  area.value = field.text;
  return area;
}
