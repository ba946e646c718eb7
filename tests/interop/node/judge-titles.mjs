// Reads all playlists of a title and lets hls-parser judge them by its strict rules:
// node judge-titles.mjs INDEX_URL. Says what there is as JSON.
import { parse, setOptions } from "hls-parser";

setOptions({ strictMode: true });

const index = process.argv[2];

async function read(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(20_000) });
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  const text = await answer.text();
  try {
    // hls-parser knows this tag of low latency only; delta updates alone may have it (§4.4.3.8).
    return parse(text.replace(/^#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=[\d.]+\n/m, ""));
  } catch (error) {
    console.error(`${url}: ${error.message}\n${text}`);
    process.exit(1);
  }
}

const master = await read(index);
const uris = new Set(
  master.variants.flatMap((variant) => [variant.uri, ...variant.audio.map((one) => one.uri)]),
);
const media = [];
for (const uri of uris) {
  const list = await read(new URL(uri, index));
  const seconds = list.segments.map((one) => one.duration);
  media.push({
    segments: seconds.length,
    seconds: seconds.reduce((sum, one) => sum + one, 0),
    longest: Math.max(...seconds),
    target: list.targetDuration,
    type: list.playlistType,
    ended: list.endlist,
    map: list.segments[0].map?.uri,
  });
}
console.log(JSON.stringify({ variants: master.variants.length, media }));
