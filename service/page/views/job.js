// One job: its story and why it waits, the curve live, checkpoints, dataset, cost, webhooks, events.
import { all, get } from "../lib/api.js";
import { chartsOf, KINDS } from "../lib/curve.js";
import { useMetrics } from "../lib/follow_metrics.js";
import { bytes, capital, duration, measure, modelName, money, number } from "../lib/format.js";
import { useEvent, useLoaded, useTitle } from "../lib/hooks.js";
import { hasEnded, hyperparametersOf, progressOf, stateOf, storyOf } from "../lib/job.js";
import { link } from "../lib/router.js";
import { jobSignal, loadJob } from "../lib/store.js";
import { html, useMemo, useState } from "../lib/ui.js";
import Chart from "../parts/chart.js";
import { Ago, Copy, ErrorBox, Fact, Id, JobState, Loading, Progress, Time, now } from "../parts/basic.js";
import { Actions } from "./job/actions.js";
import { Events, useJobLog } from "./job/events.js";
import { Webhooks } from "./job/webhooks.js";

const NONE = [];

export default function JobView({ params }) {
  const { id } = params;
  const loaded = useLoaded(() => loadJob(id), [id]);
  const job = jobSignal(id).value;
  useTitle(job ? `${stateOf(job).word} ${modelName(job.fine_tuned_model ?? job.model)}` : id);
  if (!job) return html`<h1>Job <code>${id}</code></h1><${ErrorBox} error=${loaded.error} again=${loaded.again} />${!loaded.error && html`<${Loading} what="the job" />`}`;
  return html`<${Shown} job=${job} key=${id} error=${loaded.error} />`;
}

function Shown({ job, error }) {
  const live = !hasEnded(job);
  const metrics = useMetrics(job.id, live);
  const log = useJobLog(job.id);
  const checkpoints = useLoaded(() => all(`/fine_tuning/jobs/${job.id}/checkpoints`), [job.id]);
  useEvent("job", (one) => one.id === job.id && hasEnded(one) && checkpoints.again());
  useNews(log.entries, checkpoints.again);
  const progress = progressOf(job, metrics.columns && { step: metrics.columns.step?.at(-1), total_steps: metrics.total ?? log.total });
  return html`<p><a href="#/jobs">‹ Jobs</a></p>
    <div class="row"><h1><${JobState} job=${job} /> <span class="soft">${modelName(job.model)}${job.fine_tuned_model ? ` → ${modelName(job.fine_tuned_model)}` : ""}</span></h1>
      ${progress && html`<${Progress} ...${progress} />`}<span class="grow"></span><${Actions} job=${job} /></div>
    <div class="row"><${Id} id=${job.id} /> <span class="soft">at ${job.tunehook.upstream}${job.tunehook.upstream_job_id ? html` as <${Id} id=${job.tunehook.upstream_job_id} />` : ""}</span></div>
    <${ErrorBox} error=${error} />
    <${Why} job=${job} />
    <${Story} job=${job} entries=${log.story} />
    <${Curves} job=${job} metrics=${metrics} checkpoints=${checkpoints.data ?? NONE} total=${metrics.total ?? log.total} />
    <${Checkpoints} job=${job} list=${checkpoints} />
    <${Dataset} job=${job} />
    <${Webhooks} job=${job} />
    <${Events} log=${log} live=${live} />
    <${Settings} job=${job} />`;
}

/** Reads the checkpoints again when the log tells of one. */
function useNews(entries, again) {
  const made = entries.filter(({ message }) => /checkpoint/i.test(message)).length;
  const [known, set] = useState(made);
  if (made !== known) {
    set(made);
    again();
  }
}

/** Why it waits, and until when; why it failed. */
function Why({ job }) {
  const { waiting, cancel_requested_at: cancelled, model } = job.tunehook;
  if (job.status === "failed") return html`<div class="box bad"><strong>Why it failed:</strong> ${job.error?.message} <code class="soft">${job.error?.code}</code></div>`;
  if (cancelled && !hasEnded(job)) return html`<div class="box wait">Cancelling since <${Time} at=${cancelled} />: the upstream has been asked.</div>`;
  if (waiting) return html`<div class="box wait"><strong>Why it waits:</strong> ${waiting.reason} <span class="soft">Since <${Time} at=${waiting.since} /> (${duration(now.value - waiting.since)}).</span>
    ${waiting.place ? html` <strong>${waiting.place === 1 ? "First" : `${waiting.place}.`} in line</strong>${waiting.slot_expected_at ? html`, a slot about <${Time} at=${waiting.slot_expected_at} seconds=${false} />` : ""}.` : ""}
    ${waiting.retry_at ? html` Next try <${Time} at=${waiting.retry_at} /> (<${Ago} at=${waiting.retry_at} />).` : " It goes on when that changes."}
    ${waiting.code === "awaiting_approval" && html`<p class="soft">An operator decides: <code>tunehook projects approve ${job.id}</code></p>`}</div>`;
  if (model?.what_to_do) return html`<div class="box wait">${model.what_to_do}</div>`;
  return null;
}

function Story({ job, entries }) {
  const points = storyOf(job, entries, now.value);
  const left = !hasEnded(job) && job.estimated_finish ? job.estimated_finish - now.value : null;
  return html`<h2>Story</h2><ol class="story">${points.map((one, index) => html`<li class=${one.state} key=${`${one.name} ${one.at}`}>
    <strong>${one.name}</strong> <${Time} at=${one.at} /><div class="soft">${one.text ? `${one.text} · ` : ""}${one.seconds !== null && index < points.length - 1 ? duration(one.seconds) : ""}
    ${one.state === "now" ? `for ${duration(one.seconds)}${left > 0 ? `, about ${duration(left)} left` : ""}` : ""}</div></li>`)}</ol>`;
}

function Curves({ job, metrics, checkpoints, total }) {
  const [chosen, set] = useState(null);
  const charts = chartsOf(metrics.columns ?? {});
  const of = chosen ?? charts[0];
  const next = charts[(charts.indexOf(of) + 1) % charts.length];
  const epochs = Number(hyperparametersOf(job).n_epochs) || null;
  const runs = useMemo(() => metrics.columns && [{ id: job.id, label: modelName(job.fine_tuned_model ?? job.model), columns: metrics.columns, total, tokens: job.trained_tokens, epochs }], [metrics.columns, total, job.trained_tokens, epochs]);
  const marks = useMemo(() => checkpoints.map((one) => ({ id: job.id, step: one.step_number })), [checkpoints]);
  const sweep = job.metadata?.sweep;
  return html`<div class="row"><h2>${capital(of)}</h2>
      ${next !== of && html`<button onClick=${() => set(next)}>Show ${next}</button>`}
      ${sweep && html`<a class="button" href=${link("/compare", { sweep })}>Compare the sweep ${sweep}</a>`}
      <a class="button" href=${link("/compare", { jobs: job.id })}>Compare with others</a></div>
    <${ErrorBox} error=${metrics.error} />
    ${runs ? html`<${Chart} runs=${runs} kinds=${KINDS[of]} of=${of} marks=${marks} ended=${hasEnded(job)} title=${`${capital(of)} of ${job.id}`} />` : !metrics.error && html`<${Loading} what="the curve" />`}`;
}

function Checkpoints({ job, list }) {
  const rows = list.data ?? NONE;
  const score = ({ metrics }) => metrics.full_valid_loss ?? metrics.valid_loss ?? null;
  const best = rows.reduce((found, one) => (score(one) !== null && (!found || score(one) < score(found)) ? one : found), null);
  return html`<h2>Checkpoints</h2><${ErrorBox} error=${list.error} again=${list.again} />
    ${rows.length > 0 && html`<table class="cards"><thead><tr><th class="num">Step</th><th class="num">Train loss</th><th class="num">Valid loss</th><th class="num">Accuracy</th><th>Model</th></tr></thead>
    <tbody>${rows.map((one) => html`<tr key=${one.id} data-row><td class="num" data-label="Step">${number(one.step_number)}${one === best ? html` <span title="the lowest validation loss">★<span class="hidden"> the lowest validation loss</span></span>` : ""}</td>
      <td class="num" data-label="Train loss">${measure(one.metrics.train_loss)}</td><td class="num" data-label="Valid loss">${measure(score(one))}</td>
      <td class="num" data-label="Accuracy">${measure(one.metrics.valid_mean_token_accuracy ?? one.metrics.train_mean_token_accuracy)}</td>
      <td data-label="Model"><code>${one.fine_tuned_model_checkpoint}</code><${Copy} text=${one.fine_tuned_model_checkpoint} what="Copy the model's name" />
      ${" "}<a href=${link("/try", { model: one.fine_tuned_model_checkpoint, base: job.model })}>Try</a></td></tr>`)}</tbody></table>`}
    ${list.data && !rows.length && html`<p class="soft">${hasEnded(job) ? "The upstream made none." : "None yet: an upstream makes them at the end of an epoch, or of the job."}</p>`}`;
}

function Dataset({ job }) {
  const { estimate, cost, dataset } = job.tunehook;
  const price = (cost ?? estimate)?.price;
  return html`<h2>Dataset and cost</h2><dl class="facts">
    <${Fact} name="Training file"><${DataFile} id=${job.training_file} /></${Fact}>
    ${job.validation_file && html`<${Fact} name="Validation file"><${DataFile} id=${job.validation_file} /></${Fact}>`}
    ${dataset && html`<${Fact} name="Kept here">${dataset.state}${dataset.reason ? `: ${dataset.reason}` : ""}</${Fact}>`}
    <${Fact} name="Estimate">${estimate ? `${money(estimate.usd)} for ${number(estimate.billed_tokens)} tokens` : "–"}</${Fact}>
    <${Fact} name="Cost">${cost ? `${money(cost.usd)} for ${number(cost.billed_tokens)} tokens` : hasEnded(job) ? "not told" : "known at the end"}</${Fact}>
    <${Fact} name="Price">${price ? `${price.usd_per_million_tokens !== null ? `${money(price.usd_per_million_tokens)} per million tokens` : `${money(price.usd_per_hour)} an hour`} (${price.source}, ${price.as_of})` : "not known"}</${Fact}>
    ${job.result_files.length > 0 && html`<${Fact} name="Result files">${job.result_files.map((id) => html`<${Id} id=${id} /> `)}</${Fact}>`}
  </dl>`;
}

function DataFile({ id }) {
  const file = useLoaded(() => get(`/files/${id}`), [id]);
  const href = link(`/datasets/${id}`);
  const found = file.data;
  return html`${found ? html`<strong>${found.filename}</strong> ${bytes(found.bytes)} ${found.status !== "processed" ? found.status : ""} ` : file.error?.status === 404 ? html`<span class="soft">no longer here</span> ` : ""}<${Id} id=${id} href=${href} />${found ? html` <a href=${href}>report</a>` : ""}`;
}

function Settings({ job }) {
  const rows = { model: job.model, ...hyperparametersOf(job), seed: job.seed, ...(job.tunehook.options ?? {}), ...Object.fromEntries(Object.entries(job.metadata ?? {}).map(([name, value]) => [`metadata ${name}`, value])) };
  const from = job.tunehook.retrained_from;
  return html`<details><summary><h2>Settings</h2></summary><dl class="facts">
    ${Object.entries(rows).map(([name, value]) => html`<${Fact} name=${name}>${typeof value === "object" ? JSON.stringify(value) : String(value)}</${Fact}>`)}
    ${from && html`<${Fact} name="Trained again from"><${Id} id=${from} href=${link(`/jobs/${from}`)} /></${Fact}>`}
    <${Fact} name="Made"><${Time} at=${job.created_at} /></${Fact}></dl>
    ${job.tunehook.left_out.length > 0 && html`<p>Left out at ${job.tunehook.upstream}: ${job.tunehook.left_out.map(({ member, why }) => `${member} (${why})`).join("; ")}</p>`}</details>`;
}
