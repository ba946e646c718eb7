/** STUN and TURN servers that come with an answer (RFC 9725 section 4.6). */

/** A link: its target and its parameters (RFC 8288 section 3), which are quoted or not. */
const LINK = /<([^>]*)>((?:\s*;\s*[\w-]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]+))*)/g;
const PARAMETER = /([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]+))/g;
const KNOWN = /^(?:stun|turn)s?:/i;

/** Servers named by `Link` headers, which a browser gives as one; other links are left out. */
export function iceServers(link: string): RTCIceServer[] {
  const found: RTCIceServer[] = [];
  for (const [, target = "", tail = ""] of link.matchAll(LINK)) {
    const named = new Map<string, string>();
    for (const [, name = "", quoted, plain = ""] of tail.matchAll(PARAMETER)) {
      named.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, "$1") ?? plain);
    }
    if (named.get("rel") !== "ice-server" || !KNOWN.test(target)) continue;
    const username = named.get("username");
    const credential = named.get("credential");
    found.push(
      username !== undefined && credential !== undefined
        ? { urls: target, username, credential }
        : { urls: target },
    );
  }
  return found;
}

/**
 * Have a peer use these servers, as it was made without knowing of them: when it looks for paths the next
 * time (RFC 9429 section 4.1.18). Whether they are other ones than it had.
 */
export function useServers(peer: RTCPeerConnection, servers: RTCIceServer[]): boolean {
  if (servers.length === 0) return false;
  const before = peer.getConfiguration();
  if (same(before.iceServers ?? [], servers)) return false;
  try {
    peer.setConfiguration({ ...before, iceServers: servers });
    return true;
  } catch (error) {
    // An older browser, or a server that it does not take: the direct path may do.
    console.warn("ICE servers:", error);
    return false;
  }
}

/** Browsers give URLs as lists. */
const plain = (servers: RTCIceServer[]): string =>
  JSON.stringify(servers.map((s) => [[s.urls].flat(), s.username ?? "", s.credential ?? ""]));

const same = (a: RTCIceServer[], b: RTCIceServer[]): boolean => plain(a) === plain(b);
