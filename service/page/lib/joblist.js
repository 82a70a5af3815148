// The rows of the list as they change. Pure: pages come in, events come in, ids go out.
import { byAge, fits } from "./filter.js";

/** A list of ids in the order of age, as far as it was read. */
export class JobList {
  constructor(filters = {}) {
    this.filters = filters;
    this.ids = [];
    this.created = new Map();
    this.more = false;
    this.cursor = null;
  }

  /** Takes a page of the API, behind what is here. */
  add(page) {
    for (const job of page.data) {
      if (!this.created.has(job.id)) this.ids.push(job.id);
      this.created.set(job.id, job.created_at);
    }
    this.more = page.has_more;
    this.cursor = page.data.at(-1)?.id ?? this.cursor;
  }

  /** Takes a job of the stream. Returns "same", "changed" (read `ids` again) or "ask" (only the API knows if it fits). */
  take(job) {
    const known = this.created.has(job.id);
    const fit = fits(job, this.filters);
    if (known) {
      if (fit !== false) return "same";
      this.created.delete(job.id);
      this.ids = this.ids.filter((id) => id !== job.id);
      return "changed";
    }
    if (fit === false) return "same";
    if (fit === null) return "ask";
    const last = this.ids.at(-1);
    if (this.more && last && job.created_at < this.created.get(last)) return "same"; // it is on a page to come
    this.created.set(job.id, job.created_at);
    const at = this.ids.findIndex((id) => byAge({ created_at: job.created_at }, { created_at: this.created.get(id) }) <= 0);
    this.ids = at < 0 ? [...this.ids, job.id] : [...this.ids.slice(0, at), job.id, ...this.ids.slice(at)];
    return "changed";
  }
}
