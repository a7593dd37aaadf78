// What parts of a session share: whether a change concerns them, and how often they ask.

/** Whether what changed matters to a node, or to one in it. @param {Set<string> | null} changed @param {string | null} node */
export function concerns(changed, node) {
  if (changed === null || node === null) return true;
  for (const each of changed) if (each === node || each.startsWith(`${node}/`)) return true;
  return false;
}

/**
 * Call something when it may be time again: at once, then no sooner than some time after its last end.
 * @param {number} ms
 * @param {() => Promise<void>} act
 */
export function paced(ms, act) {
  let running = false, again = false, closed = false;
  async function run() {
    if (closed) return;
    if (running) { again = true; return; }
    running = true;
    again = false;
    await act();
    setTimeout(() => { running = false; if (again) run(); }, ms);
  }
  return { run, close: () => { closed = true; } };
}
