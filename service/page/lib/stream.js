// One live stream per browser: the tab that holds a lock reads /v1/events and passes each event to the others.
// Without locks (plain http on another host) each tab reads for itself. EventSource can send no key, so it is fetch.
import { createParser } from "eventsource-parser";

import { ApiError, get, send } from "./api.js";
import { idOf, key } from "./key.js";
import { Line, lastIdFor, union } from "./stream_state.js";
import { batch, effect, signal } from "./ui.js";

/** `{kind: "connecting" | "live" | "cut" | "refused", since (ms), why}`. */
export const line = signal({ kind: "connecting", since: null });
/** Grows each time that lists must be read again: at the first connection, and when changes are lost. */
export const epoch = signal(0);
/** The jobs whose logs are in the stream now. */
export const followed = signal([]);

const listeners = new Map(); // kind of event → Set of functions
const tab = crypto.getRandomValues(new Uint32Array(2)).join("-");
let hub = null;

/** Calls `told(data)` for each event of a kind: `job`, `delivery`, `log`. Returns what ends it. */
export function on(kind, told) {
  if (!listeners.has(kind)) listeners.set(kind, new Set());
  listeners.get(kind).add(told);
  return () => listeners.get(kind).delete(told);
}

/** Wishes of one moment make one connection: ms. */
const SETTLE = 100;
/** The API's word for a job that is not there: a 404 of a proxy says nothing of jobs. */
const GONE = "fine_tune_not_found";
const wished = new Map(); // job id → how many parts of this tab want its log

/** Adds a job's log to the stream while somebody here wants it. Returns what ends it. */
export function follow(id) {
  wished.set(id, (wished.get(id) ?? 0) + 1);
  hub?.wish();
  return () => {
    const left = wished.get(id) - 1;
    if (left) wished.set(id, left);
    else wished.delete(id);
    hub?.wish();
  };
}

/** Follows the key: each key has a stream of its own. */
export function start() {
  effect(() => {
    hub?.close();
    hub = key.value ? new Hub(key.value) : null;
  });
  addEventListener("pagehide", () => hub?.leave());
  addEventListener("pageshow", (event) => event.persisted && hub?.wish());
  addEventListener("online", () => hub?.retry());
  document.addEventListener("visibilitychange", () => hub?.wish());
}

/** Tries to connect at once. */
export function retry() {
  hub?.retry();
}

class Hub {
  constructor(text) {
    this.name = `tunehook:${new URL(".", document.baseURI).pathname}:${idOf(text)}`;
    this.wishes = new Map();
    this.absent = new Set();
    this.line = new Line();
    this.leads = false;
    this.stopped = new AbortController();
    line.value = this.line.state;
    followed.value = [];
    const shared = "locks" in navigator && "BroadcastChannel" in globalThis;
    this.channel = shared ? new BroadcastChannel(this.name) : null;
    if (this.channel) {
      this.channel.onmessage = ({ data }) => this.heard(data);
      this.line.alive(Date.now());
      this.watch = setInterval(() => this.takeOver(), 5000);
      this.queue({ signal: this.stopped.signal });
      this.wish();
    } else this.lead();
  }

  // ---- between tabs

  say(message) {
    this.channel?.postMessage({ from: tab, ...message });
  }

  /** Leads once the tab that leads is closed; with `steal`, at once. */
  queue(options) {
    navigator.locks.request(this.name, options, () => this.lead()).catch(() => this.follow());
  }

  /** A browser freezes hidden tabs, the one that leads too: a tab that is looked at takes its place. */
  takeOver() {
    if (!this.leads && !document.hidden && this.line.isSilent(Date.now())) this.queue({ steal: true });
  }

  /** This tab was frozen, and another leads now. */
  follow() {
    if (this.stopped.signal.aborted) return;
    this.leads = false;
    this.end?.();
    this.wake?.();
    this.line.alive(Date.now());
    this.queue({ signal: this.stopped.signal });
    this.wish();
  }

  /** Says which logs this tab wants: none while it is hidden. */
  wish() {
    const jobs = document.hidden ? [] : [...wished.keys()];
    this.heard({ from: tab, type: "wish", jobs });
    this.say({ type: "wish", jobs });
  }

  leave() {
    this.say({ type: "wish", jobs: [] });
  }

  heard(message) {
    if (!["wish", "retry"].includes(message.type) && !this.leads) this.line.alive(Date.now());
    if (message.type === "wish" && this.leads) {
      this.wishes.set(message.from, { jobs: message.jobs, at: performance.now() });
      if (message.from !== tab) this.tellState();
      this.changed?.();
    } else if (message.type === "who" && !this.leads) this.wish();
    else if (message.type === "retry" && this.leads) this.wake?.();
    else if (message.type === "events" && !this.leads) this.deliver(message.events, message.lastId);
    else if (message.type === "state" && !this.leads) this.take(message);
  }

  take({ state, jobs, epoch: wanted, lastId }) {
    batch(() => {
      line.value = state;
      followed.value = jobs;
      this.line.lastId = lastId || this.line.lastId;
      if (wanted) epoch.value += 1;
    });
  }

  tellState(again = false) {
    const told = { type: "state", state: this.line.state, jobs: followed.value, epoch: again, lastId: this.line.lastId };
    this.say(told);
  }

  deliver(events, lastId) {
    this.line.lastId = lastId;
    batch(() => {
      for (const { kind, data } of events) for (const told of listeners.get(kind) ?? []) told(data);
    });
  }

  retry() {
    if (this.leads) this.wake?.();
    else this.say({ type: "retry" });
  }

  close() {
    this.say({ type: "wish", jobs: [] });
    this.stopped.abort();
    this.wake?.();
    clearInterval(this.watch);
    this.channel?.close();
  }

  // ---- the tab that reads

  async lead() {
    this.leads = true;
    this.say({ type: "who" });
    this.wish();
    await this.sleep(SETTLE); // the view says what it follows
    while (this.leads && !this.stopped.signal.aborted) {
      const jobs = union(this.wishes, this.absent);
      const wait = await this.connect(jobs);
      if (wait) await this.sleep(wait);
    }
  }

  show(state, jobs, again = false) {
    batch(() => {
      line.value = state;
      followed.value = jobs;
      if (again) epoch.value += 1;
    });
    this.tellState(again);
  }

  /** Reads one connection to its end. Returns the pause before the next, in ms. */
  async connect(jobs) {
    const ended = new AbortController();
    const stop = () => ended.abort();
    this.end = stop;
    this.stopped.signal.addEventListener("abort", stop);
    const differs = () => union(this.wishes, this.absent).join() !== jobs.join();
    this.changed = () => differs() && setTimeout(() => differs() && stop(), SETTLE);
    const watch = setInterval(() => this.line.isSilent(Date.now()) && stop(), 5000);
    try {
      const lastId = lastIdFor(this.line.lastId, jobs);
      const answer = await send("GET", "/events", {
        query: { jobs: jobs.join(",") },
        headers: { accept: "text/event-stream", ...(lastId ? { "last-event-id": lastId } : {}) },
        signal: ended.signal,
      });
      await this.read(answer.body, jobs, Boolean(lastId));
      return this.lost();
    } catch (error) {
      if (this.stopped.signal.aborted || !this.leads) return 0;
      if (ended.signal.aborted && !this.line.isSilent(Date.now())) return 0; // other jobs are wanted
      return this.lost(error, jobs);
    } finally {
      clearInterval(watch);
      this.stopped.signal.removeEventListener("abort", stop);
      ended.abort();
      this.changed = null;
    }
  }

  async lost(error, jobs = []) {
    if (error instanceof ApiError && error.code === GONE && jobs.length) {
      await this.findAbsent(jobs);
      return SETTLE;
    }
    const wait = this.line.closed(Date.now());
    if (error instanceof ApiError && error.status && !(error.isAway && !error.code)) {
      this.line.state = { kind: "refused", since: this.line.state.since, why: error.message };
      this.show(this.line.state, []);
      return Math.max(wait, 5000);
    }
    this.show(this.line.state, []);
    return wait;
  }

  /** A log of a job that is gone refuses the whole stream: finds out which. */
  async findAbsent(jobs) {
    for (const id of jobs) {
      await get(`/fine_tuning/jobs/${id}`).catch((error) => error.code === GONE && this.absent.add(id));
    }
  }

  async read(body, jobs, resumed) {
    let events = [];
    const parser = createParser({
      onEvent: ({ id, event, data }) => {
        if (id !== undefined) this.line.lastId = id;
        if (event === "ready" || event === "reset") {
          this.line.opened(Date.now());
          this.show(this.line.state, jobs, event === "reset" || !resumed);
        } else events.push({ kind: event, data: JSON.parse(data) });
      },
    });
    const decoder = new TextDecoder();
    const reader = body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.line.alive(Date.now());
      parser.feed(decoder.decode(value, { stream: true }));
      if (events.length) {
        this.deliver(events, this.line.lastId);
        this.say({ type: "events", events, lastId: this.line.lastId });
        events = [];
      } else this.say({ type: "alive" });
    }
  }

  sleep(wait) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.wake = () => { clearTimeout(timer); resolve(); };
    });
  }
}
