// Follows a channel's LL-HLS for some seconds as a player does, and lets hls-parser judge each
// playlist by its strict rules: node judge.mjs INDEX_URL SECONDS. Says what was judged as JSON.
import { parse, setOptions } from "hls-parser";

setOptions({ strictMode: true });

const [index, seconds] = [process.argv[2], Number(process.argv[3])];
const judged = { multivariant: 0, media: 0, delta: 0, skipped: 0, parts: 0, segments: 0 };

async function text(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(20_000) });
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return await answer.text();
}

function judge(playlist, what) {
  try {
    return parse(playlist);
  } catch (error) {
    console.error(`${what}: ${error.message}\n${playlist}`);
    process.exit(1);
  }
}

const master = judge(await text(index), "multivariant playlist");
judged.multivariant++;
if (!master.isMasterPlaylist || !master.variants[0].codecs) throw new Error("no variants");
const media = new URL(master.variants[0].uri, index);
let listing = judge(await text(media), "media playlist");
judged.media++;
const end = Date.now() + seconds * 1000;
let turn = 0;
while (Date.now() < end) {
  // The next part: behind the last one of the segment that is being made.
  const last = listing.segments.at(-1);
  const open = last && !last.uri;
  const number = last ? last.mediaSequenceNumber + (open ? 0 : 1) : listing.mediaSequenceBase;
  const part = open ? last.parts.filter((one) => !one.hint).length : 0;
  const url = new URL(media);
  url.searchParams.set("_HLS_msn", String(number));
  url.searchParams.set("_HLS_part", String(part));
  const skip = turn++ % 3 === 2;
  if (skip) url.searchParams.set("_HLS_skip", "YES");
  const body = await text(url);
  const after = judge(body, `media playlist ${url.search}`);
  if (skip) judged.delta++;
  else judged.media++;
  if (after.skip) judged.skipped += after.skip;
  if (!after.lowLatencyCompatibility?.canBlockReload) throw new Error(`no blocking:\n${body}`);
  const newest = after.segments.at(-1);
  if (newest.mediaSequenceNumber < number) throw new Error(`went back:\n${body}`);
  judged.parts = Math.max(judged.parts, (newest.parts ?? []).length);
  judged.segments = Math.max(judged.segments, newest.mediaSequenceNumber);
  listing = after;
}
console.log(JSON.stringify(judged));
