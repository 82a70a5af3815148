// Curves of trainings: columns of steps → series, smoothing, words and CSV. Pure.

const drawn = (...columns) => columns.map((column, at) => ({ column, word: ["train", "valid", "full valid"][at], dash: [[], [7, 4], [2, 4]][at] }));
/** What a chart is of → the columns that are drawn, with the word and the dash that tell them apart beside the colour. */
export const KINDS = {
  reward: drawn("train_mean_reward", "valid_mean_reward", "full_valid_mean_reward"),
  loss: drawn("train_loss", "valid_loss", "full_valid_loss"),
  accuracy: drawn("train_mean_token_accuracy", "valid_mean_token_accuracy", "full_valid_mean_token_accuracy"),
};

/** What charts of these columns can be of: by reinforcement the reward comes first. */
export function chartsOf(...runs) {
  const found = Object.keys(KINDS).filter((of) => KINDS[of].some(({ column }) => runs.some((columns) => columns[column])));
  return found.length ? found : ["loss"];
}

/** Moving average by exponents, without the pull of its beginning. `weight` 0 … 0.99; gaps stay gaps. */
export function smooth(values, weight) {
  if (!weight) return values;
  let sum = 0, share = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return null;
    sum = sum * weight + value * (1 - weight);
    share = share * weight + (1 - weight);
    return sum / share;
  });
}

/** Returns the columns with rows added or replaced by their step, in the order of steps. The columns are new. */
export function withRows(columns, rows) {
  if (!rows.length) return columns;
  const steps = columns.step ?? [];
  const newest = steps.at(-1) ?? -Infinity;
  const names = new Set([...Object.keys(columns), ...rows.flatMap((row) => Object.keys(row))]);
  names.delete("total_steps");
  if (rows.every((row, index) => row.step > (index ? rows[index - 1].step : newest))) {
    return Object.fromEntries([...names].map((name) => [
      name, [...(columns[name] ?? steps.map(() => null)), ...rows.map((row) => row[name] ?? null)],
    ]));
  }
  const byStep = new Map(steps.map((step, index) => [step, Object.fromEntries([...names].map((name) => [name, columns[name]?.[index] ?? null]))]));
  for (const row of rows) byStep.set(row.step, { ...byStep.get(row.step), ...row });
  const sorted = [...byStep.values()].sort((one, other) => one.step - other.step);
  return Object.fromEntries([...names].map((name) => [name, sorted.map((row) => row[name] ?? null)]));
}

/** The row of numbers in an event's data, or null. */
export function rowOf(event) {
  const data = event.data ?? {};
  if (event.type !== "metrics" || !Number.isInteger(data.step)) return null;
  return Object.fromEntries(Object.entries(data).filter(([, value]) => typeof value === "number" && Number.isFinite(value)));
}

/** Lines to draw for several jobs: `[{id, kind, x, y}]`, points where something was measured.
 *
 * `scale`: step, or share of the run (`totals`: id → steps), or tokens (`tokens`: id → all tokens).
 */
export function linesOf(runs, kinds, scale = "step") {
  return runs.flatMap(({ id, columns, total, tokens }) => {
    const steps = columns.step ?? [];
    const last = total || steps.at(-1) || 1;
    const factor = scale === "share" ? 100 / last : scale === "tokens" && tokens ? tokens / last : 1;
    return kinds.filter(({ column }) => columns[column]?.some((value) => value !== null)).map((kind) => ({
      id, kind, x: factor === 1 ? steps : steps.map((step) => step * factor), y: columns[kind.column],
    }));
  });
}

/** One table for all lines: sorted x of all, and a column for each line with null where it has no point. */
export function aligned(lines) {
  if (lines.length && lines.every(({ x }) => x === lines[0].x)) return [lines[0].x, ...lines.map(({ y }) => y)];
  const places = new Map();
  for (const { x } of lines) for (const value of x) places.set(value, 0);
  const xs = [...places.keys()].sort((one, other) => one - other);
  xs.forEach((value, index) => places.set(value, index));
  return [xs, ...lines.map(({ x, y }) => {
    const column = new Array(xs.length).fill(null);
    x.forEach((value, index) => { column[places.get(value)] = y[index]; });
    return column;
  })];
}

/** First, last and lowest of a column, with their steps; null without values. `best`: "min" or "max". */
export function rangeOf(steps, values, best = "min") {
  let first = null, last = null, extreme = null;
  values.forEach((value, index) => {
    if (value === null || value === undefined) return;
    const point = { step: steps[index], value };
    first ??= point;
    last = point;
    if (!extreme || (best === "min" ? value < extreme.value : value > extreme.value)) extreme = point;
  });
  return first && { first, last, best: extreme };
}

/** A chart in words: "Training loss went from 2.61 at step 1 to 0.35 at step 96; its lowest is 0.35 at step 96." */
export function sentence(columns, format, { of = "loss", kinds = KINDS[of] } = {}) {
  const parts = kinds.flatMap(({ column, word }) => {
    const range = columns[column] && rangeOf(columns.step, columns[column], of === "loss" ? "min" : "max");
    if (!range) return [];
    const name = `${word === "train" ? "Training" : word === "valid" ? "Validation" : "Full validation"} ${of}`;
    if (range.first.step === range.last.step) return [`${name} is ${format(range.last.value)} at step ${range.last.step}.`];
    return [`${name} went from ${format(range.first.value)} at step ${range.first.step} to ${format(range.last.value)} at step ${range.last.step}; `
      + `its ${of === "loss" ? "lowest" : "highest"} is ${format(range.best.value)} at step ${range.best.step}.`];
  });
  return parts.join(" ") || "Nothing has been measured yet.";
}

export function csv(columns) {
  const names = Object.keys(columns);
  const rows = (columns.step ?? []).map((_, index) => names.map((name) => columns[name][index] ?? "").join(","));
  return [names.join(","), ...rows, ""].join("\r\n");
}

/** Points of a small line, within `width` × `height`, of at most 60 values. */
export function spark(values, width = 60, height = 16) {
  const found = values.filter((value) => value !== null && value !== undefined);
  if (found.length < 2) return "";
  const every = Math.max(1, Math.ceil(found.length / 60));
  const kept = found.filter((_, index) => index % every === 0 || index === found.length - 1);
  const [low, high] = [Math.min(...kept), Math.max(...kept)];
  return kept.map((value, index) => {
    const x = (index / (kept.length - 1)) * width;
    const y = height - 1 - ((value - low) / (high - low || 1)) * (height - 2);
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  }).join(" ");
}
