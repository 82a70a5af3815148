// #/new: a dataset, its report, its price, and the job.
import { get, post } from "../lib/api.js";
import { useLoaded, useTitle } from "../lib/hooks.js";
import { key } from "../lib/key.js";
import { go } from "../lib/router.js";
import { missing } from "../lib/scopes.js";
import { html, useEffect, useMemo, useRef, useState } from "../lib/ui.js";
import { ErrorBox, Loading } from "../parts/basic.js";
import { DatasetForm } from "./parts/dataset_form.js";
import { Estimate, SameCall, Settings } from "./parts/job_form.js";
import { useModels } from "./parts/models.js";
import { Report } from "./parts/report.js";
import { MOST_JOBS, fieldsOf, jobBodies } from "./parts/same_call.js";
import { estimateWhenChecked } from "./parts/when_checked.js";

const FIELDS = ["model", "upstream", "method", "epochs", "batch", "rate", "beta", "name", "seed", "callback", "metadata", "limit"];
const UNKNOWN = { jobs: [], error: null, busy: false, file: null };
/** How long the form is quiet before its estimate is asked for. */
const QUIET_MS = 400;

/** `query`: `from` (a job), `training` and `validation` (ids of files that are here), and any field of the form. */
export default function New({ query }) {
  useTitle("New job");
  const models = useModels();
  const [fields, setFields] = useState(() => Object.fromEntries(FIELDS.map((name) => [name, query[name] ?? ""])));
  const [data, setData] = useState({ training: null, validation: null, notes: [] });
  useEffect(() => {
    takenOver(query).then(({ training, validation, notes, ...found }) => {
      if (training) setData({ training, validation: validation ?? null, notes });
      setFields((all) => ({ ...all, ...found }));
    }, setProblem);
  }, []);
  const [problem, setProblem] = useState(null);
  const last = useLoaded(() => get("/fine_tuning/jobs", { limit: 1 }));
  const first = useRef(""); // the first choice stays, whatever is read again
  if (!last.loading) first.current ||= firstChoice(models, last.data?.data[0]);
  const model = fields.model || first.current;
  const [sweep] = useState(() => `sweep-${randomKey().slice(0, 8)}`);
  const bodies = useMemo(
    () => jobBodies({ ...fields, model, training: data.training?.id, validation: data.validation?.id }, sweep),
    [fields, model, data.training?.id, data.validation?.id],
  );
  const unusable = data.training?.status === "error" ? "The dataset has errors: nothing is trained on it."
    : !bodies.length ? `A sweep has at most ${MOST_JOBS} jobs here: tunehook submit makes larger ones.` : null;
  const priced = useEstimate(bodies, unusable);
  return html`
    <h1 tabindex="-1">New job</h1>
    <${ErrorBox} error=${problem} />
    <h2>1 Dataset</h2>
    <${DatasetForm} data=${data} onData=${setData} />
    ${data.training && html`<h2>2 What the check found</h2><${Checked} file=${data.training} isOver=${priced.file === data.training.id} />`}
    <h2>${data.training ? 3 : 2} Model and method</h2>
    <${Settings} fields=${fields} model=${model} models=${models} problem=${priced.error} onField=${(name, value) => setFields((all) => ({ ...all, [name]: value }))} />
    <h2>${data.training ? 4 : 3} Price and start</h2>
    <${Estimate} priced=${priced} ready=${!!data.training && !unusable} />
    <${Start} bodies=${bodies} isChosen=${!!data.training} problem=${unusable ?? (priced.error ? "Mend what is wrong first." : priced.busy ? "The price is being counted." : null)} />
    ${bodies.length > 0 && html`<${SameCall} bodies=${bodies} files=${namesOf(data)} />`}
  `;
}

/** What the address names: files that are here, or a job (`from`) whose settings are taken over. */
async function takenOver(query) {
  const job = query.from ? await get(`/fine_tuning/jobs/${query.from}`) : null;
  if (job?.method?.type === "reinforcement") throw new Error("A reinforcement job has a grader, which this form has not: start it again by the API or by tunehook submit --grader.");
  const ids = [query.training ?? job?.training_file, query.validation ?? job?.validation_file];
  const [training, validation] = await Promise.all(ids.map((id) => id && get(`/files/${id}`)));
  const notes = job?.integrations || job?.tunehook.options ? ["Options and integrations of that job are not taken over."] : [];
  return { training, validation, notes, ...(job && fieldsOf(job)) };
}

/** The model of the last job; else one that stays. */
const firstChoice = ({ base }, job) => (base.find(({ id }) => id === job?.model) ?? base.find((one) => !one.shutdown_date) ?? base[0])?.id ?? "";

const namesOf = ({ training, validation }) => Object.fromEntries([training, validation].filter(Boolean).map((one) => [one.id, one.filename]));

/**
 * Asks for the estimates of the jobs whenever one has changed: `{ jobs, error, busy, file }`; `jobs`: `[{ body, estimate }]`.
 *
 * `file`: the training file of the last answer, which is checked then: what the check found can be read.
 */
function useEstimate(bodies, unusable) {
  const [found, setFound] = useState(UNKNOWN);
  const text = JSON.stringify(bodies);
  useEffect(() => {
    if (!key.value) return undefined; // what is known stays until the next key
    if (unusable || !bodies[0].training_file || !bodies[0].model) return setFound(UNKNOWN);
    const stopper = new AbortController();
    setFound((before) => ({ ...before, busy: true }));
    const timer = setTimeout(() => ask(bodies, stopper.signal, setFound), QUIET_MS);
    return () => {
      clearTimeout(timer);
      stopper.abort();
    };
  }, [text, unusable, key.value]);
  return found;
}

async function ask(bodies, signal, setFound) {
  const file = bodies[0].training_file;
  try {
    const jobs = await Promise.all(bodies.map(async (body) => ({ body, estimate: await estimateWhenChecked(body, signal) })));
    setFound({ ...UNKNOWN, jobs, file });
  } catch (error) {
    if (!signal.aborted) setFound({ ...UNKNOWN, error, file });
  }
}

/** The report of the file. One that is checked by a worker has it when the estimate has come. */
function Checked({ file, isOver }) {
  const isWaiting = file.status === "uploaded" && !isOver;
  const found = useLoaded(() => (isWaiting ? Promise.resolve(null) : get(`/files/${file.id}/report`)), [file.id, isWaiting]);
  if (found.data) return html`<${Report} report=${found.data} />`;
  if (isWaiting) return html`<p role="status">Files above 16 MB are checked by a worker. The report appears here when the check is over.</p>`;
  return found.error ? html`<${ErrorBox} error=${found.error} again=${found.again} />` : html`<${Loading} what="the report" />`;
}

/** The button that starts the jobs. A body that is sent twice, after a lost answer or with others beside it, makes one job. */
function Start({ bodies, isChosen, problem }) {
  const [state, setState] = useState({ busy: false, error: null });
  const keys = useRef(new Map()); // the text of a body → its idempotency key
  const why = missing("write") ?? (isChosen ? problem : "Choose a dataset first.");
  const word = bodies.length > 1 ? `Start ${bodies.length} jobs` : "Start";
  const start = async () => {
    setState({ busy: true, error: null });
    let [job, made] = [null, 0];
    try {
      for (const body of bodies) {
        const text = JSON.stringify(body);
        if (!keys.current.has(text)) keys.current.set(text, randomKey());
        job = await post("/fine_tuning/jobs", body, { headers: { "idempotency-key": keys.current.get(text) } });
        made += 1;
      }
      if (bodies.length > 1) go("/compare", { sweep: job.metadata.sweep });
      else go(`/jobs/${job.id}`);
    } catch (error) {
      setState({ busy: false, error, made });
    }
  };
  return html`
    <p class="row">
      <button class="first" disabled=${!!why || state.busy} onClick=${start}>${state.busy ? "Starting …" : word}</button>
      ${why && html`<span class="soft">${why}</span>`}
    </p>
    <${ErrorBox} error=${state.error} />
    ${state.error && state.made > 0 && html`<p class="soft">${state.made} of ${bodies.length} were made. Press Start again: it goes on with the others.</p>`}
  `;
}

/** Works on pages without https too, where crypto.randomUUID is missing. */
const randomKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (one) => one.toString(16).padStart(2, "0")).join("");
