/** What the pointer is over: the values of all runs at its x, greatest first. */
import { signal } from "@preact/signals";
import type uPlot from "uplot";

import { duration, exact, number } from "../components/format";
import type { ChartProps } from "./chart";
import { nearest, type Line, type Range } from "./lines";

/** Where the pointer is, in x: all charts of a page with the same x show it. */
export const crosshair = signal<{ group: string; x: number; owner: object } | null>(null);
/** The run the pointer is nearest to; the others fade. */
export const highlighted = signal<string | null>(null);

const ROWS_SHOWN = 16;

export interface Hover {
  left: number;
  top: number;
  title: string;
  rows: { line: Line; index: number }[];
  more: number;
  nearest: string | null;
}

/** How a plot that stays reaches what its chart shows now. */
export interface Hooks {
  props: () => ChartProps;
  ranges: () => { x: Range; y: Range } | null;
  setHover: (hover: Hover | null) => void;
  zoomY: (range: Range | null) => void;
  owner: object;
}

export function point(made: uPlot, hooks: Hooks) {
  const { left, top } = made.cursor;
  const props = hooks.props();
  if (left === undefined || left < 0 || top === undefined || !hooks.ranges()) {
    hooks.setHover(null);
    if (crosshair.value?.owner === hooks.owner) crosshair.value = null;
    if (highlighted.value !== null) highlighted.value = null;
    return;
  }
  const x = made.posToVal(left, "x");
  crosshair.value = { group: props.group, x, owner: hooks.owner };
  const found = props.lines
    .map((line) => ({ line, index: nearest(line, x) }))
    .filter(({ line, index }) => index >= 0 && Math.abs(made.valToPos(line.x[index]!, "x") - left) < 60);
  const value = (row: { line: Line; index: number }) =>
    (row.line.smooth ?? row.line.series.last)[row.index]!;
  found.sort((a, b) => order(value(b)) - order(value(a)));
  let nearestRun: string | null = null;
  let least = 24;
  for (const row of found) {
    const away = Math.abs(made.valToPos(value(row), "y") - top);
    if (away < least) [nearestRun, least] = [row.line.runId, away];
  }
  if (highlighted.value !== nearestRun) highlighted.value = nearestRun;
  const place = Math.max(0, found.findIndex((row) => row.line.runId === nearestRun));
  const from = Math.max(0, Math.min(found.length - ROWS_SHOWN, place - ROWS_SHOWN / 2));
  hooks.setHover({
    left: left + made.over.offsetLeft,
    top: top + made.over.offsetTop,
    title: xText(x, found[0], props),
    rows: found.slice(from, from + ROWS_SHOWN),
    more: Math.max(0, found.length - ROWS_SHOWN),
    nearest: nearestRun,
  });
}

function order(value: number): number {
  return Number.isNaN(value) ? -Infinity : value;
}

function xText(x: number, row: { line: Line; index: number } | undefined, props: ChartProps): string {
  const at = row ? row.line.x[row.index]! : x;
  if (props.xKind === "step") return `step ${number(at, 8)}`;
  if (props.xKind === "relative") return `after ${duration(at * 1e6)}`;
  if (props.xKind === "wall") return exact(at * 1e6);
  return `${props.xLabel} ${number(at)}`;
}
