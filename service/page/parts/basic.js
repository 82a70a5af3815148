// Small parts that all views share: times, states, errors, empty lists, buttons.
import { clock, relative } from "../lib/format.js";
import { stateOf } from "../lib/job.js";
import { html, signal, useEffect, useState } from "../lib/ui.js";

/** Unix seconds, each second: for "3 min ago" and durations that grow. Nothing is asked for. */
export const now = signal(Math.floor(Date.now() / 1000));
setInterval(() => { if (!document.hidden) now.value = Math.floor(Date.now() / 1000); }, 1000);
document.addEventListener("visibilitychange", () => { now.value = Math.floor(Date.now() / 1000); });

/** A time of day; how long ago is its title. */
export function Time({ at, seconds = true }) {
  if (at === null || at === undefined) return html`<span>–</span>`;
  return html`<time datetime=${new Date(at * 1000).toISOString()} title=${new Date(at * 1000).toLocaleString()}>${clock(at, now.peek(), seconds)}</time>`;
}

/** "3 min ago", which goes on by itself. */
export function Ago({ at }) {
  if (at === null || at === undefined) return html`<span>–</span>`;
  return html`<time datetime=${new Date(at * 1000).toISOString()} title=${new Date(at * 1000).toLocaleString()}>${relative(at, now.value)}</time>`;
}

/** Sign, word and colour. `kind`: good, bad, run, wait, off. */
export function Badge({ kind, sign, word }) {
  return html`<span class="badge ${kind}"><span class="sign" aria-hidden="true">${sign}</span> ${word}</span>`;
}

export function JobState({ job }) {
  return html`<${Badge} ...${stateOf(job)} />`;
}

/** The API's words, what to do, and the id of the request. Of a key that is refused the form for the next one tells. */
export function ErrorBox({ error, again }) {
  if (!error || error.status === 401) return null;
  return html`<div class="box bad" role="alert">
    <p><strong>${titleOf(error)}</strong> ${error.message}</p>
    ${error.requestId && html`<p class="soft">Request ${error.requestId}</p>`}
    ${again && html`<button onClick=${again}>Try again</button>`}
  </div>`;
}

function titleOf(error) {
  if (error.status === 403) return "This key may not do that.";
  if (error.status === 404) return "Not found.";
  if (error.status === 502 && error.code) return "The upstream did not do it.";
  return error.isAway && !error.code ? "No answer." : error.status > 502 ? "Not now." : error.status === 500 ? "A fault of Tunehook." : "Refused.";
}

/** An empty list: `why` it is, and what to do. */
export function Empty({ why, children }) {
  return html`<div class="empty"><p>${why}</p>${children}</div>`;
}

export function Loading({ what = "" }) {
  return html`<p class="soft" role="status">Loading${what ? ` ${what}` : ""} …</p>`;
}

/** Copies a text, and says so for two seconds. */
export function Copy({ text, what = "Copy" }) {
  const [done, set] = useState("");
  useEffect(() => {
    if (!done) return undefined;
    const timer = setTimeout(() => set(""), 2000);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = () => (navigator.clipboard ? navigator.clipboard.writeText(text) : Promise.reject(new Error("no clipboard")))
    .then(() => set("copied"), () => set("not allowed"));
  return html`<button class="icon" title=${what} aria-label=${text.length > 80 ? what : `${what}: ${text}`} onClick=${copy}><svg width="14" height="14" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.4" aria-hidden="true"><path d="M5 5h9v9H5zM11 5V2H2v9h3" /></svg></button><span role="status" class="soft">${done}</span>`;
}

/** An id: short to look at, whole to copy. */
export function Id({ id, href }) {
  const text = html`<code title=${id}>${id.length > 18 ? `${id.slice(0, 14)}…` : id}</code>`;
  return html`<span class="id">${href ? html`<a href=${href}>${text}</a>` : text}<${Copy} text=${id} what="Copy the id" /></span>`;
}

/** `value` of `of`, with words beside it. */
export function Progress({ value, of, text }) {
  return html`<span class="progress"><progress max=${of} value=${value} aria-label="Progress"></progress> ${text}</span>`;
}

/** A name and its value in a list of facts: `<dl class="facts">` around them. */
export function Fact({ name, children }) {
  return html`<div><dt>${name}</dt><dd>${children}</dd></div>`;
}
