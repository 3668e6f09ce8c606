/** Charts of many metrics of many runs at once. */
import { ask } from "./client";
import { toSeries, type Series } from "./series-columns";
import type { Buckets, SeriesQuery } from "./types";

export type { Series };

export async function querySeries(query: SeriesQuery, signal?: AbortSignal): Promise<Series[]> {
  const answer = await ask<{ series: Buckets[] }>("/api/v1/metrics/query", {
    method: "POST",
    body: query,
    signal,
  });
  const series = answer.series.map(toSeries);
  performance.mark("tracker-series-data");
  return series;
}
