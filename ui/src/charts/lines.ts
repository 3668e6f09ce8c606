/**
 * From series to what is drawn. A line has one entry per bucket, or per point when nothing
 * was reduced; its extremes are true, so a spike of one point among a million is in it.
 */
import type { Series } from "../api/series";

export type XKind = "step" | "relative" | "wall" | "metric";

export interface Line {
  runId: string;
  name: string;
  color: string;
  series: Series;
  /** Where a bucket stands: of its last point. */
  x: Float64Array;
  isSorted: boolean;
  /** Exponential moving average of the last values, when asked for. */
  smooth: Float64Array | null;
}

export interface Range {
  min: number;
  max: number;
}

/** x of every bucket; `start` is when the run began, in microseconds. */
export function xOf(series: Series, kind: XKind, start: number, other?: Series): Float64Array {
  const { length } = series;
  switch (kind) {
    case "step":
      return series.lastStep;
    case "relative":
      return series.lastTime.map((time) => (time - start) / 1e6);
    case "wall":
      return series.lastTime.map((time) => time / 1e6);
    case "metric": {
      const x = new Float64Array(length).fill(NaN);
      if (!other || other.length === 0) return x;
      let at = 0;
      for (let i = 0; i < length; i += 1) {
        const step = series.lastStep[i]!;
        while (at + 1 < other.length && other.firstStep[at + 1]! <= step) at += 1;
        if (other.firstStep[at]! <= step) x[i] = other.last[at]!;
      }
      return x;
    }
  }
}

export function isSorted(x: Float64Array): boolean {
  for (let i = 1; i < x.length; i += 1) if (!(x[i]! >= x[i - 1]!)) return false;
  return true;
}

/**
 * EMA with the bias of the beginning taken out, as TensorBoard has it. What is not finite is
 * left as it is and does not spread.
 */
export function ema(values: Float64Array, weight: number): Float64Array {
  const smooth = new Float64Array(values.length);
  let sum = 0;
  let seen = 0;
  for (let i = 0; i < values.length; i += 1) {
    const value = values[i]!;
    if (!Number.isFinite(value)) {
      smooth[i] = value;
      continue;
    }
    sum = sum * weight + value * (1 - weight);
    seen += 1;
    smooth[i] = sum / (1 - weight ** seen);
  }
  return smooth;
}

const isIn = (x: number, within: Range | null) =>
  within === null || (x >= within.min && x <= within.max);

/** The least and greatest finite x of all lines, or null when there is none. */
export function xRange(lines: readonly Line[], isLog: boolean): Range | null {
  let min = Infinity;
  let max = -Infinity;
  for (const line of lines) {
    for (let i = 0; i < line.x.length; i += 1) {
      const x = line.x[i]!;
      if (!Number.isFinite(x) || (isLog && x <= 0)) continue;
      if (x < min) min = x;
      if (x > max) max = x;
    }
  }
  return min <= max ? { min, max } : null;
}

/**
 * The range of y over what is in sight. Without outliers it spans the values between the
 * 2nd and the 98th of a hundred, stretched by a half; `hidden` counts what lies beyond.
 */
export function yRange(
  lines: readonly Line[],
  within: Range | null,
  isLog: boolean,
  hidesOutliers: boolean,
): (Range & { hidden: number }) | null {
  const all: number[] = [];
  let min = Infinity;
  let max = -Infinity;
  const take = (value: number) => {
    if (!Number.isFinite(value) || (isLog && value <= 0)) return;
    if (value < min) min = value;
    if (value > max) max = value;
    if (hidesOutliers) all.push(value);
  };
  for (const line of lines) {
    const { min: low, max: high } = line.series;
    for (let i = 0; i < line.x.length; i += 1) {
      if (!isIn(line.x[i]!, within)) continue;
      take(low[i]!);
      take(high[i]!);
    }
  }
  if (min > max) return null;
  if (!hidesOutliers || all.length < 10) return { min, max, hidden: 0 };
  const sorted = Float64Array.from(all).sort();
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
  const [low, high] = [at(0.02), at(0.98)];
  const stretch = isLog ? 0 : (high - low) / 2;
  const bounds = {
    min: Math.max(min, isLog ? low / 2 : low - stretch),
    max: Math.min(max, isLog ? high * 2 : high + stretch),
  };
  const hidden = all.filter((value) => value < bounds.min || value > bounds.max).length;
  return { ...bounds, hidden };
}

/** The bucket nearest to x, or -1. */
export function nearest(line: Line, x: number): number {
  const { x: xs } = line;
  if (xs.length === 0) return -1;
  if (!line.isSorted) {
    let best = -1;
    let distance = Infinity;
    for (let i = 0; i < xs.length; i += 1) {
      const far = Math.abs(xs[i]! - x);
      if (far < distance) [best, distance] = [i, far];
    }
    return best;
  }
  let low = 0;
  let high = xs.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle]! < x) low = middle + 1;
    else high = middle;
  }
  return low > 0 && x - xs[low - 1]! <= xs[low]! - x ? low - 1 : low;
}

/** The steps that lie in a range of x, over all lines; null when none do. */
export function stepsWithin(lines: readonly Line[], within: Range): Range | null {
  let min = Infinity;
  let max = -Infinity;
  for (const { x, series } of lines) {
    for (let i = 0; i < x.length; i += 1) {
      // The bucket before and the one behind hold what is cut by the edges.
      const before = i > 0 ? x[i - 1]! : x[i]!;
      const behind = i + 1 < x.length ? x[i + 1]! : x[i]!;
      if (Math.max(x[i]!, behind) < within.min || Math.min(x[i]!, before) > within.max) continue;
      min = Math.min(min, series.firstStep[i]!);
      max = Math.max(max, series.lastStep[i]!);
    }
  }
  return min <= max ? { min, max } : null;
}

/** What is no finite number in lines: how many NaN, and whether +∞ and −∞ are among them. */
export function marksOf(lines: readonly Line[]): { nan: number; isUp: boolean; isDown: boolean } {
  let nan = 0;
  let isUp = false;
  let isDown = false;
  for (const { series } of lines) {
    for (let i = 0; i < series.length; i += 1) {
      nan += series.nanCount[i]!;
      isUp ||= series.max[i] === Infinity;
      isDown ||= series.min[i] === -Infinity;
    }
  }
  return { nan, isUp, isDown };
}

/** The buckets of lines as CSV, extremes included. */
export function csvOf(lines: readonly Line[]): string {
  const head = "run_id,run,metric,first_step,last_step,last_time_us,points,nan,min,max,first,last";
  const rows = [head];
  for (const { series, name } of lines) {
    const who = [series.runId, name, series.key].map(csvText).join(",");
    for (let i = 0; i < series.length; i += 1) {
      rows.push(
        [
          who, series.firstStep[i], series.lastStep[i], series.lastTime[i], series.count[i],
          series.nanCount[i], series.min[i], series.max[i], series.first[i], series.last[i],
        ].join(","),
      );
    }
  }
  return `${rows.join("\r\n")}\r\n`;
}

/** A cell of text; one that a spreadsheet would take for a formula is made plain text. */
export function csvText(text: string): string {
  const plain = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}
