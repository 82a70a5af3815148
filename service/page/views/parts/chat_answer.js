// One answer of a model, as its stream is read.
import { createParser } from "eventsource-parser";

/** An answer before anything came. `tokens`: of the answer, once the upstream says it. */
export const EMPTY = { text: "", tokens: null, ended: false, error: null };

/** Returns an answer with one `data` of the stream added. An error that comes in the middle ends it. */
export function withData(answer, data) {
  if (data === "[DONE]") return { ...answer, ended: true };
  const found = JSON.parse(data);
  if (found.error) return { ...answer, ended: true, error: found.error.message ?? String(found.error) };
  const [choice] = found.choices ?? [];
  const cut = choice?.finish_reason === "length" ? " […]" : "";
  return {
    ...answer,
    text: answer.text + (choice?.delta?.content ?? choice?.delta?.refusal ?? "") + cut,
    tokens: found.usage?.completion_tokens ?? answer.tokens,
  };
}

/** Reads the body of an answer with `stream: true`; calls `told` with the answer at each piece. Returns the last one. */
export async function readAnswer(body, told) {
  let answer = EMPTY;
  const parser = createParser({
    onEvent: ({ data }) => {
      if (!answer.ended) told((answer = withData(answer, data)));
    },
  });
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  while (!answer.ended) {
    const { done, value } = await reader.read();
    if (done) told((answer = { ...answer, ended: true, error: "The answer broke off." }));
    else parser.feed(value);
  }
  await reader.cancel();
  return answer;
}
