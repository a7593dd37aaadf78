// Questions to the page's own server.

/** What the server says instead of an answer. */
export class Problem extends Error {
  /** @param {string} words @param {number} status */
  constructor(words, status) {
    super(words);
    this.status = status;
  }
}

/**
 * Ask; raises `Problem` with words for people.
 * @param {string} path
 * @param {Record<string, string | number | null | undefined>} [query]
 * @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
export async function ask(path, query = {}, options = {}) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") given.set(name, String(value));
  }
  const words = given.size ? `?${given}` : "";
  let answer;
  try {
    answer = await fetch(`${path}${words}`, { ...options, headers: { accept: "application/json" } });
  } catch (error) {
    throw new Problem("The page's server doesn't answer: was the command ended?", 0);
  }
  if (answer.status === 401) throw new Problem("You aren't logged in any more: open the address that the command printed.", 401);
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(said.error ?? `The server answered ${answer.status}.`, answer.status);
  return said;
}

/** The address of a session's part. @param {string} id @param {string} [rest] */
export const of = (id, rest = "") => `api/sessions/${encodeURIComponent(id)}${rest}`;
