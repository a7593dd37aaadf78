// Words for times, sizes and counts.

/** @param {number} ms */
export function duration(ms) {
  if (ms < 1000) return `${Math.max(Math.round(ms), 0)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return seconds < 10 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds) % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** How long after the beginning something was. @param {number} ms */
export function clock(ms) {
  const seconds = Math.max(ms, 0) / 1000;
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60);
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  if (hours) return `${hours}:${two(minutes % 60)}:${two(Math.floor(seconds) % 60)}`;
  return minutes ? `${minutes}:${two(Math.floor(seconds) % 60)}` : `${seconds.toFixed(3)} s`;
}

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** @param {number} count @param {string} one @param {string} [several] */
export const many = (count, one, several = one + "s") => `${count.toLocaleString("en")} ${count === 1 ? one : several}`;

/** @param {number} ms */
export function date(ms) {
  const when = new Date(ms);
  const today = new Date().toDateString() === when.toDateString();
  const time = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  return today ? time : `${when.toLocaleDateString([], { year: "numeric", month: "short", day: "numeric" })} ${time}`;
}

/** What time goes into, in the order of colours. */
export const PHASES = {
  value: "waiting for a value", queue: "waiting for an executor", start: "starting up", work: "working",
  pause: "pause before a retry",
};
