/**
 * The series behind one chart: fetched when the chart is first seen, refetched in part when
 * runs go on, and finer when one zooms in.
 */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { querySeries, type Series } from "../api/series";
import type { Run } from "../api/types";
import { colorOf } from "../state/colors";
import { unlocked } from "../state/connection";
import { useFlight } from "./flight";
import { ema, isSorted, stepsWithin, xOf, type Line, type Range } from "./lines";
import type { ChartSettings } from "./settings";

interface Held {
  series: Map<string, Series>;
  other: Map<string, Series>;
  /** Up to where each run was asked for: its last position then. */
  positions: Map<string, number>;
}

const nothing = (): Held => ({ series: new Map(), other: new Map(), positions: new Map() });

export interface SeriesState {
  lines: Line[];
  isLoading: boolean;
  error: Error | undefined;
  retry: () => void;
}

export function useSeries(
  key: string,
  runs: readonly Run[],
  settings: ChartSettings,
  buckets: number,
  isSeen: boolean,
): SeriesState {
  const having = runs.filter((run) => key in run.metrics);
  const ids = having.map((run) => run.run_id).join(",");
  const [state, setState] = useState<{ whole: Held; fine: Held | null; error?: Error; isLoading: boolean }>({
    whole: nothing(),
    fine: null,
    isLoading: true,
  });
  const [tries, setTries] = useState(0);
  const held = useRef(nothing());
  const { xKind, xMetric, zoom } = settings;
  const moved = having.map((run) => run.last_position).join(",");
  const asked = useRef("");
  const whole = useFlight();
  const part = useFlight();
  const other = xKind === "metric" ? xMetric : "";

  // The whole range. Only runs that went on since are asked for again.
  useEffect(() => {
    if (!isSeen) return;
    const identity = [key, other, buckets].join("\n");
    if (asked.current !== identity) {
      asked.current = identity;
      held.current = nothing();
    }
    const now = held.current;
    const stale = having.filter((run) => now.positions.get(run.run_id) !== run.last_position);
    if (stale.length === 0) {
      setState((old) => (old.isLoading ? { ...old, isLoading: false } : old));
      return;
    }
    whole.begin(
      identity,
      async (signal) => {
        await fetchInto(now, key, other, stale, buckets, null, signal);
        setState((old) => ({ whole: { ...now }, fine: old.fine, isLoading: false }));
      },
      (error) => setState((old) => ({ ...old, error, isLoading: false })),
    );
  }, [key, ids, moved, buckets, isSeen, other, tries, whole.landed, unlocked.value]);

  const lines = useMemo(
    () => linesOf(having, state.whole, settings),
    [state.whole, ids, xKind, xMetric, settings.smoothing, runs],
  );

  // The part that is zoomed into, unless the whole is exact already.
  const steps = zoom && lines.some((line) => line.series.isReduced) ? stepsWithin(lines, zoom) : null;
  const stepsText = steps ? `${steps.min}..${steps.max}` : "";
  useEffect(() => {
    if (!steps || !isSeen) {
      setState((old) => (old.fine ? { ...old, fine: null } : old));
      return;
    }
    part.begin(
      [key, ids, other, buckets, stepsText].join("\n"),
      async (signal) => {
        const fine = nothing();
        await fetchInto(fine, key, other, having, buckets, steps, signal);
        setState((old) => ({ ...old, fine }));
      },
      (error) => setState((old) => ({ ...old, error })),
    );
  }, [key, ids, state.whole, buckets, stepsText, isSeen, other]);

  const fine = useMemo(
    () => (state.fine && zoom ? linesOf(having, state.fine, settings) : null),
    [state.fine, zoom !== null, ids, xKind, xMetric, settings.smoothing],
  );
  return {
    lines: fine ?? lines,
    isLoading: state.isLoading,
    error: state.error,
    retry: () => setTries((count) => count + 1),
  };
}

async function fetchInto(
  held: Held,
  key: string,
  other: string,
  runs: readonly Run[],
  buckets: number,
  steps: Range | null,
  signal: AbortSignal,
) {
  const keys = other && other !== key ? [key, other] : [key];
  const found = await querySeries(
    {
      run_ids: runs.map((run) => run.run_id),
      keys,
      buckets,
      ...(steps && { start_step: steps.min, end_step: steps.max }),
    },
    signal,
  );
  for (const series of found) {
    if (series.key === key) held.series.set(series.runId, series);
    if (series.key === other) held.other.set(series.runId, series);
  }
  for (const run of runs) held.positions.set(run.run_id, run.last_position);
}

function linesOf(runs: readonly Run[], held: Held, settings: ChartSettings): Line[] {
  return runs.flatMap((run): Line[] => {
    const series = held.series.get(run.run_id);
    if (!series || series.length === 0) return [];
    const x = xOf(series, settings.xKind, run.start_time_us, held.other.get(run.run_id));
    return [
      {
        runId: run.run_id,
        name: run.name || run.run_id,
        color: colorOf(run.run_id),
        series,
        x,
        isSorted: isSorted(x),
        smooth: settings.smoothing > 0 ? ema(series.last, settings.smoothing) : null,
      },
    ];
  });
}
