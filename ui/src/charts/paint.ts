/**
 * Lines onto a canvas. Buckets that fall on one column of pixels become one stroke from
 * their least to their greatest value, so the work is bounded by the screen and no extreme
 * is lost on the way.
 */
import type { Line, Range } from "./lines";

export interface Plot {
  left: number;
  top: number;
  width: number;
  height: number;
  x: Range;
  y: Range;
  isLogX: boolean;
  isLogY: boolean;
  /** Device pixels per CSS pixel. */
  density: number;
}

type Scale = (value: number) => number;

export function scaleOf(range: Range, isLog: boolean, from: number, to: number): Scale {
  const [a, b] = isLog ? [Math.log10(range.min), Math.log10(range.max)] : [range.min, range.max];
  const factor = (to - from) / (b - a || 1);
  return isLog ? (value) => from + (Math.log10(value) - a) * factor : (value) => from + (value - a) * factor;
}

export function paintLines(
  context: CanvasRenderingContext2D,
  plot: Plot,
  lines: readonly Line[],
  highlighted: string | null,
) {
  const sx = scaleOf(plot.x, plot.isLogX, plot.left, plot.left + plot.width);
  const sy = scaleOf(plot.y, plot.isLogY, plot.top + plot.height, plot.top);
  context.save();
  context.beginPath();
  context.rect(plot.left, plot.top, plot.width, plot.height);
  context.clip();
  context.lineJoin = "bevel";
  const ordered = highlighted
    ? [...lines].sort((a, b) => Number(a.runId === highlighted) - Number(b.runId === highlighted))
    : lines;
  for (const line of ordered) {
    const isFaded = highlighted !== null && line.runId !== highlighted;
    const strong = isFaded ? 0.18 : 1;
    context.strokeStyle = line.color;
    context.lineWidth = (line.runId === highlighted ? 2.2 : 1.3) * plot.density;
    context.globalAlpha = line.smooth ? 0.22 * strong : strong;
    strokeExtremes(context, plot, line, sx, sy);
    if (line.smooth) {
      context.globalAlpha = strong;
      context.lineWidth = 1.7 * plot.density;
      strokePath(context, line.x, line.smooth, sx, sy);
    }
    context.globalAlpha = strong;
    paintMarks(context, plot, line, sx);
  }
  context.restore();
}

function strokeExtremes(
  context: CanvasRenderingContext2D,
  plot: Plot,
  line: Line,
  sx: Scale,
  sy: Scale,
) {
  const { min, max, first, last } = line.series;
  const right = plot.left + plot.width;
  let isDown = false;
  let column = NaN;
  let low = 0;
  let high = 0;
  let end = 0;
  let drawn = 0;
  const flush = () => {
    if (low !== high) {
      context.lineTo(column, low);
      context.lineTo(column, high);
    }
    if (end !== high) context.lineTo(column, end);
  };
  context.beginPath();
  for (let i = 0; i < line.x.length; i += 1) {
    const x = sx(line.x[i]!);
    const a = sy(finiteOr(max[i]!, last[i]!));
    const b = sy(finiteOr(min[i]!, last[i]!));
    if (!Number.isFinite(x) || !Number.isFinite(a) || !Number.isFinite(b)) {
      if (isDown) flush();
      isDown = false;
      continue;
    }
    if (line.isSorted && x > right && isDown && column > right) break;
    const place = line.isSorted ? Math.round(x) : x;
    if (isDown && place === column) {
      low = Math.max(low, b);
      high = Math.min(high, a);
      end = ending(last[i]!, sy, a);
      continue;
    }
    const start = ending(first[i]!, sy, b);
    if (isDown) {
      flush();
      context.lineTo(place, start);
    } else {
      context.moveTo(place, start);
      if (line.x.length === 1 || isAlone(line, i)) dot(context, place, start, plot.density);
    }
    drawn += 1;
    column = place;
    low = b;
    high = a;
    end = ending(last[i]!, sy, a);
    isDown = true;
  }
  if (isDown) flush();
  if (drawn > 0) context.stroke();
}

/** A point between two gaps is seen only as a dot. */
function isAlone(line: Line, i: number): boolean {
  return i + 1 >= line.x.length || !Number.isFinite(line.series.last[i + 1]!);
}

function dot(context: CanvasRenderingContext2D, x: number, y: number, density: number) {
  const radius = 1.6 * density;
  context.moveTo(x + radius, y);
  context.arc(x, y, radius, 0, 7);
  context.moveTo(x, y);
}

function finiteOr(value: number, other: number): number {
  return Number.isFinite(value) ? value : other;
}

function ending(value: number, sy: Scale, otherwise: number): number {
  const y = sy(value);
  return Number.isFinite(y) ? y : otherwise;
}

function strokePath(
  context: CanvasRenderingContext2D,
  xs: Float64Array,
  ys: Float64Array,
  sx: Scale,
  sy: Scale,
) {
  let isDown = false;
  context.beginPath();
  for (let i = 0; i < xs.length; i += 1) {
    const x = sx(xs[i]!);
    const y = sy(ys[i]!);
    if (!Number.isFinite(x) || !Number.isFinite(y)) isDown = false;
    else if (isDown) context.lineTo(x, y);
    else {
      context.moveTo(x, y);
      isDown = true;
    }
  }
  context.stroke();
}

/** NaN: a cross on the axis. +Inf: a triangle at the top. −Inf: one at the bottom. */
function paintMarks(context: CanvasRenderingContext2D, plot: Plot, line: Line, sx: Scale) {
  const { nanCount, min, max } = line.series;
  const size = 4 * plot.density;
  const bottom = plot.top + plot.height - size - plot.density;
  const top = plot.top + size + plot.density;
  let lastMark = -Infinity;
  context.fillStyle = line.color;
  context.lineWidth = 1.5 * plot.density;
  for (let i = 0; i < line.x.length; i += 1) {
    const isNan = nanCount[i]! > 0;
    const isUp = max[i] === Infinity;
    const isDown = min[i] === -Infinity;
    if (!isNan && !isUp && !isDown) continue;
    const x = sx(line.x[i]!);
    if (!Number.isFinite(x) || Math.abs(x - lastMark) < size) continue;
    lastMark = x;
    if (isNan) cross(context, x, bottom, size * 0.8);
    if (isUp) triangle(context, x, top, size, -1);
    if (isDown) triangle(context, x, bottom, size, 1);
  }
}

function cross(context: CanvasRenderingContext2D, x: number, y: number, size: number) {
  context.beginPath();
  context.moveTo(x - size, y - size);
  context.lineTo(x + size, y + size);
  context.moveTo(x - size, y + size);
  context.lineTo(x + size, y - size);
  context.stroke();
}

function triangle(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  size: number,
  towards: number,
) {
  context.beginPath();
  context.moveTo(x, y + towards * size);
  context.lineTo(x - size, y - towards * size);
  context.lineTo(x + size, y - towards * size);
  context.fill();
}
