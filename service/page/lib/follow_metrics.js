// The curve of one job, live: what was before is read when the stream has joined, each new step comes by the stream.
import { get } from "./api.js";
import { rowOf, withRows } from "./curve.js";
import { useBack, useEvent, useLog } from "./hooks.js";
import { hasEnded } from "./job.js";
import { loadJob } from "./store.js";
import { useEffect, useRef, useState } from "./ui.js";

/** Returns `{columns, total, error}` of a job; `columns` null before they are read. `live`: follow it. */
export function useMetrics(id, live = true) {
  const [state, set] = useState({ columns: null, total: null, error: null });
  const queue = useRef([]);
  const frame = useRef(0);
  const wanted = useRef(id);
  wanted.current = id;
  const read = async () => {
    const isWanted = () => wanted.current === id; // an answer that comes late may be of another job
    try {
      const found = await get(`/fine_tuning/jobs/${id}/metrics`);
      if (isWanted()) set((before) => ({ ...before, columns: withRows(found.columns, (before.late ?? [])), error: null }));
    } catch (error) {
      if (isWanted()) set((before) => ({ ...before, error }));
    }
  };
  useEffect(() => {
    set({ columns: null, total: null, error: null });
    if (id) read();
    return () => {
      clearTimeout(frame.current);
      frame.current = 0;
      queue.current = [];
    };
  }, [id]);
  const add = (event) => {
    const row = rowOf(event);
    if (!row) return;
    queue.current.push(row);
    if (frame.current) return;
    frame.current = setTimeout(() => {
      frame.current = 0;
      const rows = queue.current.splice(0);
      set((before) => ({
        ...before,
        columns: before.columns && withRows(before.columns, rows),
        late: before.columns ? [] : [...(before.late ?? []), ...rows],
        total: rows.at(-1).total_steps ?? before.total,
      }));
    }, 50);
  };
  useLog(live ? id : null, add, () => { read(); loadJob(id).catch(() => {}); });
  // After the end the stream tells of the job again when its result file has brought steps that no event told of.
  useEvent("job", (job) => job.id === id && hasEnded(job) && read());
  useBack(state.error, read);
  return state;
}
