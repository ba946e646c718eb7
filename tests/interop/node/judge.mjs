// Follows a channel's LL-HLS as a player does, each rendition for so many reloads, and lets
// hls-parser judge each playlist by its strict rules: node judge.mjs INDEX_URL RELOADS [uneven].
// Says what was judged as JSON. With "uneven", parts that are short as pictures came late are
// counted only.
import { parse, setOptions } from "hls-parser";

setOptions({ strictMode: true });

const [index, reloads] = [process.argv[2], Number(process.argv[3])];
const uneven = process.argv[4] === "uneven";
const judged = { short: 0, multivariant: 0, media: 0, delta: 0, skipped: 0, parts: 0, segments: 0 };

async function text(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(20_000) });
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return await answer.text();
}

function judge(playlist, what) {
  try {
    return parse(playlist);
  } catch (error) {
    if (uneven && error.message.includes("85% of PART-TARGET")) {
      judged.short++;
      setOptions({ strictMode: false });
      const read = parse(playlist);
      setOptions({ strictMode: true });
      return read;
    }
    console.error(`${what}: ${error.message}\n${playlist}`);
    process.exit(1);
  }
}

const master = judge(await text(index), "multivariant playlist");
judged.multivariant++;
if (!master.isMasterPlaylist || !master.variants[0].codecs) throw new Error("no variants");
const sounds = master.variants.flatMap((variant) => variant.audio).map((sound) => sound.uri);
const uris = new Set([...master.variants.map((variant) => variant.uri), ...sounds]);
judged.renditions = uris.size;

/** Follows one media playlist. */
async function follow(uri) {
  const media = new URL(uri, index);
  let listing = judge(await text(media), "media playlist");
  judged.media++;
  for (let turn = 0; turn < reloads; turn++) {
    // The next part: behind the last one of the segment that is being made.
    const last = listing.segments.at(-1);
    const open = last && !last.uri;
    const number = last ? last.mediaSequenceNumber + (open ? 0 : 1) : listing.mediaSequenceBase;
    const part = open ? last.parts.filter((one) => !one.hint).length : 0;
    const url = new URL(media);
    url.searchParams.set("_HLS_msn", String(number));
    url.searchParams.set("_HLS_part", String(part));
    const skip = turn % 3 === 2;
    if (skip) url.searchParams.set("_HLS_skip", "YES");
    const body = await text(url);
    const after = judge(body, `media playlist ${url.search}`);
    if (skip) judged.delta++;
    else judged.media++;
    if (after.skip) judged.skipped += after.skip;
    if (!after.lowLatencyCompatibility?.canBlockReload) throw new Error(`no blocking:\n${body}`);
    const newest = after.segments.at(-1);
    if (newest.mediaSequenceNumber < number) throw new Error(`went back:\n${body}`);
    // Each tells where the others are, by their addresses.
    const told = after.renditionReports.map((report) => new URL(report.uri, media).href);
    const others = [...uris].filter((other) => other !== uri);
    if (others.some((other) => !told.includes(new URL(other, index).href)))
      throw new Error(`not all reported:\n${body}`);
    judged.parts = Math.max(judged.parts, (newest.parts ?? []).length);
    judged.segments = Math.max(judged.segments, newest.mediaSequenceNumber);
    listing = after;
  }
}

await Promise.all([...uris].map(follow));
console.log(JSON.stringify(judged));
