/** Reports of what was asked for and played. */

import { request } from "./client";

export type Step = "hour" | "day" | "week";
export type ReportName = "titles" | "servers" | "clients" | "periods";

/** What all lines have; what a report does not count is left out. */
export interface Figures {
  readonly redirects: number;
  readonly refusals?: number;
  readonly plays: number;
  readonly seconds: number;
  readonly sent_bytes: number;
  readonly stalls?: number;
}

export interface TitleLine extends Figures {
  /** Empty: all names that there are not. */
  readonly name: string;
  readonly title: string;
}

export interface ServerLine extends Figures {
  readonly kind: "server" | "unit" | "units";
  readonly id: string;
  readonly name: string;
}

export interface ClientLine extends Figures {
  readonly network: string;
}

export interface PeriodLine extends Figures {
  /** ISO 8601. */
  readonly start: string;
}

export interface Report<Line> {
  readonly from: string;
  readonly to: string;
  readonly lines: readonly Line[];
  readonly totals: Figures;
  /** Lines that there would be without a limit. */
  readonly count: number;
  /** Records that were lost. */
  readonly missing: number;
}

/** From when to when, in milliseconds since 1970, the latter not with it. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

const query = (span: Span, more: Readonly<Record<string, string>>): string =>
  new URLSearchParams({
    from: new Date(span.from).toISOString(),
    to: new Date(span.to).toISOString(),
    ...more,
  }).toString();

export const getReport = <Line>(
  name: ReportName,
  span: Span,
  more: Readonly<Record<string, string>> = {},
): Promise<Report<Line>> => request("GET", `/reports/${name}?${query(span, more)}`);

/** Where a report is to be had as a file. */
export const exportPath = (
  name: ReportName,
  span: Span,
  format: "csv" | "json",
  more: Readonly<Record<string, string>> = {},
): string => `/api/v1/reports/${name}?${query(span, { ...more, format })}`;
