/** What somebody may order who administers a part of the cluster. Pure; the server decides. */

import type { ClusterView, UnitView } from "../../api/cluster";
import type { Session } from "../../api/session";
import type { Ask } from "./dialog";

/** Names of the domains somebody administers; null: all there are, and the whole cluster. */
export type Domains = readonly string[] | null;

export const domainsOf = (who: Session): Domains => (who.administrator ? null : who.domains);

export const administers = (domains: Domains, unit: UnitView): boolean =>
  domains === null || domains.includes(unit.domain ?? "");

/** All that units are of, and others to choose from though no unit of them is there; sorted. */
export const domainsIn = (view: ClusterView, others: readonly string[]): readonly string[] =>
  [...new Set([...view.units.map((unit) => unit.domain ?? ""), ...others])].filter(Boolean).sort();

/** Why somebody may not order something at all; empty where it is for the manager to say. */
export function barred(ask: Ask, domains: Domains): string {
  if (domains === null) return "";
  switch (ask.kind) {
    case "drain":
    case "return":
    case "remove":
      return administers(domains, ask.unit) ? "" : "You do not administer its domain";
    case "open":
    case "close":
      return "Only administrators of the whole cluster may";
    default:
      return "";
  }
}
