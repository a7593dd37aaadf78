// The page: which view is shown for which address. Addresses stand behind the "#", so that they work behind any prefix.

import { ask } from "./api.js";
import { fill, h, say } from "./dom.js";
import { begin } from "./link.js";
import { openExecutors } from "./executors.js";
import { openSession } from "./session.js";
import { openSessions } from "./sessions.js";

/**
 * @typedef {object} Place
 * @property {string | null} session
 * @property {string} view
 * @property {URLSearchParams} query
 */

/** A view of the page. `go` is told of another address of the same view, and says whether that is its own.
 * @typedef {{ element: HTMLElement, title: () => string, go: (place: Place) => boolean, close: () => void }} View */

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
/** @type {View | null} */
let view = null;

/** @param {string} text An address may have been cut anywhere. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @returns {Place} */
function read() {
  const [path, words = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [kind, id, name] = path.split("/");
  const query = new URLSearchParams(words);
  if (kind === "s" && id) return { session: decoded(id), view: name || "graph", query };
  return { session: null, view: kind === "executors" ? kind : "sessions", query };
}

function go() {
  const place = read();
  if (!view?.go(place)) {
    view?.close();
    view = place.session !== null ? openSession(place) : place.view === "executors" ? openExecutors() : openSessions(place);
    fill(main, view.element);
    scrollTo(0, 0);
  }
  for (const link of document.querySelectorAll("header.top nav a")) {
    if (link.getAttribute("href") === (place.view === "executors" && place.session === null ? "#/executors" : "#/")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${view.title()} · asyncblock`;
}

const theme = /** @type {HTMLButtonElement} */ (document.getElementById("theme"));
const root = document.documentElement;
const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
const name = () => {
  say(theme, dark() ? "Light" : "Dark");
  theme.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"} colours`);
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => name());
const kept = localStorage.getItem("asyncblock-theme");
if (kept === "dark" || kept === "light") root.dataset.theme = kept;
theme.addEventListener("click", () => {
  root.dataset.theme = dark() ? "light" : "dark";
  localStorage.setItem("asyncblock-theme", root.dataset.theme);
  name();
});
name();

addEventListener("keydown", (event) => {
  // Of a dialog that is open a key is the dialog's: Esc closes that, and not what is behind it.
  if (document.querySelector("dialog[open]")) return;
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) {
    const search = /** @type {HTMLElement | null} */ (main.querySelector("input[type=search]"));
    if (search) { search.focus(); event.preventDefault(); }
  } else if (event.key === "Escape") {
    /** @type {HTMLElement | null} */ (main.querySelector("button.close"))?.click();
  }
});

addEventListener("hashchange", go);
begin((words) => {
  const place = /** @type {HTMLElement} */ (document.getElementById("link"));
  say(place, words);
  place.classList.toggle("bad", words !== "");
});
ask("api/page").then((page) => {
  say(/** @type {HTMLElement} */ (document.getElementById("where")), page.address ?? "runs on this machine");
}).catch((error) => fill(main, h("p", { class: "notice", role: "alert" }, error.message)));
go();
