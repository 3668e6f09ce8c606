/** Runs side by side: what differs stands out, the best of each metric is marked. */
import { useMemo, useState } from "preact/hooks";

import { toNumber, type Run } from "../../api/types";
import { Empty, Failed, Link, Loading, Segmented, Time } from "../../components/basics";
import { duration, number } from "../../components/format";
import { StatusBadge } from "../../components/status";
import { colorOf } from "../../state/colors";
import { query, setQuery } from "../../state/location";
import { runDuration } from "../../table/columns";
import { useDrawnRuns } from "../charts/runs-charts";
import type { RunsState } from "../runs/state";
import { betterWhen } from "./better";

export interface CompareRow {
  key: string;
  values: (string | undefined)[];
  isDifferent: boolean;
  /** The columns that hold the best value of a metric. */
  best: ReadonlySet<number>;
}

export function paramRows(runs: readonly Run[], of: (run: Run) => Record<string, string>): CompareRow[] {
  return keysOf(runs, of).map((key) => row(key, runs.map((run) => of(run)[key])));
}

export function metricRows(runs: readonly Run[], summary: "last" | "min" | "max"): CompareRow[] {
  return keysOf(runs, (run) => run.metrics).map((key) => {
    const numbers = runs.map((run) => {
      const metric = run.metrics[key];
      return metric && (summary === "last" ? toNumber(metric.last.value) : toNumber(metric[summary]));
    });
    const finite = numbers.filter((one): one is number => one !== undefined && Number.isFinite(one));
    const better = betterWhen(key);
    const goal = better === "less" ? Math.min(...finite) : Math.max(...finite);
    const isTie = better === null || finite.length < 2 || finite.every((one) => one === finite[0]);
    const best = isTie ? [] : numbers.flatMap((one, index) => (one === goal ? [index] : []));
    return {
      ...row(key, numbers.map((one) => (one === undefined ? undefined : number(one)))),
      best: new Set(best),
    };
  });
}

function tagRows(runs: readonly Run[], isMeant: (key: string) => boolean): CompareRow[] {
  return paramRows(runs, (run) => run.tags).filter(({ key }) => isMeant(key));
}

function keysOf(runs: readonly Run[], of: (run: Run) => object): string[] {
  return [...new Set(runs.flatMap((run) => Object.keys(of(run))))].sort();
}

function row(key: string, values: (string | undefined)[]): CompareRow {
  return { key, values, isDifferent: new Set(values).size > 1, best: new Set() };
}

const RUNS_SIDE_BY_SIDE = 50;
// Tags that say where a run ran: they always differ, and seldom tell why its result does.
const CONTEXT = "tracker.";

export function CompareView({ state }: { state: RunsState }) {
  const resource = useDrawnRuns(state);
  const [text, setText] = useState("");
  const [summary, setSummary] = useState<"last" | "min" | "max">("last");
  const isOnlyDifferent = query.value.has("diff");
  const hasContext = query.value.has("context");
  const runs = useMemo(() => (resource.data ?? []).slice(0, RUNS_SIDE_BY_SIDE), [resource.data]);
  const sections = useMemo(
    () =>
      [
        ["Metrics", metricRows(runs, summary)],
        ["Params", paramRows(runs, (run) => run.params)],
        ["Tags", tagRows(runs, (key) => !key.startsWith("mlflow.") && !key.startsWith(CONTEXT))],
        ["Context", hasContext ? tagRows(runs, (key) => key.startsWith(CONTEXT)) : []],
      ] as const,
    [runs, summary, hasContext],
  );
  if (resource.error && !resource.data) return <Failed error={resource.error} retry={resource.reload} />;
  if (!resource.data) return <Loading what="Looking for runs" />;
  if (runs.length === 0) return <Empty title="No run matches" />;
  const isShown = (one: CompareRow) =>
    (!isOnlyDifferent || one.isDifferent) && one.key.toLowerCase().includes(text.toLowerCase());
  return (
    <div class="compare">
      <div class="chart-tools">
        <input
          type="search"
          placeholder="Find params, metrics, tags"
          aria-label="Find params, metrics, tags"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
        <label class="toggle">
          <input
            type="checkbox"
            checked={isOnlyDifferent}
            onChange={() => setQuery({ diff: !isOnlyDifferent })}
          />
          only what differs
        </label>
        <label class="toggle">
          <input type="checkbox" checked={hasContext} onChange={() => setQuery({ context: !hasContext })} />
          where they ran
        </label>
        <Segmented
          label="Value of metrics"
          value={summary}
          options={[["last", "last"], ["min", "min"], ["max", "max"]]}
          onChange={setSummary}
        />
        <span class="faint">
          {state.selected.length === 0
            ? `The first ${runs.length} of the search; select runs in the table to choose.`
            : ""}
          {resource.data.length > RUNS_SIDE_BY_SIDE && ` ${RUNS_SIDE_BY_SIDE} are shown.`}
        </span>
      </div>
      <div class="scroll-box" tabIndex={0} role="region" aria-label="Comparison">
        <table class="compare-table">
          <thead>
            <tr>
              <th scope="col">Run</th>
              {runs.map((run) => (
                <th key={run.run_id} scope="col">
                  <span class="dot" style={{ "--run": colorOf(run.run_id) }} />
                  <Link to={`/runs/${encodeURIComponent(run.run_id)}`}>{run.name || run.run_id}</Link>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            <tr>
              <th scope="row">Status</th>
              {runs.map((run) => (
                <td key={run.run_id}>
                  <StatusBadge run={run} />
                </td>
              ))}
            </tr>
            <tr>
              <th scope="row">Started</th>
              {runs.map((run) => (
                <td key={run.run_id}>
                  <Time us={run.start_time_us} />
                </td>
              ))}
            </tr>
            <tr>
              <th scope="row">Duration</th>
              {runs.map((run) => (
                <td key={run.run_id}>{duration(runDuration(run))}</td>
              ))}
            </tr>
          </tbody>
          {sections.map(([title, rows]) => {
            if (rows.length === 0) return null;
            const shown = rows.filter(isShown);
            return (
              <tbody key={title}>
                <tr class="section">
                  <th scope="rowgroup" colSpan={runs.length + 1}>
                    {title} <span class="faint">{shown.length < rows.length ? `${shown.length} of ${rows.length}` : rows.length}</span>
                  </th>
                </tr>
                {shown.map((one) => (
                  <tr key={one.key} class={one.isDifferent ? "different" : ""}>
                    <th scope="row" title={one.key}>
                      {one.key}
                    </th>
                    {one.values.map((value, index) => (
                      <td
                        key={runs[index]!.run_id}
                        class={`${title === "Metrics" ? "numeric" : ""}${one.best.has(index) ? " best" : ""}`}
                        title={one.best.has(index) ? "The best of these" : undefined}
                      >
                        {value === undefined ? <span class="faint">–</span> : value.slice(0, 500)}
                        {one.best.has(index) && <span class="sr-only"> (best)</span>}
                      </td>
                    ))}
                  </tr>
                ))}
              </tbody>
            );
          })}
        </table>
      </div>
    </div>
  );
}
