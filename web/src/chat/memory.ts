/** What a guest keeps over reloads: who the server says one is, and the name. */

const GUEST = "helio-chat-guest";
const NAME = "helio-chat-name";

export interface Memory {
  /** A secret that the server gave. */
  guest: string;
  name: string;
}

/** Storage may be denied; then it lasts as long as the page. */
export function browserMemory(): Memory {
  const here: Record<string, string> = {};
  const read = (key: string): string => {
    try {
      return localStorage.getItem(key) ?? here[key] ?? "";
    } catch {
      return here[key] ?? "";
    }
  };
  const write = (key: string, value: string): void => {
    here[key] = value;
    try {
      localStorage.setItem(key, value);
    } catch {
      // As said above.
    }
  };
  return {
    get guest() {
      return read(GUEST);
    },
    set guest(value: string) {
      write(GUEST, value);
    },
    get name() {
      return read(NAME);
    },
    set name(value: string) {
      write(NAME, value);
    },
  };
}
