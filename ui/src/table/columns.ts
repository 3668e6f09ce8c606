/**
 * Columns of the runs table: what a column is called in the address, what it shows, how the
 * server sorts by it. Ids: an attribute's name, `params.K`, `tags.K`, `metrics.K`, or
 * `metrics.K|min` for another summary. In the address: `!` pins, `~120` is the width.
 */
import { toNumber, type Metric, type Run } from "../api/types";
import { duration, number } from "../components/format";

export interface Column {
  id: string;
  isPinned: boolean;
  width: number;
}

export type ColumnKind = "attribute" | "params" | "metrics" | "tags";
export type Summary = "last" | "min" | "max" | "first" | "count";

export interface Field {
  kind: ColumnKind;
  key: string;
  summary: Summary;
}

export const ATTRIBUTES: Record<string, { label: string; order: string | null; width: number }> = {
  name: { label: "Run", order: "run_name", width: 250 },
  status: { label: "Status", order: "status", width: 120 },
  start_time: { label: "Started", order: "start_time", width: 125 },
  duration: { label: "Duration", order: "duration", width: 100 },
  end_time: { label: "Ended", order: "end_time", width: 125 },
  user: { label: "User", order: "user_id", width: 90 },
  experiment: { label: "Experiment", order: "experiment_name", width: 140 },
  run_id: { label: "Run id", order: "run_id", width: 150 },
  parent: { label: "Parent", order: "parent_run_id", width: 150 },
  end_reason: { label: "End reason", order: "end_reason", width: 160 },
};

export const SUMMARIES: Summary[] = ["last", "min", "max", "first", "count"];
export const WIDTH_MIN = 56;
export const WIDTH_MAX = 900;

export function fieldOf(id: string): Field {
  const dot = id.indexOf(".");
  const kind = id.slice(0, dot);
  if (dot < 0 || !(kind === "params" || kind === "metrics" || kind === "tags")) {
    return { kind: "attribute", key: id, summary: "last" };
  }
  const rest = id.slice(dot + 1);
  const bar = rest.lastIndexOf("|");
  const summary = rest.slice(bar + 1) as Summary;
  if (kind === "metrics" && bar > 0 && SUMMARIES.includes(summary)) {
    return { kind, key: rest.slice(0, bar), summary };
  }
  return { kind, key: rest, summary: "last" };
}

export function labelOf(id: string): string {
  const field = fieldOf(id);
  if (field.kind === "attribute") return ATTRIBUTES[id]?.label ?? id;
  return field.summary === "last" ? field.key : `${field.key} (${field.summary})`;
}

export function defaultWidth(id: string): number {
  const field = fieldOf(id);
  if (field.kind === "attribute") return ATTRIBUTES[id]?.width ?? 120;
  return Math.min(180, Math.max(92, 34 + labelOf(id).length * 7.5));
}

export function columnOf(text: string): Column {
  const isPinned = text.startsWith("!");
  const rest = isPinned ? text.slice(1) : text;
  const tilde = rest.lastIndexOf("~");
  const given = tilde > 0 ? Number(rest.slice(tilde + 1)) : NaN;
  const id = Number.isFinite(given) ? rest.slice(0, tilde) : rest;
  const width = Number.isFinite(given) ? given : defaultWidth(id);
  return { id, isPinned, width: Math.min(WIDTH_MAX, Math.max(WIDTH_MIN, width)) };
}

export function textOf(column: Column): string {
  const width = Math.round(column.width);
  const suffix = width === Math.round(defaultWidth(column.id)) ? "" : `~${width}`;
  return `${column.isPinned ? "!" : ""}${column.id}${suffix}`;
}

/** A key as the search language quotes it. */
export function quoted(kind: string, key: string): string {
  if (/^[A-Za-z_][\w]*$/.test(key)) return `${kind}.${key}`;
  return `${kind}.\`${key.replaceAll("`", "``")}\``;
}

/** What the server sorts by for a column, or null when it cannot. */
export function orderExpression(id: string): string | null {
  const field = fieldOf(id);
  if (field.kind === "attribute") return ATTRIBUTES[id]?.order ?? null;
  const base = quoted(field.kind, field.key);
  return field.kind === "metrics" && field.summary !== "last" ? `${base}.${field.summary}` : base;
}

/** What a search must bring for a column: nothing for attributes. */
export function searchColumn(id: string): string | null {
  const field = fieldOf(id);
  return field.kind === "attribute" ? null : `${field.kind}.${field.key}`;
}

export function isNumeric(id: string): boolean {
  return fieldOf(id).kind === "metrics" || id === "duration";
}

export function summaryValue(metric: Metric, summary: Summary): number {
  switch (summary) {
    case "last":
      return toNumber(metric.last.value);
    case "first":
      return toNumber(metric.first.value);
    case "min":
      return toNumber(metric.min);
    case "max":
      return toNumber(metric.max);
    case "count":
      return metric.count;
  }
}

export function runDuration(run: Pick<Run, "start_time_us" | "end_time_us">): number {
  return (run.end_time_us ?? Date.now() * 1000) - run.start_time_us;
}

/** The text of a cell; undefined when the run has nothing there. */
export function cellText(run: Run, id: string): string | undefined {
  const field = fieldOf(id);
  switch (field.kind) {
    case "params":
      return run.params[field.key];
    case "tags":
      return run.tags[field.key];
    case "metrics": {
      const metric = run.metrics[field.key];
      return metric && number(summaryValue(metric, field.summary));
    }
    case "attribute":
      return attributeText(run, id);
  }
}

function attributeText(run: Run, id: string): string | undefined {
  switch (id) {
    case "name":
      return run.name;
    case "duration":
      return duration(runDuration(run));
    case "user":
      return run.user_id;
    case "run_id":
      return run.run_id;
    case "parent":
      return run.parent_run_id ?? undefined;
    case "end_reason":
      return run.end_reason ?? undefined;
    default:
      return undefined;
  }
}
