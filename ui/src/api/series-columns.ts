/** Series as typed columns, ready to be drawn. */
import { toNumber, type Buckets, type JsonFloat } from "./types";

/**
 * One metric of one run over a range of steps: buckets with their true extremes, or the
 * points themselves (`isReduced` false: one bucket is one point).
 */
export interface Series {
  runId: string;
  key: string;
  isReduced: boolean;
  points: number;
  length: number;
  firstStep: Float64Array;
  lastStep: Float64Array;
  firstTime: Float64Array;
  lastTime: Float64Array;
  count: Float64Array;
  nanCount: Float64Array;
  min: Float64Array;
  max: Float64Array;
  first: Float64Array;
  last: Float64Array;
  position: number;
}

export function toSeries(buckets: Buckets): Series {
  return {
    runId: buckets.run_id,
    key: buckets.key,
    isReduced: buckets.is_reduced,
    points: buckets.points,
    length: buckets.count.length,
    firstStep: Float64Array.from(buckets.first_step),
    lastStep: Float64Array.from(buckets.last_step),
    firstTime: Float64Array.from(buckets.first_time_us),
    lastTime: Float64Array.from(buckets.last_time_us),
    count: Float64Array.from(buckets.count),
    nanCount: Float64Array.from(buckets.nan_count),
    min: floats(buckets.min),
    max: floats(buckets.max),
    first: floats(buckets.first),
    last: floats(buckets.last),
    position: buckets.position,
  };
}

function floats(values: JsonFloat[]): Float64Array {
  const column = new Float64Array(values.length);
  for (let i = 0; i < values.length; i += 1) column[i] = toNumber(values[i]);
  return column;
}
