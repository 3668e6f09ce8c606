/** Two values of every run against each other, coloured by a third; the best is named. */
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";

import type { Run } from "../../api/types";
import { Empty, Failed, Link, Loading } from "../../components/basics";
import { number, whole } from "../../components/format";
import { StatusBadge } from "../../components/status";
import { go, query, setQuery } from "../../state/location";
import { isDark } from "../../state/theme";
import { cellText, labelOf } from "../../table/columns";
import type { RunsState } from "../runs/state";
import { axisIds, axisOf, defaultAxes, scaleColor, share, type Axis } from "./axes";
import { betterWhen } from "./better";
import { logAxes, type LogAxes } from "./log-axes";
import { ticksOf } from "./ticks";
import { MANY_RUNS, useManyRuns } from "./use-many-runs";

const HEIGHT = 460;
const PADDING = 0.04;
const EDGE = { left: 70, right: 20, top: 16, bottom: 46 };

export function ScatterView({ state }: { state: RunsState }) {
  const resource = useManyRuns(state);
  const runs = resource.data?.runs ?? [];
  const ids = useMemo(() => axisIds(runs), [runs]);
  const defaults = useMemo(() => defaultAxes(runs), [runs]);
  const metric = ids.find((id) => id.startsWith("metrics.")) ?? ids[0] ?? "";
  const xId = query.value.get("sx") ?? defaults[0] ?? metric;
  const measured = defaults.filter((id) => id.startsWith("metrics."));
  const yId = query.value.get("sy") ?? measured.at(-1) ?? metric;
  const colorId = query.value.get("color") ?? defaults.find((id) => id !== xId) ?? yId;
  const logs = logAxes([xId, yId, colorId], runs);
  const [x, y, color] = useMemo(
    () =>
      [
        axisOf(xId, runs, logs.has(xId), PADDING),
        axisOf(yId, runs, logs.has(yId), PADDING),
        axisOf(colorId, runs, logs.has(colorId)),
      ] as const,
    [xId, yId, colorId, runs, logs.text],
  );
  const [near, setNear] = useState<Run | null>(null);
  if (resource.error && !resource.data) return <Failed error={resource.error} retry={resource.reload} />;
  if (!resource.data) return <Loading what="Looking for runs" />;
  if (runs.length === 0) return <Empty title="No run matches" />;
  const best = bestBy(runs, y);
  return (
    <div class="scatter">
      <div class="chart-tools">
        <AxisChoice label="x" ids={ids} value={xId} name="sx" logs={logs} />
        <AxisChoice label="y" ids={ids} value={yId} name="sy" logs={logs} />
        <AxisChoice label="colour" ids={ids} value={colorId} name="color" logs={logs} />
        {best && (
          <span>
            Best {labelOf(yId)}: <Link to={`/runs/${encodeURIComponent(best.run_id)}`}>{best.name}</Link>{" "}
            <strong>{number(y.place(best))}</strong>
          </span>
        )}
        <span class="faint">
          {whole(runs.length)} runs
          {resource.data.isReduced && ` (the first ${whole(MANY_RUNS)} of the search)`}
        </span>
      </div>
      <Plot runs={runs} x={x} y={y} color={color} near={near} best={best} onNear={setNear} />
      <div class="near-run" aria-live="polite">
        {near ? (
          <>
            <strong>{near.name}</strong> <StatusBadge run={near} />{" "}
            {[xId, yId, colorId].map((id) => (
              <span key={id} class="pair">
                <span class="faint">{labelOf(id)}</span> {cellText(near, id) ?? "–"}
              </span>
            ))}
          </>
        ) : (
          <span class="faint">Point at a run to see it; click to open it.</span>
        )}
      </div>
    </div>
  );
}

function AxisChoice({ label, ids, value, name, logs }: { label: string; ids: string[]; value: string; name: string; logs: LogAxes }) {
  const isLog = logs.has(value);
  return (
    <label class="slider">
      {label}
      <select value={value} onChange={(event) => setQuery({ [name]: event.currentTarget.value })}>
        {ids.map((id) => (
          <option key={id} value={id}>
            {id}
          </option>
        ))}
      </select>
      <button
        type="button"
        class={`chip${isLog ? " on" : ""}`}
        aria-pressed={isLog}
        aria-label={`Log scale for ${label}`}
        onClick={() => logs.toggle(value)}
      >
        log
      </button>
    </label>
  );
}

function bestBy(runs: readonly Run[], axis: Axis): Run | null {
  const better = betterWhen(axis.id);
  if (!axis.isNumeric || better === null) return null;
  const sign = better === "less" ? -1 : 1;
  let best: Run | null = null;
  for (const run of runs) {
    const value = axis.place(run);
    if (Number.isFinite(value) && (best === null || sign * value > sign * axis.place(best))) best = run;
  }
  return best;
}

function Plot({ runs, x, y, color, near, best, onNear }: {
  runs: readonly Run[];
  x: Axis;
  y: Axis;
  color: Axis;
  near: Run | null;
  best: Run | null;
  onNear: (run: Run | null) => void;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(900);
  const dark = isDark.value;
  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => setWidth(box.current!.clientWidth));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  const px = (run: Run) => EDGE.left + share(x, x.place(run)) * (width - EDGE.left - EDGE.right);
  const py = (run: Run) => HEIGHT - EDGE.bottom - share(y, y.place(run)) * (HEIGHT - EDGE.top - EDGE.bottom);
  useEffect(() => {
    const element = canvas.current!;
    const density = devicePixelRatio;
    element.width = width * density;
    element.height = HEIGHT * density;
    const context = element.getContext("2d")!;
    context.scale(density, density);
    const style = getComputedStyle(element);
    context.font = "11px system-ui, sans-serif";
    context.strokeStyle = style.getPropertyValue("--grid-line");
    context.fillStyle = style.getPropertyValue("--faint");
    paintAxes(context, x, y, width);
    for (const run of runs) {
      const [left, top] = [px(run), py(run)];
      if (!Number.isFinite(left) || !Number.isFinite(top)) continue;
      context.fillStyle = scaleColor(share(color, color.place(run)));
      context.beginPath();
      context.arc(left, top, run === near ? 7 : 4.5, 0, 7);
      context.fill();
      if (run === best || run === near) {
        context.strokeStyle = style.getPropertyValue("--ink");
        context.lineWidth = 1.5;
        context.stroke();
      }
    }
  }, [runs, x, y, color, near, best, width, dark]);
  const find = (event: PointerEvent) => {
    const bounds = canvas.current!.getBoundingClientRect();
    let found: Run | null = null;
    let least = 18;
    for (const run of runs) {
      const away = Math.hypot(px(run) - (event.clientX - bounds.left), py(run) - (event.clientY - bounds.top));
      if (away < least) [found, least] = [run, away];
    }
    if (found !== near) onNear(found);
  };
  return (
    <div ref={box} class="scatter-plot">
      <canvas
        ref={canvas}
        style={{ width: `${width}px`, height: `${HEIGHT}px`, cursor: near ? "pointer" : "crosshair" }}
        role="img"
        aria-label={`${y.id} against ${x.id} of ${runs.length} runs`}
        onPointerMove={find}
        onPointerLeave={() => onNear(null)}
        onClick={() => near && go(`/runs/${encodeURIComponent(near.run_id)}`)}
      />
    </div>
  );
}

function paintAxes(context: CanvasRenderingContext2D, x: Axis, y: Axis, width: number) {
  const bottom = HEIGHT - EDGE.bottom;
  const ink = context.fillStyle;
  const line = (a: number, b: number, c: number, d: number) => {
    context.beginPath();
    context.moveTo(a, b);
    context.lineTo(c, d);
    context.stroke();
  };
  for (const { part, text } of ticksOf(x)) {
    const left = EDGE.left + part * (width - EDGE.left - EDGE.right);
    line(left, EDGE.top, left, bottom);
    context.textAlign = "center";
    context.fillText(text, left, bottom + 16, 90);
  }
  for (const { part, text } of ticksOf(y)) {
    const top = bottom - part * (bottom - EDGE.top);
    line(EDGE.left, top, width - EDGE.right, top);
    context.textAlign = "right";
    context.fillText(text, EDGE.left - 8, top + 4, EDGE.left - 10);
  }
  context.fillStyle = ink;
  context.textAlign = "center";
  context.fillText(x.id, (EDGE.left + width - EDGE.right) / 2, HEIGHT - 8);
  context.save();
  context.translate(13, (EDGE.top + bottom) / 2);
  context.rotate(-Math.PI / 2);
  context.fillText(y.id, 0, 0);
  context.restore();
}
