// Files above 16 MB are checked by a worker. The one request that waits for the end of a check is an estimate.
import { get, post } from "../../lib/api.js";
import { useEffect } from "../../lib/ui.js";

/** Asks for an estimate; the API answers when the files are checked, a minute later at most, and is asked again then. */
export async function estimateWhenChecked(body, signal) {
  for (;;) {
    try {
      return await post("/fine_tuning/jobs/estimate", body, { signal });
    } catch (error) {
      if (error.code !== "file_not_checked") throw error;
    }
  }
}

/** Calls `told()` when the file is checked. `file`: null waits for none. */
export function useWhenChecked(file, told) {
  useEffect(() => {
    if (!file) return undefined;
    const stopper = new AbortController();
    waited(file, stopper.signal).then(() => stopper.signal.aborted || told(), () => {});
    return () => stopper.abort();
  }, [file]);
}

/** Whatever the estimate says of a checked file (that it has errors, no price), the check is over. */
async function waited(file, signal) {
  const [model] = (await get("/models", { limit: 1 }, { signal })).data;
  await estimateWhenChecked({ training_file: file, model: model?.id ?? "none" }, signal).catch(() => {});
}
