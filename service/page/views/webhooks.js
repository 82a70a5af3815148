// #/webhooks/<endpoint>: webhook endpoints, and what was sent to the chosen one.
import { all, call, get, post } from "../lib/api.js";
import { useAction, useEvent, useLoaded, useTitle } from "../lib/hooks.js";
import { missing } from "../lib/scopes.js";
import { html, useEffect, useRef, useState } from "../lib/ui.js";
import { Copy, ErrorBox, Time } from "../parts/basic.js";
import { Dialog } from "../parts/dialog.js";
import { Deliveries } from "./parts/deliveries.js";
import { EndpointDialog, SecretDialog } from "./parts/endpoint_dialogs.js";

/** So many endpoints a project can have. */
const MOST = 2000;

/** `id`: the chosen endpoint. `query`: the filter of its deliveries. */
export default function Webhooks({ params, query }) {
  useTitle("Webhooks");
  const { id } = params;
  const { data, error, again } = useLoaded(() => Promise.all([all("/webhook_endpoints", {}, MOST), get("/webhook_event_types")]));
  const [endpoints, types] = [data?.[0], data?.[1].data ?? []];
  useStates(endpoints, again);
  const [dialog, setDialog] = useState(null);
  const [said, setSaid] = useState(null);
  const [deleted, setDeleted] = useState(null);
  const chosen = endpoints?.find((one) => one.id === id) ?? (id && id !== deleted ? null : endpoints?.[0]);
  const why = missing("webhooks");
  const done = (text, secret) => {
    setDialog(secret ? { kind: "secret", secret } : null);
    setSaid({ text, good: true });
    again();
  };
  const act = async (method, path, body, text) => {
    try {
      const answer = await call(method, path, { body });
      done(typeof text === "function" ? text(answer) : text);
    } catch (problem) {
      setSaid({ text: problem.message, good: false });
    }
  };
  return html`
    <h1 tabindex="-1">Webhooks</h1>
    <${ErrorBox} error=${error} />
    <p class="row">
      <button class="first" disabled=${!!why || !types.length} onClick=${() => setDialog({ kind: "edit", endpoint: null })}>New endpoint</button>
      ${why && html`<span class="soft">${why}</span>`}
    </p>
    <p role="status" class=${said && `badge note ${said.good ? "good" : "bad"}`}>${said && `${said.good ? "✓" : "✕"} ${said.text}`}</p>
    ${endpoints?.length === 0 && html`<p class="soft">No endpoint yet. Jobs post to their own callback_url all the same; an endpoint gets the events of all jobs, and a pull endpoint waits until you fetch them.</p>`}
    ${endpoints?.length > 0 && html`
      <table class="cards">
        <caption class="hidden">Endpoints</caption>
        <thead><tr><th scope="col">Name</th><th scope="col">Sent to</th><th scope="col">Types</th><th scope="col">State</th><th scope="col">Actions</th></tr></thead>
        <tbody>${endpoints.map((one) => html`<${Row} key=${one.id} endpoint=${one} chosen=${one.id === chosen?.id} why=${why} types=${types} act=${act} open=${setDialog} />`)}</tbody>
      </table>`}
    ${id && id !== deleted && endpoints && !chosen && html`<p class="box bad" role="alert">There is no endpoint ${id}.</p>`}
    ${chosen && html`<${Deliveries} key=${chosen.id} endpoint=${chosen} isAsked=${Boolean(id)} query=${query} types=${types} />`}
    ${dialog?.kind === "edit" && html`<${EndpointDialog} endpoint=${dialog.endpoint} types=${types} onDone=${done} onClose=${() => setDialog(null)} />`}
    ${dialog?.kind === "rotate" && html`<${RotateDialog} endpoint=${dialog.endpoint} onDone=${done} onClose=${() => setDialog(null)} />`}
    ${dialog?.kind === "delete" && html`<${DeleteDialog} endpoint=${dialog.endpoint} act=${act} onDone=${setDeleted} onClose=${() => setDialog(null)} />`}
    ${dialog?.kind === "secret" && html`<${SecretDialog} secret=${dialog.secret} onClose=${() => setDialog(null)} />`}
  `;
}

/** Reads the endpoints again where a delivery shows that one fails now, or no longer, or may be disabled. */
function useStates(endpoints, again) {
  const timer = useRef(null);
  useEvent("delivery", (delivery) => {
    const found = endpoints?.find(({ id }) => id === delivery.webhook_endpoint_id);
    if (!found || found.tunehook.state === "disabled") return;
    const fails = delivery.state !== "delivered" && delivery.last_error !== null;
    if (fails === Boolean(found.tunehook.failing_since) && delivery.state !== "failed") return;
    clearTimeout(timer.current);
    timer.current = setTimeout(again, 500);
  });
  useEffect(() => () => clearTimeout(timer.current), []);
}

function Row({ endpoint, chosen, why, types, act, open }) {
  const { state, disabled_reason, failing_since, old_secret_active_until } = endpoint.tunehook;
  const path = `/webhook_endpoints/${endpoint.id}`;
  const pulled = endpoint.url.startsWith("pull:");
  const [wasOpen, setOpen] = useState(false); // of a thousand menus most are never opened
  return html`
    <tr data-row aria-current=${chosen ? "true" : undefined}>
      <th scope="row"><a href=${`#/webhooks/${endpoint.id}`}>${endpoint.name}</a></th>
      <td data-label="Sent to"><span class="long">${endpoint.url}</span> ${pulled && html`<span class="soft">waits to be fetched</span>`}</td>
      <td data-label="Types" title=${endpoint.event_types.join("\n")}>${endpoint.event_types.length} of ${types.length}</td>
      <td data-label="State">
        <span class=${`badge note ${state === "enabled" ? "good" : "bad"}`}>${state === "enabled" ? "● enabled" : "✕ disabled"}</span>
        ${disabled_reason && html`<br /><span class="soft">${disabled_reason}</span>`}
        ${state === "enabled" && failing_since && html`<br /><span class="badge note wait">! failing since <${Time} at=${failing_since} /></span>`}
        ${old_secret_active_until && html`<br /><span class="soft">two secrets until <${Time} at=${old_secret_active_until} /></span>`}
      </td>
      <td data-label="Actions"><details class="menu" onToggle=${() => setOpen(true)}><summary>Actions<span class="hidden"> on ${endpoint.name}</span></summary>
        ${wasOpen && html`<p class="row">
          ${state === "disabled" && html`<button disabled=${!!why} onClick=${() => act("POST", `${path}/enable`, undefined, `${endpoint.name} is enabled.`)}>Enable</button>`}
          <${Test} endpoint=${endpoint} types=${types} why=${why} act=${act} />
          <button disabled=${!!why} onClick=${() => open({ kind: "edit", endpoint })}>Edit</button>
          <button disabled=${!!why} onClick=${() => open({ kind: "rotate", endpoint })}>Rotate secret</button>
          <button disabled=${!!why} onClick=${() => open({ kind: "delete", endpoint })}>Delete</button>
        </p>
        <p class="soft"><code>${endpoint.id}</code> <${Copy} text=${endpoint.id} what="the endpoint's id" /> secret <code>${endpoint.signing_secret_hint}</code></p>`}
      </details></td>
    </tr>
  `;
}

function Test({ endpoint, types, why, act }) {
  const [kind, setKind] = useState(null);
  const type = kind ?? endpoint.event_types[0] ?? types[0];
  const said = ({ event_type, status_code }) => `${endpoint.name} answered ${status_code} to a sample of ${event_type}.`;
  return html`
    <label class="inline">Sample <select value=${type} onChange=${(event) => setKind(event.target.value)}>${types.map((one) => html`<option key=${one}>${one}</option>`)}</select></label>
    <button disabled=${!!why} onClick=${() => act("POST", `/webhook_endpoints/${endpoint.id}/test`, { event_type: type }, said)}>Test</button>
  `;
}

function RotateDialog({ endpoint, onDone, onClose }) {
  const [keep, setKeep] = useState(true);
  const [rotate, busy, error] = useAction(async () => {
    const changed = await post(`/webhook_endpoints/${endpoint.id}/rotate_secret`, { keep_old_secret_active_for_24_hours: keep });
    onDone(`${endpoint.name} has a new secret.`, changed.signing_secret);
  });
  return html`
    <${Dialog} title=${`A new secret for ${endpoint.name}`} onClose=${onClose}>
      <label class="inline"><input type="checkbox" checked=${keep} onChange=${(event) => setKeep(event.target.checked)} /> The old one signs too, for 24 hours</label>
      ${!keep && html`<p class="box wait">Your server refuses webhooks until it has the new secret.</p>`}
      <${ErrorBox} error=${error} />
      <p class="row"><button class="first" disabled=${busy} onClick=${rotate}>Rotate</button><button onClick=${onClose}>Leave it</button></p>
    <//>
  `;
}

function DeleteDialog({ endpoint, act, onDone, onClose }) {
  const remove = () => {
    onDone(endpoint.id);
    return act("DELETE", `/webhook_endpoints/${endpoint.id}`, undefined, `${endpoint.name} is deleted.`);
  };
  return html`
    <${Dialog} title=${`Delete ${endpoint.name}?`} onClose=${onClose}>
      <p>Its deliveries that still wait are given up. This cannot be undone.</p>
      <p class="row"><button class="first" onClick=${remove}>Delete</button><button onClick=${onClose}>Keep it</button></p>
    <//>
  `;
}
