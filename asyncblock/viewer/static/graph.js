// The flow as a graph. The server lays it out once; states come with what is pushed, and only what changed is drawn.

import { ask, of } from "./api.js";
import { fill, h, markup, oncePerFrame, say } from "./dom.js";
import { many } from "./words.js";

const COLOURS = /** @type {Record<string, string>} */ ({
  finished: "--ab-finished", failed: "--ab-failed", cancelled: "--ab-cancelled", working: "--ab-work",
  starting: "--ab-start", queued: "--ab-queue", pausing: "--ab-pause", waiting: "--ab-value", skipped: "--ab-value",
});
const OPEN = new Set(["working", "starting", "queued", "pausing"]);
const SVG = "http://www.w3.org/2000/svg";

/** Pixels of a box beside its words, and of a letter of them (.ab-sub), which is more than most take. */
const BESIDE = 30, LETTER = 5.8;

/** Milliseconds between two requests for a graph with groups, which changes as they grow. */
const PAUSE = 1000;

/** @param {import("./session.js").Session} session @returns {import("./session.js").Part} */
export function openGraph(session) {
  const sheet = h("div", { class: "sheet" });
  const view = h("div", { class: "canvas", tabindex: 0, role: "group", "aria-label": "Graph; arrow keys move it, plus and minus zoom" }, sheet);
  const way = h("p", { class: "crumbs" });
  const note = h("span", { class: "note" });
  const buttons = h("div", { class: "zoom" },
    h("button", { type: "button", "aria-label": "Zoom in", onclick: () => zoom(1.25) }, "+"),
    h("button", { type: "button", "aria-label": "Zoom out", onclick: () => zoom(0.8) }, "−"),
    h("button", { type: "button", onclick: () => { moved = false; fit(); } }, "Fit"));
  const inner = /** @type {HTMLButtonElement} */ (h("button", { type: "button", class: "inner", hidden: true, onclick: () => open(inner.value) }));
  const element = h("section", { class: "graphs", "aria-label": "Graph" }, h("div", { class: "tools" }, way, inner, note, buttons), view);

  let flow = "", closed = false, grouped = false, asked = 0, timer = 0;
  /** @type {number | null | undefined} */
  let drawnAt;
  let x = 0, y = 0, scale = 1, width = 0, height = 0;
  /** Somebody has moved it: it stays where it was put. */
  let moved = false;
  /** @type {Map<string, SVGGElement>} */
  let boxes = new Map();
  /** @type {Set<string>} */
  let waiting = new Set();

  async function load() {
    const mine = ++asked;
    let answer;
    try {
      answer = await ask(of(session.id, "/graph"), { node: flow, at: session.at });
    } catch (error) {
      if (mine === asked) fill(sheet, h("p", { class: "empty" }, /** @type {Error} */ (error).message));
      return;
    }
    if (closed || mine !== asked) return;
    if (answer.svg === null) {
      fill(sheet, h("p", { class: "empty" }, answer.why));
      return;
    }
    const first = boxes.size === 0 && !grouped;
    markup(sheet, answer.svg);
    grouped = answer.grouped;
    say(note, grouped ? `${many(answer.nodes, "node")}, those of a layer as one box; the table has each` : "");
    boxes = new Map();
    for (const box of /** @type {NodeListOf<SVGGElement>} */ (sheet.querySelectorAll("g[data-node]"))) {
      const path = (flow ? `${flow}/` : "") + box.dataset.node;
      boxes.set(path, box);
      box.setAttribute("role", "button");
      box.setAttribute("tabindex", "0");
      box.dataset.path = path;
    }
    const svg = sheet.querySelector("svg");
    width = Number(svg?.getAttribute("width")) || 1;
    height = Number(svg?.getAttribute("height")) || 1;
    waiting = new Set(boxes.keys());
    crumbs();
    mark();
    paint();
    if (first) { moved = false; requestAnimationFrame(fit); }
  }

  function crumbs() {
    const parts = flow ? flow.split("/") : [];
    const link = (/** @type {string} */ path, /** @type {string} */ words) =>
      h("button", { type: "button", class: "crumb", onclick: () => open(path) }, words);
    fill(way, parts.length ? [link("", "flow"), parts.map((each, index) => [" / ", index === parts.length - 1 ? h("b", null, each) : link(parts.slice(0, index + 1).join("/"), each)])] : null);
  }

  function open(/** @type {string} */ path) {
    flow = path;
    boxes = new Map();
    grouped = false;
    load();
  }

  /** Show which node is chosen, and let a subflow be opened that is. */
  function mark() {
    const chosen = new URLSearchParams(location.hash.split("?")[1] ?? "").get("node") ?? "";
    for (const [path, box] of boxes) box.classList.toggle("chosen", path === chosen);
    inner.hidden = boxes.get(chosen)?.dataset.kind !== "subflow";
    inner.value = chosen;
    say(inner, `Open ${chosen.split("/").pop()}`);
  }

  const paint = oncePerFrame(() => {
    for (const path of waiting) {
      const box = boxes.get(path), node = session.nodes.get(path);
      if (box) paintBox(box, path, node);
    }
    waiting.clear();
  });

  function paintBox(/** @type {SVGGElement} */ box, /** @type {string} */ path, /** @type {any} */ node) {
    const state = node?.state ?? (session.summary?.over ? "skipped" : "waiting");
    const progress = node && OPEN.has(state) ? Math.round(node.progress) : null;
    const kind = box.dataset.kind === "task" ? "" : box.dataset.kind;
    const failed = node?.ended.failed ? `${node.ended.failed} failed` : "";
    const parts = [state, node?.jobs > 1 ? many(node.jobs, "job") : "", state === "failed" ? "" : failed,
      progress === null || progress === 0 ? "" : `${progress} %`].filter(Boolean);
    const words = [kind, ...parts].filter(Boolean).join(" · ");
    const look = `${state} ${words} ${progress}`;
    if (box.dataset.look === look) return;
    box.dataset.look = look;
    box.dataset.state = state;
    const colour = `var(${COLOURS[state] ?? "--ab-value"})`;
    box.querySelector("circle")?.setAttribute("fill", colour);
    const sub = box.querySelector("text.ab-sub");
    if (sub) say(sub, fitting(words, parts.join(" · "), Number(box.querySelector("rect.ab-box")?.getAttribute("width"))));
    const title = box.querySelector("title");
    if (title) say(title, `${path}\n${words}`);
    box.setAttribute("aria-label", `${path}, ${words}`);
    const frame = /** @type {SVGRectElement} */ (box.querySelector("rect.ab-box"));
    let bar = box.querySelector("rect:not(.ab-box)");
    if (progress === null) {
      bar?.remove();
      return;
    }
    const number = (/** @type {string} */ name) => Number(frame.getAttribute(name));
    if (!bar) {
      bar = box.appendChild(document.createElementNS(SVG, "rect"));
      bar.setAttribute("height", "2");
      bar.setAttribute("x", String(number("x") + 6));
      bar.setAttribute("y", String(number("y") + number("height") - 5));
    }
    bar.setAttribute("width", String(Math.max((number("width") - 12) * progress / 100, 0)));
    bar.setAttribute("fill", colour);
  }

  // ------------------------------------------------------------------ moving it

  function move() { moved = true; place(); }
  function place() { sheet.style.transform = `translate(${x}px,${y}px) scale(${scale})`; }

  function fit() {
    const room = view.getBoundingClientRect();
    if (!room.width) return;
    scale = Math.min((room.width - 24) / width, (room.height - 24) / height, 1.15);
    // What would be too small to read begins at its left; one pans.
    if (scale < 0.35) scale = Math.min(Math.max(scale, 0.35), 1);
    x = width * scale < room.width ? (room.width - width * scale) / 2 : 12;
    y = height * scale < room.height ? (room.height - height * scale) / 2 : 12;
    place();
  }

  function zoom(/** @type {number} */ by, /** @type {number} */ px = view.clientWidth / 2, /** @type {number} */ py = view.clientHeight / 2) {
    const to = Math.min(Math.max(scale * by, 0.05), 4);
    x = px - (px - x) * to / scale;
    y = py - (py - y) * to / scale;
    scale = to;
    move();
  }

  view.addEventListener("wheel", (event) => {
    event.preventDefault();
    const room = view.getBoundingClientRect();
    if (event.ctrlKey || event.metaKey || !event.shiftKey && event.deltaX === 0) zoom(Math.exp(-event.deltaY / 500), event.clientX - room.left, event.clientY - room.top);
    else { x -= event.deltaX || event.deltaY; y -= event.shiftKey ? 0 : event.deltaY; move(); }
  }, { passive: false });

  /** @type {Map<number, PointerEvent>} */
  const pointers = new Map();
  let dragged = false;
  view.addEventListener("pointerdown", (event) => { pointers.set(event.pointerId, event); dragged = false; });
  view.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
    if (!dragged && Math.hypot(dx, dy) < 4) return;
    if (!dragged) { dragged = true; view.setPointerCapture(event.pointerId); }
    if (pointers.size === 2) {
      const other = [...pointers.values()].find((each) => each.pointerId !== event.pointerId);
      if (other) {
        const far = (/** @type {PointerEvent} */ p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY) || 1;
        const room = view.getBoundingClientRect();
        zoom(far(event) / far(before), (event.clientX + other.clientX) / 2 - room.left, (event.clientY + other.clientY) / 2 - room.top);
      }
    } else { x += dx; y += dy; move(); }
    pointers.set(event.pointerId, event);
  });
  for (const name of ["pointerup", "pointercancel"]) view.addEventListener(name, (event) => pointers.delete(/** @type {PointerEvent} */ (event).pointerId));

  function choose(/** @type {Event} */ event, /** @type {boolean} */ into) {
    const box = /** @type {SVGGElement | null} */ (/** @type {Element} */ (event.target).closest("g[data-node]"));
    if (!box || dragged) return;
    const path = /** @type {string} */ (box.dataset.path);
    if (into && box.dataset.kind === "subflow") open(path);
    else session.select(path);
  }
  view.addEventListener("click", (event) => choose(event, event.detail > 1));
  view.addEventListener("keydown", (event) => {
    const moves = /** @type {Record<string, [number, number]>} */ ({ ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] });
    if (event.key in moves) { x += moves[event.key][0]; y += moves[event.key][1]; move(); }
    else if (event.key === "+") zoom(1.25);
    else if (event.key === "-") zoom(0.8);
    else if (event.key === "Enter" || event.key === " ") { dragged = false; choose(event, event.shiftKey); }
    else return;
    event.preventDefault();
  });

  const room = new ResizeObserver(() => { if (!moved && boxes.size) fit(); });
  room.observe(view);
  drawnAt = session.at;
  load();
  return {
    element,
    update(changed) {
      mark();
      if (drawnAt !== session.at) { drawnAt = session.at; load(); return; }
      if (grouped) {
        timer ||= setTimeout(() => { timer = 0; if (!closed) load(); }, PAUSE);
        return;
      }
      if (changed === null) for (const path of boxes.keys()) waiting.add(path);
      else for (const path of changed) waiting.add(path);
      paint();
    },
    close() { closed = true; clearTimeout(timer); room.disconnect(); },
  };
}

/** Of words that stand in a box, those that have room: what is drawn otherwise, too, goes first. */
function fitting(/** @type {string} */ words, /** @type {string} */ fewer, /** @type {number} */ width) {
  const room = Math.floor((width - BESIDE) / LETTER);
  if (words.length <= room) return words;
  return fewer.length <= room ? fewer : `${fewer.slice(0, Math.max(room - 1, 1))}…`;
}
