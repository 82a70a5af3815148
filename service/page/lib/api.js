// Calls the API below `v1/`, relative to the page, with the tab's key.
import { key, refusal, refuseKey } from "./key.js";

/** Whether a request may be sent again: it changes nothing, or its key says that it is the same one. */
const isSafe = (method, path, { headers, body }) => method === "GET" || path.endsWith("/estimate") || Boolean(headers?.["idempotency-key"] || body?.dry_run);
/** A store that answers late is a 503: such a request is sent again so often, as OpenAI's SDKs do. */
const RETRIES = 2;

/** An answer that is an error: the API's own words. `code` as `missing_scope`; `status` 0: no answer. */
export class ApiError extends Error {
  constructor(status, error = {}, requestId = null) {
    super(error.message || (status ? `The answer was ${status}, without words.` : "Tunehook does not answer."));
    this.status = status;
    this.code = error.code ?? null;
    this.param = error.param ?? null;
    this.requestId = requestId;
  }

  /** Whether the service is away: nothing answered, a proxy did in its place, or it said so itself. */
  get isAway() {
    return this.status === 0 || this.status === 503 || (this.status > 500 && !this.code);
  }
}

/** Raises ApiError where an id in the path, which may come from a link, would lead elsewhere: `../…`. */
export function address(path, query = {}) {
  const root = new URL("v1", new URL(".", document.baseURI));
  const url = new URL(`v1${path}`, root);
  if (url.pathname !== root.pathname + path.split("?")[0]) throw new ApiError(404, { message: `The API has no such address: ${path}` });
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  return url;
}

/** Sends a request and returns its Response; raises ApiError. `body`: sent as JSON; `form`: a FormData. */
export async function send(method, path, options = {}, retries = RETRIES) {
  const { query, body, form, headers, signal } = options;
  const used = key.value;
  if (!used && !headers?.authorization) throw new ApiError(401, { message: refusal.value || "There is no key." }); // refused before
  const target = address(path, query);
  const all = { authorization: `Bearer ${used}`, ...headers };
  if (body !== undefined) all["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(target, {
      method, headers: all, signal, body: form ?? (body === undefined ? undefined : JSON.stringify(body)),
      cache: "no-store", credentials: "same-origin", referrerPolicy: "no-referrer",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { message: `Tunehook does not answer: ${error.message}.${isSafe(method, path, options) ? "" : " Look before you send it again: it may have arrived."}` });
  }
  if (answer.ok) return answer;
  if (answer.status === 503 && isSafe(method, path, options) && retries > 0) {
    await new Promise((done) => setTimeout(done, 1000 * Math.min(5, Number(answer.headers.get("retry-after")) || 1)));
    return send(method, path, options, retries - 1);
  }
  const told = await answer.json().catch(() => ({}));
  throw errorOf(answer.status, told, used, answer.headers.get("x-request-id"));
}

/** The error that an answer is. A key that it refuses is given up, unless another was taken meanwhile. */
export function errorOf(status, told, used, requestId = null) {
  const error = new ApiError(status, told?.error, told?.request_id ?? requestId);
  if (status === 401 && used && used === key.value) refuseKey(error.message);
  return error;
}

/** The JSON of an answer. */
export async function call(method, path, options) {
  const answer = await send(method, path, options);
  return answer.status === 204 ? null : answer.json();
}

export const get = (path, query, options) => call("GET", path, { query, ...options });
export const post = (path, body = {}, options) => call("POST", path, { body, ...options });
export const del = (path, options) => call("DELETE", path, options);

/** All pages of a list, up to `most` objects; `begun`: is told of the first page. */
export async function all(path, query = {}, most = 1000, begun = () => {}) {
  const found = [];
  let after;
  do {
    const page = await get(path, { limit: 100, ...query, after });
    if (!after) begun(page.data);
    found.push(...page.data);
    after = page.has_more && page.data.length ? page.data.at(-1).id : null;
  } while (after && found.length < most);
  return found;
}
