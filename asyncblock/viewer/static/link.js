// The one websocket of this tab. It comes back by itself, and asks again for what is shown.

/** @typedef {(message: any) => void} Listener */

const PAUSES = [300, 1000, 2000, 5000];

/** @type {WebSocket | null} */
let socket = null;
/** @type {object | null} */
let wanted = null;
/** @type {Listener} */
let listener = () => {};
let failures = 0;
/** @type {(words: string) => void} */
let tell = () => {};

/**
 * Begin. `say` shows a word on how the connection is.
 * @param {(words: string) => void} say
 */
export function begin(say) {
  tell = say;
  connect();
  document.addEventListener("visibilitychange", () => {
    // A hidden tab gets no updates.
    if (document.hidden) socket?.close();
    else if (!socket) connect();
  });
}

/**
 * Say what this tab shows; what is pushed of it goes to the listener.
 * @param {object} what
 * @param {Listener} to
 */
export function show(what, to) {
  wanted = what;
  listener = to;
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(what));
}

function connect() {
  const place = new URL("tab", document.baseURI.split("#")[0]);
  place.protocol = place.protocol === "https:" ? "wss:" : "ws:";
  const made = (socket = new WebSocket(place));
  made.onopen = () => {
    failures = 0;
    tell("");
    if (wanted) made.send(JSON.stringify(wanted));
  };
  made.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if ("away" in message) tell(message.away ? "The mainframe is away; this goes on when it is back." : "");
    listener(message);
  };
  made.onclose = () => {
    if (socket !== made) return;
    socket = null;
    if (document.hidden) return;
    tell("Not connected to the page's server; trying again…");
    setTimeout(() => { if (!socket && !document.hidden) connect(); }, PAUSES[Math.min(failures++, PAUSES.length - 1)]);
  };
}
