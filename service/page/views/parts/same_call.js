// The call that makes a job, as curl, as Python with OpenAI's SDK, and as a command. Pure.
/** Writes a text as one word of a POSIX shell. */
export const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/**
 * Makes the body of `POST /v1/fine_tuning/jobs` from the fields of the form; what is empty is left out.
 *
 * `epochs`, `batch`, `rate`, `beta`: texts of the form, a number or `auto`. `metadata`: lines `key=value`.
 */
export function jobBody(fields) {
  const method = methodOf(fields);
  const ours = { upstream: fields.upstream || undefined, max_cost_usd: numberOf(fields.limit) };
  const metadata = Object.fromEntries(pairsOf(fields.metadata));
  return compact({
    model: fields.model,
    training_file: fields.training,
    validation_file: fields.validation,
    method,
    suffix: fields.name?.trim(),
    seed: numberOf(fields.seed),
    metadata: Object.keys(metadata).length ? metadata : undefined,
    callback_url: fields.callback?.trim(),
    tunehook: Object.keys(compact(ours)).length ? compact(ours) : undefined,
  });
}

/** Hyperparameters that may have several values, by their field: each combination is a job of a sweep. */
export const MOST_JOBS = 20;
const SWEPT = { epochs: "n_epochs", rate: "learning_rate_multiplier", batch: "batch_size", beta: "beta" };

/**
 * Returns the bodies of the jobs that the form asks for: one, or a sweep's, where a field has values with commas between.
 *
 * `sweep`: its name, unless the form's metadata has one. The jobs share it, and `sweep_run` has the values of each.
 * More than MOST_JOBS are none.
 */
export function jobBodies(fields, sweep) {
  const given = Object.entries(SWEPT)
    .filter(([field]) => field !== "beta" || fields.method === "dpo")
    .map(([field, name]) => [field, name, [...new Set(String(fields[field] ?? "").split(",").map((one) => String(numberOf(one) ?? one.trim())).filter(Boolean))]])
    .filter(([, , values]) => values.length && String(values) !== "auto");
  if (given.reduce((product, [, , values]) => product * values.length, 1) > MOST_JOBS) return [];
  const add = (runs, [field, name, values]) => runs.flatMap((run) => values.map((value) => ({ ...run, [field]: value, words: [...run.words, `${name}=${value}`] })));
  const runs = given.reduce(add, [{ words: [] }]);
  return runs.map(({ words, ...one }) => {
    const body = jobBody({ ...fields, ...one });
    return runs.length === 1 ? body : { ...body, metadata: { sweep, ...body.metadata, sweep_run: words.join(" ") } };
  });
}

/** Returns the fields of the form that make a job like this one. */
export function fieldsOf(job) {
  const asked = job.method?.[job.method.type]?.hyperparameters ?? job.hyperparameters ?? {};
  const text = (value) => (value === undefined || value === null || value === "auto" ? "" : String(value));
  return {
    model: job.model,
    upstream: job.tunehook.upstream ?? "",
    method: job.method?.type === "dpo" ? "dpo" : "supervised",
    epochs: text(asked.n_epochs),
    batch: text(asked.batch_size),
    rate: text(asked.learning_rate_multiplier),
    beta: text(asked.beta),
    callback: job.tunehook.callback_url ?? "",
    metadata: Object.entries(job.metadata ?? {}).map(([name, value]) => `${name}=${value}`).join("\n"),
  };
}

function methodOf(fields) {
  const kind = fields.method || "supervised";
  const asked = compact({
    n_epochs: numberOf(fields.epochs),
    batch_size: numberOf(fields.batch),
    learning_rate_multiplier: numberOf(fields.rate),
    beta: kind === "dpo" ? numberOf(fields.beta) : undefined,
  });
  const some = Object.keys(asked).length > 0;
  if (kind === "supervised" && !some) return undefined;
  return { type: kind, [kind]: some ? { hyperparameters: asked } : {} };
}

/** A number, the text itself where it is none (the API says what is wrong with it), undefined where it is empty. */
function numberOf(text) {
  const trimmed = String(text ?? "").trim();
  if (!trimmed || trimmed === "auto") return undefined;
  return Number.isFinite(Number(trimmed)) ? Number(trimmed) : trimmed;
}

function pairsOf(text) {
  const lines = String(text ?? "").split("\n").map((line) => line.trim()).filter(Boolean);
  return lines.map((line) => {
    const at = line.indexOf("=");
    return at < 0 ? [line, ""] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
  });
}

const compact = (found) => Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined && value !== ""));

/**
 * Returns the same call in three languages: `[{ name, text }]`.
 *
 * `base`: the address of the API, with `/v1`. `bodies`: of the requests; a sweep is one command, and many calls.
 * `files`: id → the name of the file on the user's disk, for the command, which uploads it itself. The key stands in
 * none of them.
 */
export function sameCall(base, bodies, files = {}) {
  const [body] = bodies;
  const tunehook = { name: "tunehook", text: command(base, bodies, files) };
  return bodies.length > 1 ? [tunehook] : [{ name: "curl", text: curl(base, body) }, { name: "Python", text: python(base, body) }, tunehook];
}

function curl(base, body) {
  return [
    `curl ${quoted(`${base}/fine_tuning/jobs`)} \\`,
    '  -H "Authorization: Bearer $OPENAI_API_KEY" \\',
    '  -H "Content-Type: application/json" \\',
    `  -d ${quoted(JSON.stringify(body, null, 2))}`,
  ].join("\n");
}

function python(base, body) {
  const { callback_url, tunehook, ...members } = body;
  const extra = compact({ callback_url, tunehook });
  const rows = Object.entries(members).map(([name, value]) => `    ${name}=${literal(value)},`);
  if (Object.keys(extra).length) rows.push(`    extra_body=${literal(extra)},`);
  return [
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${literal(base)})  # and OPENAI_API_KEY`,
    "job = client.fine_tuning.jobs.create(",
    ...rows,
    ")",
    "print(job.id, job.status)",
  ].join("\n");
}

/** JSON as a Python expression. */
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${literal(one)}`).join(", ")}}`;
}

function command(base, bodies, files) {
  const [body] = bodies;
  const isSweep = bodies.length > 1;
  const meta = Object.entries(body.metadata ?? {}).filter(([name]) => !isSweep || !["sweep", "sweep_run"].includes(name));
  const asked = (name) => {
    const values = [...new Set(bodies.map(({ method }) => method?.[method.type]?.hyperparameters?.[name] ?? "auto"))].join(",");
    return values === "auto" ? undefined : values;
  };
  const options = [
    ["--model", body.model],
    ["--validation", body.validation_file && (files[body.validation_file] ?? body.validation_file)],
    ["--method", body.method && body.method.type !== "supervised" ? body.method.type : undefined],
    ["--epochs", asked("n_epochs")],
    ["--batch-size", asked("batch_size")],
    ["--learning-rate-multiplier", asked("learning_rate_multiplier")],
    ["--beta", asked("beta")],
    ["--sweep", isSweep ? body.metadata.sweep : undefined],
    ["--name", body.suffix],
    ["--seed", body.seed],
    ...meta.map(([name, value]) => ["--meta", `${name}=${value}`]),
    ["--callback", body.callback_url],
    ["--max-cost", body.tunehook?.max_cost_usd],
    ["--upstream", body.tunehook?.upstream],
  ].filter(([, value]) => value !== undefined && value !== "");
  const words = [quoted(files[body.training_file] ?? body.training_file ?? ""), ...options.map(([name, value]) => `${name} ${quoted(String(value))}`)];
  return [`OPENAI_BASE_URL=${quoted(base)} tunehook submit ${words[0]}`, ...words.slice(1)].join(" \\\n    ");
}
