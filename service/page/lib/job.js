// What a job's members say to a person. Pure.

/** Sign, word and kind of a job's state. `kind`: good, bad, run, wait, off; it is never told by colour alone. */
export function stateOf(job) {
  const { stage, cancel_requested_at: cancelled, waiting } = job.tunehook;
  if (job.status === "succeeded") return { kind: "good", sign: "✓", word: "succeeded" };
  if (job.status === "failed") return { kind: "bad", sign: "✕", word: "failed" };
  if (job.status === "cancelled") return { kind: "off", sign: "⊘", word: "cancelled" };
  if (cancelled) return { kind: "wait", sign: "⊘", word: "cancelling" };
  if (job.status === "paused") return { kind: "wait", sign: "‖", word: "paused" };
  if (waiting?.code === "awaiting_approval") return { kind: "wait", sign: "?", word: "needs approval" };
  if (stage === "waiting") return { kind: "wait", sign: "‖", word: "waiting" };
  if (stage === "accepted") return { kind: "run", sign: "○", word: "checking" };
  if (stage === "uploading") return { kind: "run", sign: "↑", word: "uploading" };
  if (stage === "creating") return { kind: "run", sign: "○", word: "creating" };
  if (job.tunehook.upstream_status === "succeeded") return { kind: "run", sign: "▶", word: "naming the model" };
  if (job.status === "running") return { kind: "run", sign: "▶", word: "training" };
  return { kind: "run", sign: "○", word: job.status === "validating_files" ? "validating" : job.status.replaceAll("_", " ") };
}

export function hasEnded(job) {
  return job.tunehook.stage === "settled";
}

/** Why a job has not gone on, in the API's words, or null. */
export function whyOf(job) {
  if (job.status === "failed") return job.error?.message ?? null;
  return job.tunehook.waiting?.reason ?? null;
}

/** Bytes sent, or steps; `{value, of, text}` or null where nothing is known. `metrics`: the newest, with its steps. */
export function progressOf(job, metrics) {
  const upload = job.tunehook.upload;
  if (job.tunehook.stage === "uploading" && upload?.bytes_total) {
    return { value: upload.bytes_sent, of: upload.bytes_total, text: `${percent(upload.bytes_sent, upload.bytes_total)} sent` };
  }
  if (!hasEnded(job) && metrics?.step && metrics.total_steps) {
    return { value: metrics.step, of: metrics.total_steps, text: percent(metrics.step, metrics.total_steps) };
  }
  return null;
}

function percent(value, of) {
  return `${Math.floor((100 * value) / of)} %`;
}

/** The hyperparameters in use, by name, whatever the method. */
export function hyperparametersOf(job) {
  const type = job.method?.type ?? "supervised";
  return { method: type, ...(job.method?.[type]?.hyperparameters ?? {}), ...(type === "supervised" ? job.hyperparameters : {}) };
}

/** Which members differ between jobs: `[{name, values}]`, for a table beside their curves. */
export function differences(jobs) {
  const rows = jobs.map((job) => ({
    model: job.model, upstream: job.tunehook.upstream, training_file: job.training_file, seed: job.seed,
    ...hyperparametersOf(job), ...(job.tunehook.options ?? {}), ...(job.metadata ?? {}),
  }));
  const names = [...new Set(rows.flatMap(Object.keys))];
  return names
    .map((name) => ({ name, values: rows.map((row) => row[name] ?? null) }))
    .filter(({ values }) => new Set(values.map((value) => JSON.stringify(value))).size > 1);
}

/** The story of a job: `[{name, at, seconds, state, text}]`, oldest first; `state`: done, now, bad. */
export function storyOf(job, entries, now) {
  const points = [{ name: "accepted", at: job.created_at }];
  const first = (test) => entries.find(test);
  const marks = [
    ["uploaded", first(({ data }) => data?.bytes_total > 0 && data.bytes_sent === data.bytes_total)],
    ["created", first(({ message }) => /^Created (at the upstream|fine-tuning job)/.test(message))],
    ["training", first(({ message, type }) => type === "metrics" || /training started|job started/i.test(message))],
  ];
  for (const [name, entry] of marks) if (entry) points.push({ name, at: entry.created_at });
  for (const { message, created_at: at } of entries) {
    if (message.startsWith("Waiting: ")) points.push({ name: "waiting", at, text: message.slice("Waiting: ".length) });
    else if (/\bpaused\b/i.test(message)) points.push({ name: "paused", at });
    else if (/\bresumed\b/i.test(message)) points.push({ name: "resumed", at });
  }
  points.sort((one, other) => one.at - other.at);
  const ended = hasEnded(job);
  if (ended) points.push({ name: job.status, at: job.finished_at ?? points.at(-1).at });
  return points.map((point, index) => {
    const next = points[index + 1];
    const isLast = index === points.length - 1;
    return {
      ...point,
      seconds: next ? Math.max(0, next.at - point.at) : ended ? null : Math.max(0, now - point.at),
      state: isLast ? (ended ? (job.status === "succeeded" ? "done" : "bad") : "now") : "done",
    };
  });
}
