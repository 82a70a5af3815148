// The log of a job: the newest hundred, each new one as it comes, older ones when asked for.
import { get, send } from "../../lib/api.js";
import { useLoaded, useLog } from "../../lib/hooks.js";
import { html, useEffect, useRef, useState } from "../../lib/ui.js";
import { createParser } from "eventsource-parser";
import { ErrorBox, Loading, Time } from "../../parts/basic.js";

/** So many are kept while new ones come; older ones are read again when asked for. */
const KEPT = 500;
const MARKS = { info: "", warn: "!", error: "✕" };

/** Returns the entries newest first without repeats. Pure. */
export function merged(entries, more) {
  const known = new Set(entries.map(({ id }) => id));
  const all = [...more.filter(({ id }) => !known.has(id)), ...entries];
  return all.map((entry, index) => ({ entry, index })).sort((one, other) => place(other.entry) - place(one.entry) || one.index - other.index).map(({ entry }) => entry);
}

/** Returns `{entries, more}` with the newest page. Pure. Behind a gap nothing is kept: `older` reads it again. */
export function withPage({ entries, more }, page) {
  if (entries.some((one) => page.data.some((other) => other.id === one.id))) return { entries: merged(entries, page.data), more };
  const newest = page.data.length ? place(page.data[0]) : -Infinity;
  const later = entries.filter((one) => place(one) > newest); // came by the stream while the page was on its way
  return { entries: merged(page.data, later), more: page.has_more };
}

/** `ftevent-<ms>-<n>` is a place in the log. */
function place({ id, created_at: at }) {
  const found = /^ftevent-(\d+)-(\d+)$/.exec(id);
  return found ? Number(found[1]) + Number(found[2]) / 100_000 : at * 1000;
}

/** `{entries, story, more, older, total, error}` of a job. `story`: oldest first, with the beginning of a long log. */
export function useJobLog(id) {
  const [state, set] = useState({ entries: [], head: [], more: false });
  const queue = useRef([]);
  const timer = useRef(0);
  const read = async () => {
    const page = await get(`/fine_tuning/jobs/${id}/events`, { limit: 100 });
    set((before) => ({ ...before, ...withPage(before, page) }));
    if (page.has_more) headOf(id).then((head) => set((before) => ({ ...before, head })), () => {});
  };
  const loaded = useLoaded(read, [id]);
  useLog(id, (entry) => {
    queue.current.push(entry);
    timer.current ||= setTimeout(() => {
      timer.current = 0;
      const fresh = queue.current.splice(0).reverse();
      set((before) => {
        const entries = merged(before.entries, fresh);
        return { ...before, entries: entries.slice(0, KEPT), more: before.more || entries.length > KEPT };
      });
    }, 100);
  }, loaded.again);
  useEffect(() => () => clearTimeout(timer.current), [id]);
  const older = async () => {
    const page = await get(`/fine_tuning/jobs/${id}/events`, { limit: 100, after: state.entries.at(-1).id });
    set((before) => ({ ...before, entries: [...before.entries, ...page.data], more: page.has_more }));
  };
  const story = merged(state.entries, state.head).reverse();
  const total = state.entries.find(({ data }) => data?.total_steps)?.data.total_steps ?? null;
  return { entries: state.entries, story, more: state.more, older, total, error: loaded.error, again: loaded.again, isRead: !loaded.loading || state.entries.length > 0 };
}

/** The first entries of a long log, up to the first step: its stream begins with the oldest, so it is cut off there. */
async function headOf(id) {
  const cut = new AbortController();
  const found = [];
  let isDone = false;
  const parser = createParser({ onEvent: ({ data }) => {
    const entry = JSON.parse(data);
    if (!isDone) found.push(entry);
    isDone ||= entry.type === "metrics" || found.length >= 90;
  } });
  try {
    const answer = await send("GET", `/fine_tuning/jobs/${id}/events`, { headers: { accept: "text/event-stream" }, signal: cut.signal });
    if (answer.status === 204) return found;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    while (!isDone) {
      const { done, value } = await reader.read();
      if (done) break;
      parser.feed(value);
    }
  } finally {
    cut.abort();
  }
  return found;
}

export function Events({ log, live }) {
  const [what, set] = useState("all");
  const [state, act] = useState({ busy: false, error: null });
  const wanted = { all: () => true, words: (one) => one.type !== "metrics", problems: (one) => one.level !== "info" }[what];
  const shown = log.entries.filter(wanted);
  const older = async () => {
    act({ busy: true, error: null });
    await log.older().then(() => act({ busy: false, error: null }), (error) => act({ busy: false, error }));
  };
  return html`<div class="row"><h2>Events</h2><label>Show <select value=${what} onChange=${(event) => set(event.target.value)}>
      <option value="all">all</option><option value="words">without steps</option><option value="problems">problems</option></select></label>
      <span class="soft">newest first${live ? ", live" : ""}</span></div>
    <${ErrorBox} error=${log.error ?? state.error} again=${log.again} />
    ${!log.isRead && html`<${Loading} what="the events" />`}
    <ol class="events" tabindex="0" aria-label="Events">${shown.map((one) => html`<li key=${one.id} class=${one.level}><${Time} at=${one.created_at} /> ${MARKS[one.level] && html`<strong class="badge ${one.level === "error" ? "bad" : "wait"}">${MARKS[one.level]} ${one.level}</strong>`} ${one.message}</li>`)}</ol>
    ${log.isRead && !shown.length && html`<p class="soft">${log.entries.length ? `None of the ${log.entries.length} events that were read is one of these.` : "No event yet."}</p>`}
    ${log.more && html`<button disabled=${state.busy} onClick=${older}>${state.busy ? "Loading …" : "Older ones"}</button>`}`;
}
