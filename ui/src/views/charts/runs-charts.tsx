/** Charts of the selected runs, or of the first few of the search. */
import { useEffect, useMemo } from "preact/hooks";

import { runsById, searchRuns } from "../../api/runs";
import type { Run } from "../../api/types";
import { ChartGrid } from "../../charts/chart-grid";
import { highlighted } from "../../charts/pointing";
import { Empty, Failed, IconButton, Link, Loading } from "../../components/basics";
import { StatusBadge } from "../../components/status";
import { colorOf, drawTogether } from "../../state/colors";
import { listText, setQuery } from "../../state/location";
import { useResource } from "../../state/resource";
import { runQuery, type RunsState } from "../runs/state";

export const FIRST_RUNS = 10;
export const RUNS_MAX = 200;

/** The runs that are drawn: full views, those that go on asked for again with every beat. */
export function useDrawnRuns(state: RunsState) {
  const ids = state.selected.slice(0, RUNS_MAX);
  const text = listText(ids);
  const { columns: _columns, ...search } = runQuery(state, []);
  const what = ids.length > 0 ? text : JSON.stringify(search);
  const known = useMemo(() => ({ runs: null as Run[] | null }), [what]);
  const resource = useResource(
    async (signal) => {
      if (ids.length === 0) {
        const page = await searchRuns({ ...search, max_results: FIRST_RUNS }, signal);
        return page.runs;
      }
      if (known.runs === null) known.runs = await runsById(ids, undefined, signal);
      else {
        const going = known.runs.filter((run) => run.liveness !== "ended").map((run) => run.run_id);
        const fresh = new Map((await runsById(going, undefined, signal)).map((run) => [run.run_id, run]));
        known.runs = known.runs.map((run) => fresh.get(run.run_id) ?? run);
      }
      return known.runs;
    },
    [what],
    { isLive: true },
  );
  const drawn = (resource.data ?? []).map((run) => run.run_id);
  useEffect(() => drawTogether(drawn), [listText(drawn)]);
  return resource;
}

export function RunsCharts({ state }: { state: RunsState }) {
  const runs = useDrawnRuns(state);
  if (runs.error && !runs.data) return <Failed error={runs.error} retry={runs.reload} />;
  if (!runs.data) return <Loading what="Looking for runs" />;
  if (runs.data.length === 0) return <Empty title="No run matches" />;
  return (
    <div class="charts-split">
      <RunLegend state={state} runs={runs.data} />
      <ChartGrid runs={runs.data} />
    </div>
  );
}

function RunLegend({ state, runs }: { state: RunsState; runs: readonly Run[] }) {
  const isChosen = state.selected.length > 0;
  const missing = Math.min(state.selected.length, RUNS_MAX) - runs.length;
  return (
    <aside class="legend" aria-label="Runs drawn">
      <p class="faint">
        {isChosen
          ? `${runs.length} selected`
          : `The first ${runs.length} of the search. Select runs in the table to choose.`}
        {isChosen && missing > 0 && ` · ${missing} of them are unknown here`}
        {state.selected.length > RUNS_MAX && ` · at most ${RUNS_MAX} are drawn`}
      </p>
      <ul>
        {runs.map((run) => (
          <li
            key={run.run_id}
            class={highlighted.value === run.run_id ? "near" : ""}
            onPointerEnter={() => {
              highlighted.value = run.run_id;
            }}
            onPointerLeave={() => {
              highlighted.value = null;
            }}
          >
            <span class="dot" style={{ "--run": colorOf(run.run_id) }} />
            <Link to={`/runs/${encodeURIComponent(run.run_id)}`} class="ellipsis" title={run.name}>
              {run.name || run.run_id}
            </Link>
            <StatusBadge run={run} isShort />
            <IconButton
              icon="close"
              size={12}
              label={`Take ${run.name} out`}
              onClick={() =>
                setQuery({
                  sel: listText(runs.filter((one) => one !== run).map((one) => one.run_id)),
                })
              }
            />
          </li>
        ))}
      </ul>
    </aside>
  );
}
