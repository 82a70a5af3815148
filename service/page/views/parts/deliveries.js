// The deliveries of an endpoint: live, filtered by the address, with attempts, and sent again one by one or all.
import { get, post } from "../../lib/api.js";
import { useEvent } from "../../lib/hooks.js";
import { changeQuery } from "../../lib/router.js";
import { missing } from "../../lib/scopes.js";
import { epoch } from "../../lib/stream.js";
import { html, useEffect, useRef, useState } from "../../lib/ui.js";
import { ErrorBox } from "../../parts/basic.js";
import { Delivery } from "../job/webhooks.js";
import { STATES, apiQuery, isRecovery, secondsOf, withDelivery } from "./delivery_filter.js";

const PAGE = 50;

/** `isAsked`: they come into sight, below however many endpoints. */
export function Deliveries({ endpoint, isAsked, query, types }) {
  const heading = useRef(null);
  useEffect(() => {
    if (!isAsked || heading.current.getBoundingClientRect().top < innerHeight / 2) return;
    heading.current.scrollIntoView();
    heading.current.focus();
  }, []);
  const list = useDeliveries(endpoint.id, query);
  const filter = (name) => (event) => changeQuery({ [name]: event.target.value });
  const filtered = Object.values(query).some(Boolean);
  return html`
    <h2 ref=${heading} tabindex="-1">Sent to ${endpoint.name}</h2>
    <div class="fields">
      <label>State <select value=${query.state ?? ""} onChange=${filter("state")}><option value="">all</option>${STATES.map((one) => html`<option key=${one}>${one}</option>`)}</select></label>
      <label>Type <select value=${query.type ?? ""} onChange=${filter("type")}><option value="">all</option>${types.map((one) => html`<option key=${one}>${one}</option>`)}</select></label>
      <label>Job <input value=${query.job ?? ""} placeholder="ftjob-…" onChange=${filter("job")} /></label>
      <label>Since <input type="datetime-local" value=${query.since ?? ""} onChange=${filter("since")} /></label>
      <label>Until <input type="datetime-local" value=${query.until ?? ""} onChange=${filter("until")} /></label>
    </div>
    <${Resend} endpoint=${endpoint} query=${query} />
    <${ErrorBox} error=${list.error} />
    ${list.rows?.length === 0 && html`<p class="soft">${filtered ? html`No delivery fits this filter. <a href=${`#/webhooks/${endpoint.id}`}>Show all</a>` : "Nothing was sent yet: an endpoint gets the events that follow its creation."}</p>`}
    ${list.rows?.map((one) => html`<${Delivery} key=${one.id} one=${one} />`)}
    ${list.more && html`<p><button disabled=${list.busy} onClick=${list.next}>Show older ones</button></p>`}
  `;
}

function useDeliveries(endpoint, query) {
  const [state, setState] = useState({ rows: null, more: false, busy: false, error: null });
  const text = apiQuery(query, { limit: PAGE });
  const read = (after) => get(`/webhook_endpoints/${endpoint}/deliveries?${text}${after ? `&after=${after}` : ""}`);
  const told = useRef(null); // what the stream tells while a page is on its way, which may not know of it
  const withOne = (rows, one) => withDelivery(rows, one, endpoint, query);
  useEffect(() => {
    let live = true;
    const meanwhile = (told.current = []);
    read().then(
      (page) => live && setState({ rows: meanwhile.reduce(withOne, page.data), more: page.has_more, busy: false, error: null }),
      (error) => live && setState((before) => ({ ...before, error })),
    ).finally(() => { if (live) told.current = null; });
    return () => { live = false; };
  }, [endpoint, text, epoch.value]);
  useEvent("delivery", (one) => {
    told.current?.push(one);
    setState((before) => (before.rows ? { ...before, rows: withOne(before.rows, one) } : before));
  });
  const next = async () => {
    setState((before) => ({ ...before, busy: true }));
    try {
      const page = await read(state.rows.at(-1).id);
      setState((before) => ({ ...before, rows: [...before.rows, ...page.data.filter((one) => !before.rows.some(({ id }) => id === one.id))], more: page.has_more, busy: false }));
    } catch (error) {
      setState((before) => ({ ...before, busy: false, error }));
    }
  };
  return { ...state, next };
}

/** Sends again all that the filter finds: counts first, says the number, asks, and can be stopped. */
function Resend({ endpoint, query }) {
  const [state, setState] = useState({ step: "idle" });
  const stopped = useRef(false);
  useEffect(() => setState({ step: "idle" }), [endpoint.id, apiQuery(query)]);
  const why = missing("webhooks") ?? (endpoint.tunehook.state === "disabled" ? "Enable the endpoint first." : null);
  const guarded = (work) => async () => {
    try {
      await work();
    } catch (error) {
      setState({ step: "said", text: error.message, good: false });
    }
  };
  const count = guarded(async () => {
    setState({ step: "counting", found: 0 });
    const ids = await everyId(endpoint.id, query, (found) => setState({ step: "counting", found }));
    setState(ids.length ? { step: "asked", ids } : { step: "said", text: "The filter finds none.", good: true });
  });
  const send = guarded(async () => {
    stopped.current = false;
    const { ids } = state;
    if (isRecovery(query)) {
      const { redelivered } = await post(`/webhook_endpoints/${endpoint.id}/recover`, { since: secondsOf(query.since) ?? 0 });
      return setState({ step: "said", text: `${redelivered} are sent again.`, good: true });
    }
    const done = await resent(ids, stopped, (at) => setState({ step: "sending", ids, at }));
    setState({ step: "said", good: !done.problems.length, text: [`${done.sent} of ${ids.length} are sent again.`, ...done.problems].join(" ") });
  });
  return html`
    <p class="row" role="status">
      ${["idle", "said"].includes(state.step) && html`<button disabled=${!!why} onClick=${count}>Send all again that this filter finds …</button>`}
      ${state.step === "counting" && html`<span>${state.found} found …</span>`}
      ${state.step === "asked" && html`
        <strong>${state.ids.length === 1 ? "Send 1 delivery again?" : `Send ${state.ids.length} deliveries again?`}</strong>
        <button class="first" onClick=${send}>Send</button><button onClick=${() => setState({ step: "idle" })}>Leave it</button>`}
      ${state.step === "sending" && html`<progress max=${state.ids.length} value=${state.at} aria-label="Sent again" /> ${state.at} of ${state.ids.length} <button onClick=${() => { stopped.current = true; }}>Stop</button>`}
      ${state.step === "said" && html`<span class=${`badge note ${state.good ? "good" : "bad"}`}>${state.good ? "✓" : "✕"} ${state.text}</span>`}
      ${why && html`<span class="soft">${why}</span>`}
    </p>
  `;
}

async function everyId(endpoint, query, told) {
  const ids = [];
  for (;;) {
    const page = await get(`/webhook_endpoints/${endpoint}/deliveries?${apiQuery(query, { limit: 100, after: ids.at(-1) })}`);
    ids.push(...page.data.map(({ id }) => id));
    told(ids.length);
    if (!page.has_more) return ids;
  }
}

/** Sends one by one, the oldest first. A refusal is said once; the others go on. */
async function resent(ids, stopped, told) {
  const problems = new Set();
  let sent = 0;
  for (const [at, id] of ids.toReversed().entries()) {
    if (stopped.current) break;
    told(at);
    try {
      await post(`/deliveries/${id}/redeliver`);
      sent += 1;
    } catch (error) {
      if (error.status === 401 || error.status === 403) throw error;
      problems.add(error.message);
    }
  }
  return { sent, problems: [...problems].slice(0, 3) };
}
