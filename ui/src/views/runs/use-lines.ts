/** The lines of the table for a state of the page, kept while the next ones are looked for. */
import { useEffect, useState } from "preact/hooks";

import { fieldOf, type Column } from "../../table/columns";
import { FlatLines } from "./flat-lines";
import { GroupLines } from "./group-lines";
import type { Lines } from "./lines";
import { runQuery, type RunsState } from "./state";
import { TreeLines } from "./tree-lines";

function linesFor(state: RunsState, columns: readonly Column[]): Lines {
  const query = runQuery(state, columns);
  if (state.groups.length > 0) {
    const metrics = columns.flatMap((column) => {
      const field = fieldOf(column.id);
      return field.kind === "metrics" ? [field.key] : [];
    });
    return new GroupLines(query, state.groups, [...new Set(metrics)]);
  }
  if (state.isTree) {
    const roots = state.filter ? query : runQuery(state, columns, "parent_run_id IS NULL");
    return new TreeLines(roots, (runId) => ({
      ...query,
      experiment_ids: [],
      filter: `parent_run_id = '${runId}'`,
      order_by: query.order_by?.length ? query.order_by : ["start_time ASC"],
    }));
  }
  return new FlatLines(query);
}

/** The lines of a search; those of the last one stay until the new ones are there. */
export function useLines(state: RunsState, columns: readonly Column[]): Lines | null {
  const identity = JSON.stringify([
    runQuery(state, columns),
    state.groups,
    state.isTree,
    columns.map((column) => column.id).sort(),
  ]);
  const [reloads, setReloads] = useState(0);
  const [shown, setShown] = useState<Lines | null>(null);
  useEffect(() => {
    const reload = () => setReloads((count) => count + 1);
    addEventListener("tracker-reload", reload);
    return () => removeEventListener("tracker-reload", reload);
  }, []);
  useEffect(() => {
    const lines = linesFor(state, columns);
    let isDone = false;
    const stop = lines.version.subscribe(() => {
      if (!isDone && lines.isReady) {
        isDone = true;
        setShown(lines);
      }
    });
    return () => {
      stop();
      lines.close();
    };
  }, [identity, reloads]);
  return shown;
}
