import { ApiError } from "../api/client";
import { explain } from "../api/session";

/** What went wrong; what nodes and managers refuse is told for people. */
export function reason(error: unknown): string {
  if (error instanceof ApiError && (error.status === 502 || error.status === 503)) {
    const { message } = error;
    return `${message.charAt(0).toUpperCase()}${message.slice(1)}.`.replace(/\.\.$/, ".");
  }
  return explain(error);
}
