// Hooks that views share.
import { epoch, follow, followed, line, on } from "./stream.js";
import { useEffect, useRef, useSignalEffect, useState } from "./ui.js";

/** Reads something, and again after `again()`, when `deps` change, and when changes of the stream were lost.
 *
 * Returns `{data, error, loading, again}`. What is shown stays while it is read again.
 */
export function useLoaded(read, deps = []) {
  const [state, set] = useState({ data: undefined, error: null, loading: true });
  const current = useRef(0);
  const latest = useRef(read);
  latest.current = read;
  const again = () => {
    const turn = ++current.current;
    set((before) => ({ ...before, loading: true }));
    return latest.current().then(
      (data) => turn === current.current && set({ data, error: null, loading: false }),
      (error) => turn === current.current && error.name !== "AbortError" && set((before) => ({ ...before, error, loading: false })),
    );
  };
  useEffect(() => {
    set((before) => ({ ...before, data: undefined }));
    again();
    return () => { current.current += 1; };
  }, deps);
  const first = useRef(true);
  useSignalEffect(() => {
    epoch.value;
    if (first.current) first.current = false;
    else again();
  });
  useBack(state.error, again);
  return { ...state, again };
}

/** Reads again what could not be read, when the service is back or there is another key. */
export function useBack(error, again) {
  const isLive = line.value.kind === "live";
  useEffect(() => {
    if (isLive && (error?.isAway || error?.status === 401)) again();
  }, [isLive]);
}

/** Calls `told(data)` for each event of a kind of the live stream. */
export function useEvent(kind, told) {
  const latest = useRef(told);
  latest.current = told;
  useEffect(() => on(kind, (data) => latest.current(data)), [kind]);
}

/** Follows the log of a job: `told(entry)` for each new entry, `joined()` when from now on none is missed.
 *
 * Read what came before in `joined`: it is called again after a gap.
 */
export function useLog(id, told, joined) {
  const latest = useRef({});
  latest.current = { told, joined };
  useEffect(() => {
    if (!id) return undefined;
    const ends = [follow(id), on("log", (data) => data.fine_tuning_job_id === id && latest.current.told(data.event))];
    return () => ends.forEach((end) => end());
  }, [id]);
  const isIn = useRef(false);
  useSignalEffect(() => {
    epoch.value;
    const now = followed.value.includes(id);
    if (now && !isIn.current) latest.current.joined();
    isIn.current = now;
  });
}

/** Sets the title of the window while a view is shown; the shell puts the count of ended jobs before it. */
export function useTitle(text) {
  useEffect(() => {
    document.title = text ? `${text} · Tunehook` : "Tunehook";
  }, [text]);
}

/** Runs an action of a button: `[run, busy, error]`. */
export function useAction(action) {
  const [state, set] = useState({ busy: false, error: null });
  const running = useRef(false); // the second of two quick clicks comes before the button is drawn as busy
  const run = async (...args) => {
    if (running.current) return undefined;
    running.current = true;
    set({ busy: true, error: null });
    try {
      const result = await action(...args);
      set({ busy: false, error: null });
      return result;
    } catch (error) {
      set({ busy: false, error });
      return undefined;
    } finally {
      running.current = false;
    }
  };
  return [run, state.busy, state.error];
}
