/** Null where the browser keeps nothing for this page. */
export function storage(): Storage | null {
  try {
    return localStorage;
  } catch {
    return null;
  }
}
