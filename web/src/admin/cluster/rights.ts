/** What somebody may order who administers a part of the cluster. Pure; the server decides. */

import type { ClusterView, UnitView } from "../../api/cluster";
import { broadcasts, type Session } from "../../api/session";
import type { Ask } from "./dialog";

/** Names of the domains somebody administers; null: all there are, and the whole cluster. */
export type Domains = readonly string[] | null;

/** What somebody may. */
export interface Rights {
  readonly domains: Domains;
  /** Whether he may have channels of his own. */
  readonly broadcasts: boolean;
}

/** Of somebody; nobody may anything. */
export const rightsOf = (who: Session | null): Rights => ({
  domains: who?.administrator ? null : (who?.domains ?? []),
  broadcasts: broadcasts(who),
});

export const administers = (domains: Domains, unit: UnitView): boolean =>
  domains === null || domains.includes(unit.domain ?? "");

/** All that units are of, and others to choose from though no unit of them is there; sorted. */
export const domainsIn = (view: ClusterView, others: readonly string[]): readonly string[] =>
  [...new Set([...view.units.map((unit) => unit.domain ?? ""), ...others])].filter(Boolean).sort();

/**
 * Why somebody may not order something at all; empty where it is for the server to say.
 *
 * @param units all there are, by id
 */
export function barred(ask: Ask, who: Rights, units: ReadonlyMap<string, UnitView>): string {
  const { domains } = who;
  if (domains === null) return "";
  const mine = (id: string): boolean => {
    const unit = units.get(id);
    return unit !== undefined && administers(domains, unit);
  };
  const others = (wanted: readonly (string | null | undefined)[]): boolean =>
    wanted.some((id) => id != null && !mine(id));
  const takes = (without?: string | null): boolean =>
    [...units.values()].some(({ id, state }) => state === "up" && id !== without && mine(id));
  switch (ask.kind) {
    case "drain":
    case "return":
    case "remove":
      return administers(domains, ask.unit) ? "" : "You do not administer its domain";
    case "open":
    case "close":
      return "Only administrators of the whole cluster may";
    case "create":
      return who.broadcasts ? "" : "Your account may not have channels";
    case "delete":
      return who.broadcasts ? "" : "Only its owner and administrators may";
    case "extend":
      return takes() ? "" : "No unit that you administer takes it";
    case "shrink":
      return others((ask.channel.tree ?? []).map(([id]) => id))
        ? "Units that you do not administer have it, too"
        : "";
    case "move": {
      const { ingest, next_ingest } = ask.channel;
      if (others([ingest, next_ingest])) return "You do not administer where it enters";
      return takes(ingest) ? "" : "No other unit that you administer takes it";
    }
  }
}
