// Makes elements. Their texts are never parsed as markup: only `markup` takes that, from this page's own server.

/** @typedef {Node | string | number | null | undefined | false | Child[]} Child */

const policy = globalThis.trustedTypes?.createPolicy("asyncblock", { createHTML: (/** @type {string} */ html) => html })
  ?? { createHTML: (/** @type {string} */ html) => html };

/**
 * Make an element. An attribute that begins with "on" is a listener; null and false leave one out.
 * @param {string} name
 * @param {Record<string, any> | null} [attributes]
 * @param {...Child} children
 * @returns {HTMLElement}
 */
export function h(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...flat(children));
  return made;
}

/** @param {Child[]} children @returns {(Node | string)[]} */
function flat(children) {
  return children.flat(9).filter((each) => each !== null && each !== undefined && each !== false)
    .map((each) => (each instanceof Node ? each : String(each)));
}

/**
 * Put markup of the server's into an element. In it every text of a block is escaped, and the page's policy runs no
 * script that would stand in it.
 * @param {Element} place
 * @param {string} html
 */
export function markup(place, html) {
  place.innerHTML = /** @type {any} */ (policy.createHTML(html));
}

/** A state as a coloured word. @param {string} state */
export const pill = (state) => h("span", { class: `pill s-${state}` }, state);

/** Replace what is in an element. @param {Element} place @param {...Child} children */
export function fill(place, ...children) {
  place.replaceChildren(...flat(children));
}

/** Set a text if it is another one: nothing is laid out again for nothing. @param {Element} place @param {string} text */
export function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

/**
 * Copy a text, also where the page has no secure address, which browsers give no clipboard; tell whether they let it.
 * @param {string} text
 */
export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = /** @type {HTMLTextAreaElement} */ (h("textarea", { class: "unseen", "aria-hidden": "true" }));
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus();
    return done;
  }
}

/**
 * Call a function when the browser draws next, once for any number of calls.
 * @param {() => void} draw
 */
export function oncePerFrame(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  };
}

/**
 * Call a function some time after the last call.
 * @template {any[]} A
 * @param {number} ms
 * @param {(...given: A) => void} act
 */
export function later(ms, act) {
  let timer = 0;
  return (/** @type {A} */ ...given) => { clearTimeout(timer); timer = setTimeout(() => act(...given), ms); };
}
