// Reads single lines of a large file as it streams by: no more than one line is kept.
/** Longer lines are cut: a browser that draws 16 MB of one line stands still. */
export const LINE_CHARACTERS = 20_000;

/** Returns line `number` (from 1) of a stream of bytes, cut at LINE_CHARACTERS; null behind the end. */
export async function lineOf(stream, number) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let [at, kept] = [1, null];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return kept;
    let from = 0;
    for (;;) {
      const end = value.indexOf("\n", from);
      if (at === number) kept = ((kept ?? "") + value.slice(from, end < 0 ? undefined : end)).slice(0, LINE_CHARACTERS + 1);
      if (at === number && (end >= 0 || kept.length > LINE_CHARACTERS)) {
        await reader.cancel();
        return kept.length > LINE_CHARACTERS ? `${kept.slice(0, LINE_CHARACTERS)}…` : kept;
      }
      if (end < 0) break;
      at += 1;
      from = end + 1;
    }
  }
}
