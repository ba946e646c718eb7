/** The few things done to session descriptions: ICE names out of them, and others in. */

/** Lines of a description or fragment; both ends of line occur. */
const lines = (sdp: string): string[] => sdp.split(/\r?\n/).filter(Boolean);

const text = (all: readonly string[]): string => `${all.join("\r\n")}\r\n`;

/** What an ICE agent is called by and where it can be met (RFC 8839 sections 5.1, 5.4). */
export interface IceNames {
  readonly ufrag: string;
  readonly pwd: string;
  readonly candidates: readonly string[];
}

/** Names and candidates of the first media section, or of the session; null where there are none. */
export function iceNames(sdp: string): IceNames | null {
  let ufrag = "";
  let pwd = "";
  const candidates: string[] = [];
  let sections = 0;
  for (const line of lines(sdp)) {
    if (line.startsWith("m=")) sections++;
    // All sections are bundled: the first speaks for the others.
    if (sections > 1) break;
    if (line.startsWith("a=ice-ufrag:")) ufrag = line.slice(12);
    else if (line.startsWith("a=ice-pwd:")) pwd = line.slice(10);
    else if (line.startsWith("a=candidate:")) candidates.push(line);
  }
  return ufrag && pwd ? { ufrag, pwd, candidates } : null;
}

/** The body of a PATCH that restarts ICE (RFC 9725 section 4.3.3, RFC 8840). */
export function restartFragment(offer: string): string {
  const names = iceNames(offer);
  if (!names) throw new Error("an offer without ICE names");
  const all = lines(offer);
  const media = all.find((line) => line.startsWith("m="));
  const mid = all.find((line) => line.startsWith("a=mid:"));
  const fragment = [`a=ice-ufrag:${names.ufrag}`, `a=ice-pwd:${names.pwd}`];
  if (media) fragment.push(media);
  if (mid) fragment.push(mid);
  return text([...fragment, ...names.candidates]);
}

/** `answer` with other ICE names and candidates: what the peer would have answered to a restart. */
export function renamed(answer: string, names: IceNames): string {
  const result: string[] = [];
  let placed = false;
  for (const line of lines(answer)) {
    if (line.startsWith("a=candidate:") || line === "a=end-of-candidates") continue;
    if (line.startsWith("a=ice-ufrag:")) {
      result.push(`a=ice-ufrag:${names.ufrag}`);
    } else if (line.startsWith("a=ice-pwd:")) {
      result.push(`a=ice-pwd:${names.pwd}`);
    } else {
      result.push(line);
      if (line.startsWith("a=mid:") && !placed) {
        placed = true;
        result.push(...names.candidates);
      }
    }
  }
  return text(result);
}

/** Ask for both channels of Opus: browsers take one unless told (RFC 7587 section 6.1). */
export function withStereo(offer: string): string {
  const types = new Set(
    [...offer.matchAll(/^a=rtpmap:(\d+) opus\/48000/gim)].map((found) => found[1]),
  );
  return text(
    lines(offer).map((line) => {
      const type = /^a=fmtp:(\d+) /.exec(line)?.[1];
      return type && types.has(type) && !/stereo=1/.test(line) ? `${line};stereo=1` : line;
    }),
  );
}
