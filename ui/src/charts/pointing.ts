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
/** Of a chart that follows another's pointer: its values must not cover it. */
const ROWS_FOLLOWING = 8;
const REACH_PX = 60; // how far from the pointer a run's nearest point may be
const NEAR_PX = 24;

export interface Row {
  line: Line;
  index: number;
}

export interface Hover {
  left: number;
  title: string;
  rows: Row[];
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
    if (crosshair.value?.owner === hooks.owner) {
      crosshair.value = null;
      highlighted.value = null;
    }
    return;
  }
  const x = made.posToVal(left, "x");
  crosshair.value = { group: props.group, x, owner: hooks.owner };
  const found = rowsAt(made, props, x);
  let nearestRun: string | null = null;
  let least = NEAR_PX;
  for (const row of found) {
    const away = Math.abs(made.valToPos(valueOf(row), "y") - top);
    if (away < least) [nearestRun, least] = [row.line.runId, away];
  }
  if (highlighted.value !== nearestRun) highlighted.value = nearestRun;
  hooks.setHover(hoverOf(made, props, x, found, nearestRun, ROWS_SHOWN));
}

/** What a chart shows at an x that the pointer has in another one; null out of its sight. */
export function following(made: uPlot, props: ChartProps, x: number, run: string | null): Hover | null {
  const left = made.valToPos(x, "x");
  if (!(left >= 0 && left <= made.over.clientWidth)) return null;
  return hoverOf(made, props, x, rowsAt(made, props, x), run, ROWS_FOLLOWING);
}

/** The value of a row: what is drawn strongest of it. */
export function valueOf({ line, index }: Row): number {
  return (line.smooth ?? line.series.last)[index]!;
}

/** The points nearest to x that are not too far from it, by value, greatest first. */
function rowsAt(made: uPlot, props: ChartProps, x: number): Row[] {
  const left = made.valToPos(x, "x");
  return props.lines
    .map((line) => ({ line, index: nearest(line, x) }))
    .filter(
      ({ line, index }) =>
        index >= 0 && Math.abs(made.valToPos(line.x[index]!, "x") - left) < REACH_PX,
    )
    .sort((a, b) => order(valueOf(b), valueOf(a)));
}

function hoverOf(
  made: uPlot, props: ChartProps, x: number, found: Row[], run: string | null, shown: number,
): Hover {
  const place = Math.max(0, found.findIndex((row) => row.line.runId === run));
  const from = Math.max(0, Math.min(found.length - shown, place - shown / 2));
  return {
    left: made.valToPos(x, "x") + made.over.offsetLeft,
    title: xText(x, found[0], props),
    rows: found.slice(from, from + shown),
    more: Math.max(0, found.length - shown),
    nearest: run,
  };
}

/** As numbers are compared, NaN below all; ∞ − ∞ would be no order. */
function order(a: number, b: number): number {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return 0;
  return Number.isNaN(b) || a > b ? 1 : -1;
}

function xText(x: number, row: Row | undefined, props: ChartProps): string {
  const at = row ? row.line.x[row.index]! : x;
  if (props.xKind === "step") return `step ${number(at, 8)}`;
  if (props.xKind === "relative") return `after ${duration(at * 1e6)}`;
  if (props.xKind === "wall") return exact(at * 1e6);
  return `${props.xLabel} ${number(at)}`;
}
