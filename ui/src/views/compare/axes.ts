/** Params and metrics as axes: numbers where all values are numbers, categories otherwise. */
import { toNumber, type Run } from "../../api/types";
import { betterWhen } from "./better";
import { fieldOf, runDuration, summaryValue } from "../../table/columns";

export interface Axis {
  id: string;
  isNumeric: boolean;
  isLog: boolean;
  min: number;
  max: number;
  categories: string[];
  /** All values of a param, when they are a handful, as when it was swept. */
  few: number[];
  /** The run's place on the axis: a number, or the place of its category; NaN for none. */
  place: (run: Run) => number;
}

const FEW = 8;

export function rawValue(run: Run, id: string): string | number | undefined {
  const field = fieldOf(id);
  if (field.kind === "params") return run.params[field.key];
  if (field.kind === "tags") return run.tags[field.key];
  if (field.kind === "metrics") {
    const metric = run.metrics[field.key];
    return metric && summaryValue(metric, field.summary);
  }
  if (id === "duration") return runDuration(run) / 1e6;
  if (id === "start_time") return run.start_time_us / 1e6;
  return undefined;
}

/** `padding`: the share of the axis left free beyond the least and the greatest. */
export function axisOf(id: string, runs: readonly Run[], isLog: boolean, padding = 0): Axis {
  const values = runs.map((run) => rawValue(run, id)).filter((value) => value !== undefined);
  const isNumeric =
    values.length > 0 && values.every((value) => typeof value === "number" || (value.trim() !== "" && !Number.isNaN(Number(value))));
  if (!isNumeric) {
    const categories = [...new Set(values.map(String))].sort().slice(0, 200);
    const places = new Map(categories.map((value, index) => [value, index]));
    return {
      id,
      isNumeric,
      isLog: false,
      min: 0,
      max: Math.max(1, categories.length - 1),
      categories,
      few: [],
      place: (run) => places.get(String(rawValue(run, id))) ?? NaN,
    };
  }
  const numbers = values.map(Number).filter((value) => Number.isFinite(value) && (!isLog || value > 0));
  let min = Infinity;
  let max = -Infinity;
  for (const value of numbers) {
    min = Math.min(min, value);
    max = Math.max(max, value);
  }
  if (min > max) [min, max] = [0, 1];
  if (min === max) [min, max] = isLog ? [min / 2, max * 2] : [min - 1, max + 1];
  const distinct = [...new Set(numbers)];
  const margin = isLog ? (max / min) ** padding : (max - min) * padding;
  [min, max] = isLog ? [min / margin, max * margin] : [min - margin, max + margin];
  return {
    id,
    isNumeric,
    isLog,
    min,
    max,
    categories: [],
    few: id.startsWith("params.") && distinct.length <= FEW ? distinct.sort((a, b) => a - b) : [],
    place: (run) => {
      const value = rawValue(run, id);
      return value === undefined ? NaN : typeof value === "number" ? value : toNumber(Number(value));
    },
  };
}

/** From 0 at the least to 1 at the greatest; NaN where there is nothing to show. */
export function share(axis: Axis, value: number): number {
  if (!Number.isFinite(value)) return NaN;
  if (!axis.isLog) return (value - axis.min) / (axis.max - axis.min);
  return value > 0 ? Math.log(value / axis.min) / Math.log(axis.max / axis.min) : NaN;
}

/** Blue to yellow by way of green: told apart in grey and by colour-blind eyes (viridis). */
export function scaleColor(part: number): string {
  if (!Number.isFinite(part)) return "#8886";
  const stops = [
    [72, 64, 150], [58, 105, 170], [40, 145, 150], [80, 175, 105], [215, 190, 50],
  ] as const;
  const at = Math.min(0.9999, Math.max(0, part)) * (stops.length - 1);
  const [a, b] = [stops[Math.floor(at)]!, stops[Math.floor(at) + 1]!];
  const mix = at - Math.floor(at);
  return `rgb(${a.map((value, i) => Math.round(value + (b[i]! - value) * mix)).join(" ")})`;
}

/** All that may be an axis: metrics first, then params that differ. */
export function axisIds(runs: readonly Run[]): string[] {
  const metrics = new Set<string>();
  const params = new Map<string, Set<string>>();
  for (const run of runs) {
    for (const key in run.metrics) metrics.add(`metrics.${key}`);
    for (const [key, value] of Object.entries(run.params)) {
      const id = `params.${key}`;
      const seen = params.get(id);
      if (seen) seen.add(value);
      else params.set(id, new Set([value]));
    }
  }
  const varied = [...params].sort((a, b) => Number(b[1].size > 1) - Number(a[1].size > 1));
  return [...[...metrics].sort(), ...varied.map(([id]) => id), "duration", "start_time"];
}

/** Params that differ, then the most telling metrics; the most telling of all stands last. */
export function defaultAxes(runs: readonly Run[]): string[] {
  const ids = axisIds(runs).filter((id) => tells(id, runs));
  const params = ids.filter((id) => id.startsWith("params.")).slice(0, 5);
  const metrics = ids.filter((id) => id.startsWith("metrics.") && !id.startsWith("metrics.system/"));
  const telling = [...metrics].sort((a, b) => rank(a) - rank(b)).slice(0, 3);
  return [...params, ...telling.reverse()];
}

/** Whether most runs have it, and not all the same. */
function tells(id: string, runs: readonly Run[]): boolean {
  const values = runs.map((run) => rawValue(run, id)).filter((value) => value !== undefined);
  return values.length * 2 >= runs.length && new Set(values).size > 1;
}

/** Validation before training, both before what only says how the training went. */
function rank(id: string): number {
  if (/(^|[./_-])(val|valid|validation|test|eval)/i.test(id)) return 0;
  return betterWhen(id) ? 1 : 2;
}
