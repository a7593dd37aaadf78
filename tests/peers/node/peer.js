// A peer of asyncblock in JavaScript: an executor for blocks in "nodejs", and a client. Written from `asyncblock wire`
// and its reference alone; it needs `ws`, or a Node.js that has WebSocket itself.
//
//   node peer.js executor URL DIR HASH NAME      run the blocks of a package until SIGTERM
//   node peer.js start URL PLAN SESSION INPUTS   start a plan (JSON file), print its outputs
"use strict";
const [crypto, fs, path] = ["crypto", "fs", "path"].map((name) => require(`node:${name}`));

const CHUNK = 64 * 1024; // values with more bytes travel as bodies, in chunks of as many
const random = () => crypto.randomBytes(16).toString("hex");
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const log = (...words) => console.error("peer:", ...words);

function open(url, token) {
  const headers = { Authorization: `Bearer ${token}` };
  try {
    return new (require("ws"))(url, ["asyncblock.v1"], { headers, perMessageDeflate: false });
  } catch (error) {
    if (error.code !== "MODULE_NOT_FOUND") throw error;
    return new WebSocket(url, { protocols: ["asyncblock.v1"], headers });
  }
}

// One link: what must outlive its connections, and its present connection.
class Link {
  constructor(url, token, executor = null) {
    Object.assign(this, { url, token, executor, id: `node-${random()}`, secret: random(), boot: random() });
    Object.assign(this, { generation: 0, resume: null, epoch: null, nextChannel: 1, seq: 0, stored: 0 });
    this.unacknowledged = new Map(); // batches by number: {text, runs, bodies}
    this.waiting = []; // records that aren't in a batch yet: {channel, line, bodies}
    this.jobs = new Map(); // by channel
    this.bodies = new Map(); // by number: {data, sha256, kept}
    [this.requests, this.reads, this.fetches] = [new Map(), new Map(), new Map()]; // by id: {line, resolve, reject}
    Object.assign(this, { lastBody: 0, lastId: 0, over: false, welcome: null, wake: [] });
    this.done = this.live();
  }
  async live() {
    let pause = 100;
    while (!this.over) {
      const retryAfter = await this.connection();
      if (this.welcome) pause = 100;
      this.welcome = null;
      if (!this.over) await sleep(Math.random() * pause + 1000 * (retryAfter || 0));
      pause = Math.min(pause * 2, 20000);
    }
  }
  connection() {
    return new Promise((resolve) => {
      const socket = (this.socket = open(this.url, this.token));
      socket.binaryType = "arraybuffer";
      let [heard, pulse] = [Date.now(), null];
      this.retryAfter = 0;
      socket.onopen = () => this.hello();
      socket.onerror = () => {}; // a close follows
      socket.onclose = () => (clearInterval(pulse), resolve(this.retryAfter));
      socket.onmessage = ({ data }) => {
        heard = Date.now();
        if (typeof data !== "string") return this.chunk(Buffer.from(data));
        const lines = data.split("\n");
        while (lines.length) {
          const message = JSON.parse(lines.shift());
          const rows = message.op === "page" ? lines.splice(0, message.lines) : [];
          this.handle(message, rows);
          if (message.op !== "welcome") continue;
          const beat = message.heartbeat * 1000;
          pulse = setInterval(() => (Date.now() - heard > 3 * beat ? socket.close() : this.say({ op: "ping" })), beat);
        }
      };
    });
  }
  hello() {
    const channels = [...this.jobs].map(([channel, job]) => [channel, job.job_id, job.attempt]);
    const { id: link, secret, boot, resume: token, epoch, executor, nextChannel: next_channel } = this;
    const greeting = { version: 1, link, secret, boot, token, epoch, executor, channels, next_channel };
    this.socket.send(JSON.stringify({ op: "hello", generation: ++this.generation, agent: "node-peer", ...greeting }));
  }
  // Without a connection it is dropped: what matters is said again after the Welcome.
  say(message) {
    if (this.welcome) this.socket.send(JSON.stringify(message));
  }
  handle(message, rows) {
    const job = message.job_id && [...this.jobs.values()].find((each) => each.job_id === message.job_id);
    const wrong = message.error && { message: message.error };
    switch (message.op) {
      case "welcome": return this.greeted(message);
      case "ack": return this.acknowledged(message.seq);
      case "ping": return this.acknowledged(message.stored);
      case "kept":
        if (this.bodies.has(message.n)) this.bodies.get(message.n).kept = true;
        return this.changed();
      case "dispatch": return this.jobs.has(message.channel) ? null : this.run(message);
      case "cancel": return job && job.attempt === message.attempt ? job.stop.abort(message.reason) : null;
      case "close": // not counted as open: stop it, send nothing for it
        if (this.jobs.has(message.channel)) this.jobs.get(message.channel).stop.abort(message.reason);
        this.jobs.delete(message.channel);
        this.waiting = this.waiting.filter((each) => each.channel !== message.channel);
        return this.changed();
      case "refused": return log(`record ${message.index} of channel ${message.channel}: ${message.reason}`);
      case "reply": return this.answered(this.requests, message.id, message.error, message.result);
      case "page": return this.answered(this.reads, message.id, wrong, { ...message, rows });
      case "fetched": return this.answered(this.fetches, message.id, wrong);
      case "bye":
        this.retryAfter = message.retry_after;
        if (message.stop) this.end(`${message.code}: ${message.reason}`);
        return this.socket.close();
    }
  }
  greeted(welcome) {
    const other = this.epoch !== null && this.epoch !== welcome.epoch;
    if (!welcome.resumed || other) return this.end("the mainframe can't continue this link");
    Object.assign(this, { resume: welcome.token, epoch: welcome.epoch });
    this.acknowledged(welcome.stored);
    // What was sent and isn't stored goes first, byte for byte; only then anything new.
    for (const [, batch] of this.unacknowledged) this.socket.send(batch.text);
    this.welcome = welcome;
    for (const [n, body] of this.bodies) if (!body.kept) this.sendBody(n, welcome.bodies[n] || 0);
    for (const asked of [this.requests, this.reads]) for (const [, { line }] of asked) this.say(line);
    for (const [, fetch] of this.fetches) this.say({ ...fetch.line, offset: fetch.have, size: fetch.size - fetch.have });
    this.changed();
  }
  end(message) {
    log("the link is over:", message);
    this.over = true;
    for (const asked of [this.requests, this.reads, this.fetches])
      for (const id of [...asked.keys()]) this.answered(asked, id, { message });
    this.socket.close();
  }
  changed() {
    for (const wake of this.wake.splice(0)) wake();
    if (this.welcome && this.waiting.length) this.flush();
  }
  async until(there) {
    while (!there()) await new Promise((resolve) => this.wake.push(resolve));
  }
  // records upwards
  record(channel, type, fields, bodies = []) {
    const line = JSON.stringify({ type, t: Date.now(), ...fields });
    this.waiting.push({ channel, line, bodies });
    const job = this.jobs.get(channel);
    if (job) job.inFlight += Buffer.byteLength(line);
    if (this.welcome && this.waiting.length === 1) setImmediate(() => this.changed());
  }
  flush() {
    const [runs, bodies, seq] = [[], [], ++this.seq];
    for (let size = 0; this.waiting.length && size < CHUNK; ) {
      const next = this.waiting.shift();
      if (!runs.length || runs.at(-1).channel !== next.channel) runs.push({ channel: next.channel, lines: [] });
      runs.at(-1).lines.push(next.line);
      bodies.push(...next.bodies);
      size += next.line.length;
    }
    const header = JSON.stringify({ op: "batch", seq, channels: runs.map((run) => run.channel) });
    const text = [header, ...runs.map((run) => `[${run.lines.join(",")}]`)].join("\n");
    this.unacknowledged.set(seq, { text, runs, bodies });
    this.socket.send(text);
    if (this.waiting.length) this.flush();
  }
  acknowledged(seq) {
    for (const [number, batch] of this.unacknowledged) {
      if (number > seq) break;
      this.unacknowledged.delete(number);
      for (const n of batch.bodies) this.bodies.delete(n);
      for (const { channel, lines } of batch.runs) {
        const job = this.jobs.get(channel);
        if (job) job.inFlight -= lines.reduce((sum, line) => sum + Buffer.byteLength(line), 0);
        if (job && job.finished && job.inFlight <= 0) this.jobs.delete(channel);
      }
    }
    this.changed();
  }
  // A value for a record: itself, or a reference to the body that holds it.
  async value(given) {
    const raw = Buffer.isBuffer(given);
    const data = raw ? given : Buffer.from(JSON.stringify(given === undefined ? null : given));
    if (!raw && data.length <= CHUNK) return { value: given };
    const n = ++this.lastBody;
    const sha256 = crypto.createHash("sha256").update(data).digest("hex");
    this.bodies.set(n, { data, sha256, kept: false });
    if (this.welcome) this.sendBody(n, 0);
    await this.until(() => this.over || this.bodies.get(n).kept);
    return { n, body: { n, length: data.length, sha256, encoding: raw ? "raw" : "json" } };
  }
  sendBody(n, offset) {
    const { data, sha256 } = this.bodies.get(n);
    for (let at = offset; at < data.length; at += CHUNK) {
      const head = Buffer.alloc(17, 1);
      head.writeBigUInt64BE(BigInt(n), 1);
      head.writeBigUInt64BE(BigInt(at), 9);
      this.socket.send(Buffer.concat([head, data.subarray(at, at + CHUNK)]));
    }
    this.socket.send(JSON.stringify({ op: "whole", n, length: data.length, sha256 }));
  }
  // jobs
  async run(dispatch) {
    const { channel, job_id, attempt, block } = dispatch;
    const job = { job_id, attempt, stop: new AbortController(), inFlight: 0, finished: false };
    this.jobs.set(channel, job);
    this.nextChannel = Math.max(this.nextChannel, channel + 1);
    this.record(channel, "JobStarted", {});
    const context = {
      signal: job.stop.signal,
      log: (text) => this.record(channel, "BlockLog", { log: String(text), stdio: "stdout" }),
      output: async (handle, given) => {
        const { value, n, body } = await this.value(given);
        await this.until(() => this.over || job.inFlight < ((this.welcome && this.welcome.windows.data) || 2 << 20));
        this.record(channel, "BlockOutput", body ? { handle, body } : { handle, output: value }, body ? [n] : []);
      },
    };
    try {
      const inputs = { ...dispatch.inputs };
      for (const [handle, ref] of Object.entries(dispatch.bodies)) inputs[handle] = await this.fetch(ref);
      const made = require(path.join(this.directory, block.entry))[block.function];
      const result = (await made(inputs, context)) || {};
      for (const [handle, given] of Object.entries(result)) await context.output(handle, given);
      this.record(channel, "BlockFinished", {});
    } catch (error) {
      const cancelled = job.stop.signal.aborted;
      this.record(channel, "BlockFinished", cancelled ? { cancelled } : { error: String(error), traceback: error.stack });
    }
    job.finished = true;
  }
  // questions
  answered(asked, id, error, result) {
    const waiting = asked.get(id);
    asked.delete(id);
    if (waiting) error ? waiting.reject(new Error(error.message)) : waiting.resolve(result);
  }
  ask(asked, id, line, more = {}) {
    return new Promise((resolve, reject) => {
      asked.set(id, { line, resolve, reject, ...more });
      this.say(line);
    });
  }
  read(session_id, offset) {
    const id = ++this.lastId;
    return this.ask(this.reads, id, { op: "read", id, session_id, offset });
  }
  async fetch({ link, n, length, encoding }) {
    const id = ++this.lastId;
    const line = { op: "fetch", id, link, n, offset: 0, size: length };
    const data = Buffer.alloc(length);
    await this.ask(this.fetches, id, line, { data, size: length, have: 0 });
    return encoding === "raw" ? data : JSON.parse(data.toString());
  }
  chunk(message) {
    const [id, offset] = [Number(message.readBigUInt64BE(1)), Number(message.readBigUInt64BE(9))];
    const fetch = this.fetches.get(id);
    if (fetch) fetch.have = offset + message.copy(fetch.data, offset, 17);
  }
  async close() {
    this.over = true;
    this.say({ op: "bye", code: "closed", reason: "done", stop: true });
    this.socket.close();
    await this.done;
  }
}

async function start(link, plan, session_id, inputs) {
  const params = { session_id, plan, inputs };
  await link.ask(link.requests, session_id, { op: "request", id: session_id, method: "start", params });
  for (let offset = 0; ; ) {
    const page = await link.read(session_id, offset);
    const end = page.rows.map((row) => JSON.parse(row)).find((row) => row.type === "SessionFinished");
    if (end) {
      for (const [handle, ref] of Object.entries(end.bodies)) end.outputs[handle] = await link.fetch(ref);
      return { state: end.state, error: end.error, outputs: end.outputs };
    }
    offset = page.next;
  }
}

async function main([command, url, ...rest]) {
  const token = process.env.ASYNCBLOCK_TOKEN;
  if (command === "executor") {
    const [directory, hash, name] = rest;
    const link = new Link(url, token, { languages: ["nodejs"], packages: { [hash]: name }, slots: { async: 8 } });
    link.directory = path.resolve(directory);
    process.on("SIGTERM", () => link.close());
    await link.until(() => link.over || link.welcome);
    console.log("ready");
    await link.done;
    console.log(`left after ${link.generation} connections`);
  } else {
    const [plan, session, inputs] = rest;
    const link = new Link(url, token);
    console.log(JSON.stringify(await start(link, JSON.parse(fs.readFileSync(plan)), session, JSON.parse(inputs || "{}"))));
    await link.close();
  }
}

main(process.argv.slice(2)).catch((error) => {
  log(error.stack);
  process.exitCode = 1;
});
