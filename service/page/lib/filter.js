// The filters of the list of jobs: the query of the address ↔ the query of the API, and does a job fit. Pure.

/** Members of the query that the API takes as they are. `metadata[key]` beside them. */
export const NAMES = ["stage", "status", "model", "upstream", "created_after", "created_before", "q"];
const METADATA = /^metadata\[(.+)\]$/;

/** Returns the filters in a query, without what is empty or unknown. */
export function filtersOf(query) {
  return Object.fromEntries(
    Object.entries(query).filter(([name, value]) => value && (NAMES.includes(name) || METADATA.test(name))),
  );
}

/** Returns whether a job fits; null where the page cannot know (`q` searches the suffix too, which no job shows). */
export function fits(job, filters) {
  let unsure = false;
  for (const [name, value] of Object.entries(filters)) {
    const key = METADATA.exec(name)?.[1];
    if (key !== undefined) {
      if ((job.metadata ?? {})[key] !== value) return false;
    } else if (name === "stage") {
      if (job.tunehook.stage !== value) return false;
    } else if (name === "status") {
      if (job.status !== value) return false;
    } else if (name === "model") {
      if (job.model !== value) return false;
    } else if (name === "upstream") {
      if (job.tunehook.upstream !== value) return false;
    } else if (name === "created_after") {
      if (job.created_at < Number(value)) return false;
    } else if (name === "created_before") {
      if (job.created_at >= Number(value)) return false;
    } else if (name === "q" && !textOf(job).includes(value.toLowerCase())) unsure = true;
  }
  return unsure ? null : true;
}

function textOf(job) {
  const metadata = Object.entries(job.metadata ?? {}).flat();
  return [job.id, job.model, job.fine_tuned_model, ...metadata].join("\n").toLowerCase();
}

/** Returns the filters in words: "no job waits at openai". */
export function inWords(filters) {
  return Object.entries(filters).map(([name, value]) => {
    if (name === "q") return `“${value}”`;
    if (name === "created_after") return `since ${new Date(value * 1000).toLocaleString()}`;
    if (name === "created_before") return `before ${new Date(value * 1000).toLocaleString()}`;
    return `${METADATA.exec(name)?.[1] ?? name} ${value}`;
  });
}

/** Newest first, as the API lists them. */
export function byAge(one, other) {
  return other.created_at - one.created_at;
}
