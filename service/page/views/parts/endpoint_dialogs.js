// Dialogs of the webhook endpoints: create or edit one, and its secret, which is shown once.
import { post } from "../../lib/api.js";
import { useAction } from "../../lib/hooks.js";
import { html, useState } from "../../lib/ui.js";
import { Copy, ErrorBox } from "../../parts/basic.js";
import { Dialog } from "../../parts/dialog.js";

/** `endpoint`: null makes a new one. */
export function EndpointDialog({ endpoint, types, onDone, onClose }) {
  const [fields, setFields] = useState({
    name: endpoint?.name ?? "",
    url: endpoint?.url ?? "",
    event_types: endpoint?.event_types ?? types.slice(0, 3),
  });
  const change = (name) => (event) => setFields({ ...fields, [name]: event.target.value });
  const toggle = (type) => (event) => {
    const others = fields.event_types.filter((one) => one !== type);
    setFields({ ...fields, event_types: event.target.checked ? [...others, type] : others });
  };
  const [save, busy, error] = useAction(async () => {
    const saved = await post(endpoint ? `/webhook_endpoints/${endpoint.id}` : "/webhook_endpoints", fields);
    onDone(endpoint ? `${saved.name} is changed.` : `${saved.name} is made.`, saved.signing_secret);
  });
  const submit = (event) => {
    event.preventDefault();
    if (!busy) save();
  };
  return html`
    <${Dialog} title=${endpoint ? `Edit ${endpoint.name}` : "New endpoint"} onClose=${onClose}>
      <form onSubmit=${submit}>
        <label>Name <input required maxlength="256" value=${fields.name} onInput=${change("name")} /></label>
        <label>URL, or pull:NAME to fetch deliveries yourself
          <input required value=${fields.url} placeholder="https://you.example/hooks" onInput=${change("url")} /></label>
        <fieldset><legend>Events</legend>
          ${types.map((type) => html`<label class="inline" key=${type}><input type="checkbox" checked=${fields.event_types.includes(type)} onChange=${toggle(type)} /> ${type}</label>`)}
        </fieldset>
        <${ErrorBox} error=${error} />
        <p class="row"><button class="first" type="submit" disabled=${busy || !fields.event_types.length}>Save</button><button type="button" onClick=${onClose}>Leave it</button></p>
      </form>
    <//>
  `;
}

export function SecretDialog({ secret, onClose }) {
  return html`
    <${Dialog} title="The signing secret" onClose=${onClose}>
      <p>It is shown this once. Put it where your server verifies webhooks, such as <code>OPENAI_WEBHOOK_SECRET</code>.</p>
      <p><code class="long">${secret}</code> <${Copy} text=${secret} what="the secret" /></p>
      <p class="row"><button class="first" onClick=${onClose}>I have it</button></p>
    <//>
  `;
}
