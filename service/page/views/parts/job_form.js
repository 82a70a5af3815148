// The settings of a job, its price, and the same call in other words.
import { address } from "../../lib/api.js";
import { money, number } from "../../lib/format.js";
import { summary } from "../../lib/store.js";
import { html, useState } from "../../lib/ui.js";
import { Copy, ErrorBox } from "../../parts/basic.js";
import { ModelSelect, ending, groupsOf } from "./models.js";
import { sameCall } from "./same_call.js";

/** Which field of the form a refusal of the API is about. */
const PARAMS = { suffix: "name", callback_url: "callback", "tunehook.upstream": "upstream", "tunehook.max_cost_usd": "limit", metadata: "metadata", seed: "seed", model: "model" };
const HYPERPARAMETERS = { n_epochs: "epochs", batch_size: "batch", learning_rate_multiplier: "rate", beta: "beta" };

const fieldOf = (error) => PARAMS[error?.param] ?? HYPERPARAMETERS[error?.param?.split(".").at(-1)] ?? null;

/** `problem`: the refusal of the estimate; it stands at its field. */
export function Settings({ fields, model, models, problem, onField }) {
  const wrong = fieldOf(problem);
  const chosen = [...models.base, ...models.tuned].find((one) => one.id === model);
  const ends = ending(chosen);
  const one = (name, label, more) => html`<${Field} name=${name} label=${label} value=${fields[name]} wrong=${wrong === name && problem.message} onField=${onField} ...${more} />`;
  return html`
    <${ErrorBox} error=${models.error} />
    <div class="fields">
      <${ModelSelect} label="Model" groups=${groupsOf(models)} value=${model} aria-invalid=${wrong === "model"} onChange=${(event) => onField("model", event.target.value)}>
        ${ends && html`<span class="badge note wait">! shut down ${ends}, and all models tuned from it</span>`}<//>
      <${Upstreams} chosen=${fields.upstream} onField=${onField} />
      <label>Method <select value=${fields.method || "supervised"} onChange=${(event) => onField("method", event.target.value)}>
        <option value="supervised">supervised</option><option value="dpo">dpo (preferences)</option></select>
        <span class="soft">Reinforcement takes a grader: by the API or <code>tunehook submit --grader</code>.</span></label>
      ${one("name", "Name, part of the model's", { maxlength: 64 })}
      ${one("limit", "Refuse above, USD", { inputmode: "decimal" })}
      ${one("callback", "Callback URL of this job's end", { type: "url", placeholder: "https://you.example/hooks" })}
    </div>
    <details>
      <summary>Hyperparameters, seed, metadata</summary>
      <p class="soft">Several values with commas between, such as 2, 3, 4, make a sweep: a job for each combination.</p>
      <div class="fields">
        ${one("epochs", "Epochs, 1 to 50", { placeholder: "auto" })}
        ${one("batch", "Batch size, 1 to 256", { placeholder: "auto" })}
        ${one("rate", "Learning rate multiplier", { placeholder: "auto" })}
        ${fields.method === "dpo" && one("beta", "Beta, up to 2", { placeholder: "auto" })}
        ${one("seed", "Seed", { inputmode: "numeric" })}
        <label>Metadata, a key=value a line <textarea rows="3" value=${fields.metadata} onInput=${(event) => onField("metadata", event.target.value)} />
          ${wrong === "metadata" && html`<span class="badge note bad">✕ ${problem.message}</span>`}</label>
      </div>
    </details>
  `;
}

function Field({ name, label, value, wrong, onField, ...more }) {
  return html`
    <label>${label} <input value=${value} aria-invalid=${!!wrong} onInput=${(event) => onField(name, event.target.value)} ...${more} />
      ${wrong && html`<span class="badge note bad">✕ ${wrong}</span>`}</label>
  `;
}

function Upstreams({ chosen, onField }) {
  const upstreams = summary.value?.upstreams ?? [];
  const one = upstreams.find((each) => each.name === chosen) ?? (upstreams.length === 1 ? upstreams[0] : null);
  return html`
    <label>Upstream <select value=${chosen} onChange=${(event) => onField("upstream", event.target.value)}>
      <option value="">the default</option>
      ${upstreams.map(({ name }) => html`<option key=${name} value=${name}>${name}</option>`)}
    </select>
    ${one?.hold && html`<span class="badge note wait">! ${one.hold.reason}</span>`}
    ${one?.training_ends && html`<span class="badge note wait">! takes no new jobs from ${one.training_ends}</span>`}</label>
  `;
}

/** `priced`: of the estimate. */
export function Estimate({ priced, ready }) {
  const { jobs, error, busy } = priced;
  if (!ready) return html`<p class="soft">The price is shown here once there is a dataset.</p>`;
  if (busy) return html`<p class="soft" role="status">Counting tokens …</p>`;
  if (error && fieldOf(error)) return html`<p class="badge note bad" role="status">✕ The price is known when the field that is marked above is mended.</p>`;
  if (error) return html`<${ErrorBox} error=${error} />`;
  if (!jobs.length) return html`<p class="soft" role="status">Counting tokens …</p>`;
  if (jobs.length > 1) return html`<${Sweep} jobs=${jobs} />`;
  const [{ estimate }] = jobs;
  return html`
    <p role="status">
      ${number(estimate.examples)} examples, ${number(estimate.tokens)} tokens × ${estimate.n_epochs} epochs = ${number(estimate.billed_tokens)} tokens
      ${estimate.cost_usd === null ? html` · <span class="badge note wait">! no price is known</span>` : html` · <strong>${money(estimate.cost_usd)}</strong>`}
      ${estimate.price && html`<br /><span class="soft">${priceWords(estimate.price)}</span>`}
      ${estimate.cut_examples > 0 && html`<br /><span class="badge note wait">! ${number(estimate.cut_examples)} examples are longer than the model reads, and are cut</span>`}
    </p>
    ${estimate.warnings.map((warning) => html`<p class="box wait">${warning}</p>`)}
  `;
}

/** The jobs of a sweep, and what they cost together. */
function Sweep({ jobs }) {
  const known = jobs.filter(({ estimate }) => estimate.cost_usd !== null);
  const sum = known.reduce((usd, { estimate }) => usd + estimate.cost_usd, 0);
  const warnings = new Set(jobs.flatMap(({ estimate }) => estimate.warnings));
  return html`
    <p role="status">Sweep ${jobs[0].body.metadata.sweep}: ${jobs.length} jobs · <strong>${money(known.length ? sum : null)}</strong>${known.length < jobs.length && html` <span class="badge note wait">! no price is known of ${jobs.length - known.length}</span>`}</p>
    <table class="cards"><thead><tr><th scope="col">Job</th><th scope="col" class="num">Tokens</th><th scope="col" class="num">Estimate</th></tr></thead>
      <tbody>${jobs.map(({ body, estimate }) => html`<tr><th scope="row">${body.metadata.sweep_run}</th>
        <td data-label="Tokens" class="num">${number(estimate.billed_tokens)}</td><td data-label="Estimate" class="num">${money(estimate.cost_usd)}</td></tr>`)}</tbody></table>
    ${[...warnings].map((warning) => html`<p class="box wait">${warning}</p>`)}
  `;
}

function priceWords(price) {
  const amount = price.usd_per_hour ? `${money(price.usd_per_hour)} an hour` : `${money(price.usd_per_million_tokens)} per million tokens`;
  return `${amount}: ${price.source}, ${price.as_of}`;
}

/** The same call as curl, Python and a command, to be copied. */
export function SameCall({ bodies, files }) {
  const [shown, setShown] = useState("curl");
  const calls = sameCall(address("").href, bodies, files);
  const { name: chosen, text } = calls.find(({ name }) => name === shown) ?? calls[0];
  return html`
    <details>
      <summary>The same as curl, Python, tunehook</summary>
      <p class="row" role="group" aria-label="Language">
        ${calls.map(({ name }) => html`<button key=${name} aria-pressed=${name === chosen} onClick=${() => setShown(name)}>${name}</button>`)}
        <${Copy} text=${text} what=${`the call as ${chosen}`} />
      </p>
      <pre>${text}</pre>
    </details>
  `;
}
