/** Which columns the table shows. */
import { useEffect, useMemo, useState } from "preact/hooks";

import { listKeys } from "../../api/runs";
import { listText } from "../../state/location";
import { useResource } from "../../state/resource";
import { columnOf, textOf, type Column } from "../../table/columns";
import type { RunsState } from "./state";

const DEFAULT_METRICS = 6;
const DEFAULT_PARAMS = 6;

/** The columns asked for, or a few of the experiment's own. */
export function useColumns(state: RunsState): Column[] | undefined {
  const experiment_ids = state.experiments.join(",");
  const isChosen = state.columns !== null;
  const [defaults, setDefaults] = useState<{ of: string; ids: string[] }>();
  const keys = useResource(
    async (signal) => {
      if (isChosen) return null;
      const [metrics, params] = await Promise.all([
        listKeys("metrics", { experiment_ids, max_results: 200 }, signal),
        listKeys("params", { experiment_ids, max_results: 200 }, signal),
      ]);
      return { of: experiment_ids, metrics: metrics.keys, params: params.keys };
    },
    [experiment_ids, isChosen],
    { isLive: !isChosen },
  );
  useEffect(() => {
    if (!keys.data) return;
    const own = keys.data.metrics.filter((key) => !key.startsWith("system/"));
    const ids = [
      "!name",
      "status",
      "start_time",
      "duration",
      ...own.slice(0, DEFAULT_METRICS).map((key) => `metrics.${key}`),
      ...keys.data.params.slice(0, DEFAULT_PARAMS).map((key) => `params.${key}`),
    ];
    const of = keys.data.of;
    setDefaults((old) => (old?.of === of && listText(old.ids) === listText(ids) ? old : { of, ids }));
  }, [keys.data]);
  const text = state.columns ? listText(state.columns.map(textOf)) : null;
  const failed = keys.error && !keys.data ? ["!name", "status", "start_time", "duration"] : null;
  return useMemo(() => {
    if (state.columns) return withName(state.columns);
    if (defaults?.of === experiment_ids) return defaults.ids.map(columnOf);
    return failed?.map(columnOf);
  }, [text, defaults, experiment_ids, failed !== null]);
}

function withName(columns: Column[]): Column[] {
  return columns.some((column) => column.id === "name") ? columns : [columnOf("!name"), ...columns];
}
