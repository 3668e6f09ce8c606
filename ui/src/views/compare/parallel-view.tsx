/** Parallel coordinates: drag along an axis to keep only the runs that pass there. */
import { useMemo, useState } from "preact/hooks";

import { Empty, Failed, Loading } from "../../components/basics";
import { whole } from "../../components/format";
import { listText, query, queryList, setQuery } from "../../state/location";
import { fieldOf } from "../../table/columns";
import type { RunsState } from "../runs/state";
import { axisIds, axisOf, defaultAxes, scaleColor, share } from "./axes";
import { logAxes } from "./log-axes";
import { ParallelPlot, passes, type Brush } from "./parallel-plot";
import { ShortTable } from "./short-table";
import { MANY_RUNS, useManyRuns } from "./use-many-runs";

export function ParallelView({ state, names }: { state: RunsState; names: Map<string, string> }) {
  const resource = useManyRuns(state);
  const runs = resource.data?.runs ?? [];
  const chosen = queryList("axes");
  const ids = useMemo(() => (chosen.length > 0 ? chosen : defaultAxes(runs)), [listText(chosen), runs]);
  const logs = logAxes(ids, runs);
  const axes = useMemo(
    () => ids.map((id) => axisOf(id, runs, logs.has(id))),
    [listText(ids), logs.text, runs],
  );
  const colorBy = query.value.get("color") ?? axes.findLast((axis) => fieldOf(axis.id).kind === "metrics")?.id ?? axes.at(-1)?.id ?? "";
  const colorAxis = useMemo(() => axisOf(colorBy, runs, logs.has(colorBy)), [colorBy, runs, logs.text]);
  const [brushes, setBrushes] = useState<Brush[]>([]);
  const [hovered, setHovered] = useState<string | null>(null);
  const kept = useMemo(() => runs.filter((run) => passes(run, axes, brushes)), [runs, axes, brushes]);
  if (resource.error && !resource.data) return <Failed error={resource.error} retry={resource.reload} />;
  if (!resource.data) return <Loading what="Looking for runs" />;
  if (runs.length === 0) return <Empty title="No run matches" />;
  const setAxes = (next: string[]) => setQuery({ axes: listText(next) });
  return (
    <div class="parallel">
      <div class="chart-tools">
        <select
          aria-label="Add an axis"
          value=""
          onChange={(event) => event.currentTarget.value && setAxes([...ids, event.currentTarget.value])}
        >
          <option value="">Add an axis …</option>
          {axisIds(runs)
            .filter((id) => !ids.includes(id))
            .map((id) => (
              <option key={id} value={id}>
                {id}
              </option>
            ))}
        </select>
        <label class="slider">
          Colour by
          <select value={colorBy} onChange={(event) => setQuery({ color: event.currentTarget.value })}>
            {axisIds(runs).map((id) => (
              <option key={id} value={id}>
                {id}
              </option>
            ))}
          </select>
        </label>
        {brushes.length > 0 && (
          <button type="button" onClick={() => setBrushes([])}>
            Clear {brushes.length === 1 ? "the brush" : `${brushes.length} brushes`}
          </button>
        )}
        <span class="faint">
          {whole(kept.length)} of {whole(runs.length)} runs
          {resource.data.isReduced && ` (the first ${whole(MANY_RUNS)} of the search)`}. Drag along an
          axis to keep what passes there.
        </span>
      </div>
      {axes.length < 2 ? (
        <Empty title="These runs differ in nothing">
          <p class="faint">Add two axes to compare them.</p>
        </Empty>
      ) : (
        <ParallelPlot
          axes={axes}
          runs={runs}
          kept={new Set(kept)}
          brushes={brushes}
          colorAxis={colorAxis}
          hovered={hovered}
          onBrushes={setBrushes}
          onMove={(id, by) => {
            const at = ids.indexOf(id);
            const to = Math.max(0, Math.min(ids.length - 1, at + by));
            setAxes(ids.toSpliced(at, 1).toSpliced(to, 0, id));
          }}
          onDrop={(id) => {
            setBrushes(brushes.filter((brush) => brush.id !== id));
            setAxes(ids.filter((one) => one !== id));
          }}
          onLog={logs.toggle}
        />
      )}
      <ShortTable runs={kept} columns={ids} names={names} onHover={setHovered} color={(run) => scaleColor(share(colorAxis, colorAxis.place(run)))} />
    </div>
  );
}
