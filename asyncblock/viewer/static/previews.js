// Previews. Each is asked for when it comes into view. One with the same id takes the place of the one before, which
// stays a slider away. What a browser must run runs in a frame of an origin of its own, without a network.

import { ask, of } from "./api.js";
import { fill, h, markup, say } from "./dom.js";
import { concerns, paced } from "./pace.js";
import { clock, many, size } from "./words.js";

const MOST = 60;

/** @param {import("./session.js").Session} session @param {string | null} node @returns {import("./session.js").Part} */
export function openPreviews(session, node) {
  const cards = h("div", { class: "cards" });
  const note = h("p", { class: "empty", role: "status" }, "Loading…");
  const more = h("button", { type: "button", hidden: true, onclick: () => { most += MOST; draw(); } }, "Show earlier ones");
  const element = h("section", { "aria-label": "Previews" }, note, cards, more);
  /** @type {Map<string, Card>} */
  const known = new Map();
  /** @type {any[]} */
  let previews = [];
  let most = MOST, count = -1, closed = false;
  /** @type {number | null | undefined} */
  let at;

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) known.get(/** @type {HTMLElement} */ (entry.target).dataset.key ?? "")?.wake();
  }, { rootMargin: "300px" });

  function draw() {
    /** @type {Map<string, any[]>} */
    const groups = new Map();
    for (const each of previews) {
      const key = each.id === null ? each.place : `${each.node}\n${each.id}`;
      const group = groups.get(key);
      if (group) { groups.delete(key); groups.set(key, [...group, each]); }
      else groups.set(key, [each]);
    }
    // The newest stands first; nothing that is being looked at jumps: cards stay where they are.
    const wanted = [...groups].reverse().slice(0, most);
    more.hidden = groups.size <= most;
    say(note, groups.size ? "" : session.moves() ? "Nothing was previewed yet." : "Nothing was previewed.");
    note.hidden = groups.size > 0;
    const keys = new Set(wanted.map(([key]) => key));
    for (const [key, card] of known) if (!keys.has(key)) { seen.unobserve(card.element); card.element.remove(); known.delete(key); }
    for (const [key, versions] of wanted.reverse()) {
      const card = known.get(key);
      if (card) { card.update(versions); continue; }
      const made = new Card(session, versions, node === null);
      made.element.dataset.key = key;
      known.set(key, made);
      cards.prepend(made.element);
      seen.observe(made.element);
    }
  }

  const loading = paced(30, async () => {
    const asked = session.at;
    try {
      const answer = await ask(of(session.id, "/previews"), { node, at: asked });
      if (closed || asked !== session.at) return;
      previews = answer.previews;
      at = asked;
      draw();
    } catch (error) {
      note.hidden = false;
      say(note, /** @type {Error} */ (error).message);
    }
  });

  loading.run();
  return {
    element,
    update(changed) {
      const now = node === null ? session.summary?.previews : session.nodes.get(node)?.previews;
      if (changed !== null && at === session.at && now === count && node !== null) return;
      if (changed !== null && at === session.at && (!concerns(changed, node) || now === count)) return;
      count = now;
      loading.run();
    },
    close() { closed = true; loading.close(); seen.disconnect(); },
  };
}

class Card {
  /** @param {import("./session.js").Session} session @param {any[]} versions @param {boolean} named */
  constructor(session, versions, named) {
    this.session = session;
    this.versions = versions;
    this.awake = false;
    this.place = "";
    /** The version that is looked at; null follows the newest. @type {number | null} */
    this.chosen = null;
    this.name = h("bdi", { class: "name" });
    this.about = h("small");
    this.slider = /** @type {HTMLInputElement} */ (h("input", { type: "range", min: 0, "aria-label": "Earlier versions", oninput: () => {
      const index = Number(this.slider.value);
      this.chosen = index === this.versions.length - 1 ? null : index;
      this.draw();
    } }));
    this.body = h("div", { class: "shown" }, h("p", { class: "empty" }, "Loading…"));
    this.node = named ? h("a", { class: "of" }) : null;
    this.element = h("figure", { class: "card" }, h("figcaption", null, this.name, this.node, this.about, this.slider), this.body);
    this.update(versions);
  }

  /** @param {any[]} versions */
  update(versions) {
    this.versions = versions;
    this.slider.max = String(versions.length - 1);
    this.slider.hidden = versions.length < 2;
    this.draw();
  }

  wake() {
    this.awake = true;
    this.draw();
  }

  draw() {
    const index = this.chosen ?? this.versions.length - 1;
    const shown = this.versions[index];
    this.slider.value = String(index);
    this.element.className = `card k-${/^[a-z]+$/.test(shown.kind) ? shown.kind : "value"}`;
    say(this.name, shown.name);
    if (this.node) {
      say(this.node, shown.node);
      this.node.setAttribute("href", this.session.address("previews", shown.node));
    }
    const began = this.session.summary?.began ?? shown.t;
    const version = this.versions.length > 1 ? `${index + 1} of ${many(this.versions.length, "version")}` : "";
    say(this.about, [shown.kind === shown.name ? "" : shown.kind, `after ${clock(shown.t - began)}`, shown.size > 1e5 ? size(shown.size) : "", version].filter(Boolean).join(" · "));
    if (this.awake && shown.place !== this.place) this.load(shown);
  }

  async load(/** @type {any} */ shown) {
    this.place = shown.place;
    try {
      const answer = await ask(of(this.session.id, `/preview/${shown.place}`));
      if (this.place !== shown.place) return;
      // The height stays until the next one is there: nothing jumps.
      this.body.style.minHeight = `${this.body.offsetHeight}px`;
      markup(this.body, answer.html);
      dress(this.body, this.session.id, shown.place);
      requestAnimationFrame(() => { this.body.style.minHeight = ""; });
    } catch (error) {
      if (this.place === shown.place) fill(this.body, h("p", { class: "note" }, /** @type {Error} */ (error).message));
    }
  }
}

/** Make what is in a preview usable: frames, tables that sort, pictures that grow. @param {HTMLElement} body @param {string} id @param {string} place */
function dress(body, id, place) {
  for (const each of /** @type {NodeListOf<HTMLElement>} */ (body.querySelectorAll("div.framed"))) {
    const address = `frame/${encodeURIComponent(id)}/${place}?part=${each.dataset.part ?? ""}`;
    const frame = /** @type {HTMLIFrameElement} */ (document.createElement("iframe"));
    // Without allow-same-origin: what runs in it has an origin of its own, and no cookie. The page's own drawing of a
    // chart runs at once, a block's scripts when somebody asks for them.
    const chart = each.dataset.runs === "chart";
    frame.setAttribute("sandbox", chart ? "allow-scripts" : "");
    frame.setAttribute("referrerpolicy", "no-referrer");
    frame.setAttribute("loading", "lazy");
    frame.title = each.dataset.title ?? "";
    frame.src = address;
    const again = (/** @type {string} */ how, /** @type {string} */ words) => {
      const made = /** @type {HTMLIFrameElement} */ (frame.cloneNode());
      made.setAttribute("sandbox", "allow-scripts");
      made.src = `${address}&${how}=1`;
      each.querySelector("iframe")?.replaceWith(made);
      line.replaceChildren(how === "scripts" ? allow : "", " ", words);
    };
    const allow = h("button", { type: "button", class: "run", onclick: () => again("network", "It may use the network, because you allowed it.") }, "Allow network");
    const run = each.dataset.runs === "script" && !each.dataset.needs
      ? h("button", { type: "button", class: "run scripts", onclick: () => again("scripts", "Its scripts run, without the network.") }, "Run its scripts") : "";
    const words = each.dataset.needs && !chart ? "What draws this comes from the network." : "";
    const line = h("p", { class: "note" }, run, " ", allow, " ", words);
    each.append(frame, line);
  }
  for (const table of /** @type {NodeListOf<HTMLTableElement>} */ (body.querySelectorAll("table.data"))) sortable(table);
  for (const picture of /** @type {NodeListOf<HTMLImageElement>} */ (body.querySelectorAll("img"))) {
    picture.tabIndex = 0;
    picture.setAttribute("role", "button");
    picture.setAttribute("aria-label", picture.alt ? `Enlarge ${picture.alt}` : "Enlarge this picture");
    const grow = () => {
      const box = /** @type {HTMLDialogElement} */ (h("dialog", { class: "large", "aria-label": picture.alt || "A picture", onclick: () => box.close(), onclose: () => box.remove() },
        h("img", { src: picture.src, alt: picture.alt })));
      document.body.append(box);
      box.showModal();
    };
    picture.addEventListener("click", grow);
    picture.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      grow();
    });
  }
}

/** @param {HTMLTableElement} table */
function sortable(table) {
  const heads = [...(table.tHead?.rows[0]?.cells ?? [])];
  table.classList.add("sortable");
  heads.forEach((head, column) => {
    head.tabIndex = 0;
    const sort = () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      const number = head.classList.contains("n");
      const key = (/** @type {HTMLTableRowElement} */ row) => row.cells[column]?.title || row.cells[column]?.textContent || "";
      const value = (/** @type {string} */ text) => { const made = Number(text.replaceAll(",", "")); return Number.isNaN(made) ? -Infinity : made; };
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const order = number ? value(key(a)) - value(key(b)) : key(a).localeCompare(key(b), undefined, { numeric: true });
        return up ? order : -order;
      });
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      table.tBodies[0].append(...rows);
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  });
}
