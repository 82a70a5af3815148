// #/models: base models and tuned ones, with their end dates, deployments, and training them again.
import { call, get, post } from "../lib/api.js";
import { count, money, number } from "../lib/format.js";
import { useAction, useLoaded, useTitle } from "../lib/hooks.js";
import { go, link } from "../lib/router.js";
import { missing } from "../lib/scopes.js";
import { summary } from "../lib/store.js";
import { html, useState } from "../lib/ui.js";
import { Badge, Copy, Empty, ErrorBox, Loading, Time } from "../parts/basic.js";
import { Dialog } from "../parts/dialog.js";
import { Find, Hundreds, More } from "../parts/long_list.js";
import { ModelSelect, ending, groupsOf, useModels, withName } from "./parts/models.js";

const COLUMNS = { tuned: ["Model", "Made", "Ends", "Deployment", "Actions"], base: ["Model", "Ends", "Actions"] };

/** `query`: `show`, tuned or base; `q`, which the names of the models that are shown contain. */
export default function Models({ query }) {
  useTitle("Models");
  const models = useModels();
  const [dialog, setDialog] = useState(null);
  const close = () => setDialog(null);
  const kind = query.show === "base" || (query.show !== "tuned" && models.base.length && !models.tuned.length) ? "base" : "tuned";
  return html`
    <h1 tabindex="-1">Models</h1>
    <nav class="tabs" aria-label="Kinds">${Object.entries({ tuned: "Tuned here", base: "Base models" }).map(([name, words]) => html`
      <a key=${name} href=${link("/models", { ...query, show: name })} aria-current=${name === kind ? "true" : undefined}>${words}${models.isWhole && html` <strong>${number(models[name].length)}</strong>`}</a>`)}</nav>
    <${Find} q=${query.q} label="Find in the names of models" placeholder="Find: name" />
    <${ErrorBox} error=${models.error} />
    <${List} key=${`${kind} ${query.q}`} kind=${kind} models=${models} q=${query.q} open=${setDialog} />
    ${dialog?.kind === "retrain" && html`<${Retrain} model=${dialog.model} models=${models} onClose=${close} />`}
    ${dialog?.kind === "delete" && html`<${Delete} model=${dialog.model} onClose=${close} onDone=${() => { close(); models.again(); }} />`}
  `;
}

function List({ kind, models, q, open }) {
  const [most, setMost] = useState(100);
  const found = withName(models[kind], q);
  const Row = kind === "base" ? Base : Tuned;
  if (!found.length && !models.isWhole) return !models.error && html`<${Loading} what="the models" />`;
  if (!found.length && q) return html`<${Empty} why=${`No name of these models contains “${q}”.`}><p><a href=${link("/models", { show: kind })}>All of them</a></p><//>`;
  if (!found.length) return kind === "tuned" && html`<${Empty} why="No model was tuned here yet."><p><a class="button first" href="#/new">New job</a></p><//>`;
  return html`
    <p class="soft" role="status">${count(found.length, "model")}${models.isWhole ? "" : " so far"}</p>
    <table class="cards">
      <caption class="hidden">${kind === "base" ? "Base models that can be trained" : "Tuned models, the newest first"}</caption>
      <thead><tr>${COLUMNS[kind].map((word) => html`<th key=${word} scope="col">${word}</th>`)}</tr></thead>
      <${Hundreds} of=${found.slice(0, most)} columns=${COLUMNS[kind].length} row=${(one) => html`<${Row} key=${one.id} model=${one} open=${open} again=${models.again} />`} />
    </table>
    ${found.length > most && html`<${More} load=${async () => setMost(most + 100)} />`}
  `;
}

function Base({ model }) {
  return html`
    <tr data-row><th scope="row">${model.id}</th><td data-label="Ends"><${Ending} model=${model} /></td>
      <td data-label="Actions"><a class="button" href=${link("/new", { model: model.id })}>Train it</a></td></tr>
  `;
}

function Ending({ model }) {
  const text = ending(model);
  return text ? html`<span class="badge note wait">! ${text}</span>` : html`<span class="soft">none announced</span>`;
}

function Tuned({ model, open, again }) {
  const write = missing("write");
  return html`
    <tr data-row>
      <th scope="row"><span class="long">${model.id}</span> <${Copy} text=${model.id} what="the model's name" /></th>
      <td data-label="Made"><${Time} at=${model.created} /></td>
      <td data-label="Ends"><${Ending} model=${model} /></td>
      <td data-label="Deployment">${model.tunehook ? html`<${Deployment} model=${model} again=${again} />` : html`<span class="badge good">✓ answers without</span>`}</td>
      <td data-label="Actions" class="four"><div class="row">
        <a class="button" href=${link("/try", { model: model.id })}>Try it</a>
        <a class="button" href=${link("/new", { model: model.id })}>Use as base</a>
        <button disabled=${!!write} title=${write} onClick=${() => open({ kind: "retrain", model })}>Retrain</button>
        <button disabled=${!!write} title=${write} onClick=${() => open({ kind: "delete", model })}>Delete</button>
        ${write && html`<span class="soft">${write}</span>`}
      </div></td>
    </tr>
  `;
}

const STATES = { needs_deployment: ["○", "wait", "not deployed"], deploying: ["↻", "wait", "deploying"], callable: ["●", "good", "running"] };

/** Of a model that answers only while it is deployed. Its price an hour runs as long as it does. */
function Deployment({ model, again }) {
  const path = `/models/${encodeURIComponent(model.id)}/deploy`;
  const { state, what_to_do } = model.tunehook;
  const [sign, tone, word] = STATES[state] ?? ["", "", state];
  const shown = useLoaded(() => (state === "needs_deployment" ? Promise.resolve(null) : get(path)), [state]);
  const [act, busy, error] = useAction((method) => call(method, path).finally(() => setAsked(false)).then(again));
  const [asked, setAsked] = useState(false);
  const why = missing("write");
  const found = shown.data;
  return html`
    <${Badge} kind=${tone} sign=${sign} word=${word} />
    ${found?.price?.usd_per_hour && html` <strong>${money(found.price.usd_per_hour)} an hour</strong>`}
    ${what_to_do && html`<br /><span class="soft">${what_to_do}</span>`}
    ${found?.waiting && html`<br /><span class="badge note wait">${found.waiting.reason}</span>`}
    ${found?.error && html`<br /><span class="badge note bad">✕ ${found.error.message}</span>`}
    <br />
    ${asked
      ? html`<span>${state === "needs_deployment" ? "It costs money as long as it runs." : "The model stops answering."} </span>
          <button disabled=${busy} onClick=${() => act(state === "needs_deployment" ? "POST" : "DELETE")}>Yes</button>${" "}<button onClick=${() => setAsked(false)}>No</button>`
      : html`<button disabled=${!!why} title=${why} onClick=${() => setAsked(true)}>${state === "needs_deployment" ? "Deploy" : "Remove the deployment"}</button>`}
    ${error && html`<span class="badge note bad" role="alert">✕ ${error.message}</span>`}
  `;
}

/** Trains a model's data again, on another base or elsewhere: shows first what would happen. */
function Retrain({ model, models, onClose }) {
  const [fields, setFields] = useState({ model: "", upstream: "", again: false });
  const source = useLoaded(() => sourceOf(model.id), [model.id]);
  const upstreams = summary.value?.upstreams ?? [];
  const body = {
    model: fields.model || source.data?.model || "",
    upstream: fields.upstream || source.data?.tunehook.upstream || upstreams[0]?.name || "",
    ...(fields.again ? { again: true } : {}),
  };
  const path = `/fine_tuning/jobs/${source.data?.id}/retrain`;
  const plan = useLoaded(() => (source.data ? post(path, { ...body, dry_run: true }) : Promise.resolve(null)), [source.data?.id, JSON.stringify(body)]);
  const [start, busy, error] = useAction(async () => {
    const job = await post(path, body);
    go(`/jobs/${job.id}`);
  });
  const set = (name) => (event) => setFields({ ...fields, [name]: event.target.value });
  const problem = source.error ?? plan.error ?? error;
  return html`
    <${Dialog} title="Train its data again" onClose=${onClose}>
      <p class="soft">${source.data ? html`The data of <a href=${`#/jobs/${source.data.id}`}>${source.data.id}</a>` : !source.error && "Looking for the job that made it …"}</p>
      <${ModelSelect} label="Model" groups=${groupsOf(models)} value=${body.model} onChange=${set("model")} />
      <label>Upstream <select value=${body.upstream} onChange=${set("upstream")}>${upstreams.map(({ name }) => html`<option key=${name}>${name}</option>`)}</select></label>
      ${plan.data && html`<${Plan} plan=${plan.data} />`}
      ${plan.data?.existing && html`<label class="inline"><input type="checkbox" checked=${fields.again} onChange=${(event) => setFields({ ...fields, again: event.target.checked })} /> If that one failed: again</label>`}
      <${ErrorBox} error=${problem} />
      <p class="row"><button class="first" disabled=${busy || !plan.data?.fits} onClick=${start}>${plan.data?.creates === false ? "Show that job" : "Train"}</button><button onClick=${onClose}>Leave it</button></p>
    <//>
  `;
}

function Plan({ plan }) {
  const usd = plan.estimate?.cost_usd;
  return html`
    <p role="status">
      ${plan.error && html`<span class="badge note bad">✕ ${plan.error.message}</span>`}
      ${plan.existing && html`<span>It was done before: <a href=${`#/jobs/${plan.existing.id}`}>${plan.existing.id}</a>, ${plan.existing.status}. </span>`}
      ${plan.creates && plan.fits && html`<span>A new job, ${usd === null || usd === undefined ? "no price is known" : `about ${money(usd)}`}. </span>`}
    </p>
    ${plan.left_out.map((one) => html`<p class="box wait">Left out: ${one.member}: ${one.why}</p>`)}
  `;
}

/** The job that made a model. */
async function sourceOf(model) {
  const page = await get("/fine_tuning/jobs", { q: model, limit: 10 });
  const found = page.data.find((job) => job.fine_tuned_model === model);
  if (!found) throw new Error("The job that made this model is no longer here, so its data cannot be trained again from here.");
  return found;
}

function Delete({ model, onClose, onDone }) {
  const [remove, busy, error] = useAction(() => call("DELETE", `/models/${encodeURIComponent(model.id)}`).then(onDone));
  return html`
    <${Dialog} title="Delete this model?" onClose=${onClose}>
      <p><code class="long">${model.id}</code></p>
      <p>It is removed at its upstream and here${model.tunehook ? ", a running deployment first" : ""}. This cannot be undone; calls to it are refused from then on.</p>
      <${ErrorBox} error=${error} />
      <p class="row"><button class="first" disabled=${busy} onClick=${remove}>Delete</button><button onClick=${onClose}>Keep it</button></p>
    <//>
  `;
}
