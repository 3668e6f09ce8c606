/** Parallel coordinates: drag along an axis to keep only the runs that pass there. */
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";

import type { Run } from "../../api/types";
import { shortNumber } from "../../charts/chart";
import { Empty, Failed, IconButton, Loading } from "../../components/basics";
import { whole } from "../../components/format";
import { isDark } from "../../state/theme";
import { listText, query, queryList, setQuery } from "../../state/location";
import { labelOf, fieldOf } from "../../table/columns";
import type { RunsState } from "../runs/state";
import { axisIds, axisOf, defaultAxes, scaleColor, share, valueAt, type Axis } from "./axes";
import { ShortTable } from "./short-table";
import { MANY_RUNS, useManyRuns } from "./use-many-runs";

const HEIGHT = 380;
const TOP = 46;
const BOTTOM = 22;
const SIDE = 70;

interface Brush {
  id: string;
  from: number; // shares of the axis
  to: number;
}

export function ParallelView({ state, names }: { state: RunsState; names: Map<string, string> }) {
  const resource = useManyRuns(state);
  const runs = resource.data?.runs ?? [];
  const chosen = queryList("axes");
  const logs = queryList("log");
  const ids = useMemo(() => (chosen.length > 0 ? chosen : defaultAxes(runs)), [listText(chosen), runs]);
  const axes = useMemo(
    () => ids.map((id) => axisOf(id, runs, logs.includes(id))),
    [listText(ids), listText(logs), runs],
  );
  const colorBy = query.value.get("color") ?? axes.findLast((axis) => fieldOf(axis.id).kind === "metrics")?.id ?? axes.at(-1)?.id ?? "";
  const colorAxis = useMemo(() => axisOf(colorBy, runs, logs.includes(colorBy)), [colorBy, runs, listText(logs)]);
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
        <Plot
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
          onLog={(id) =>
            setQuery({ log: listText(logs.includes(id) ? logs.filter((one) => one !== id) : [...logs, id]) })
          }
        />
      )}
      <ShortTable runs={kept} columns={ids} names={names} onHover={setHovered} color={(run) => scaleColor(share(colorAxis, colorAxis.place(run)))} />
    </div>
  );
}

function passes(run: Run, axes: readonly Axis[], brushes: readonly Brush[]): boolean {
  return brushes.every(({ id, from, to }) => {
    const axis = axes.find((one) => one.id === id);
    if (!axis) return true;
    const at = share(axis, axis.place(run));
    return at >= from && at <= to;
  });
}

interface PlotProps {
  axes: readonly Axis[];
  runs: readonly Run[];
  kept: ReadonlySet<Run>;
  brushes: readonly Brush[];
  colorAxis: Axis;
  hovered: string | null;
  onBrushes: (brushes: Brush[]) => void;
  onMove: (id: string, by: number) => void;
  onDrop: (id: string) => void;
  onLog: (id: string) => void;
}

function Plot(props: PlotProps) {
  const { axes, runs, kept, brushes, colorAxis, hovered } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(900);
  const [dragged, setDragged] = useState<Brush | null>(null);
  const dark = isDark.value;
  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => setWidth(box.current!.clientWidth));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  const xs = axes.map((_, index) => SIDE + (index * (width - 2 * SIDE)) / Math.max(1, axes.length - 1));
  const y = (part: number) => HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM);
  const partAt = (clientY: number) => {
    const top = canvas.current!.getBoundingClientRect().top;
    const part = (HEIGHT - BOTTOM - (clientY - top)) / (HEIGHT - TOP - BOTTOM);
    // Nobody hits the very end of an axis; what is close to it means all of it.
    return part > 0.98 ? 1 : part < 0.02 ? 0 : part;
  };

  useEffect(() => {
    const element = canvas.current!;
    const density = devicePixelRatio;
    element.width = width * density;
    element.height = HEIGHT * density;
    const context = element.getContext("2d")!;
    context.scale(density, density);
    context.clearRect(0, 0, width, HEIGHT);
    const style = getComputedStyle(element);
    const faded = style.getPropertyValue("--grid-line");
    const strength = Math.min(1, Math.max(0.12, 60 / Math.max(1, kept.size)));
    const draw = (run: Run, color: string, alpha: number, wide: number) => {
      context.strokeStyle = color;
      context.globalAlpha = alpha;
      context.lineWidth = wide;
      context.beginPath();
      let isDown = false;
      axes.forEach((axis, index) => {
        const part = share(axis, axis.place(run));
        if (!Number.isFinite(part)) {
          isDown = false;
          return;
        }
        if (isDown) context.lineTo(xs[index]!, y(part));
        else context.moveTo(xs[index]!, y(part));
        isDown = true;
      });
      context.stroke();
    };
    for (const run of runs) if (!kept.has(run)) draw(run, faded, 0.5, 1);
    for (const run of kept) {
      draw(run, scaleColor(share(colorAxis, colorAxis.place(run))), hovered ? strength * 0.3 : strength, 1.4);
    }
    const bright = hovered && runs.find((run) => run.run_id === hovered);
    if (bright) draw(bright, scaleColor(share(colorAxis, colorAxis.place(bright))), 1, 3);
    context.globalAlpha = 1;
    context.strokeStyle = style.getPropertyValue("--faint");
    context.lineWidth = 1;
    for (const x of xs) {
      context.beginPath();
      context.moveTo(x, TOP);
      context.lineTo(x, HEIGHT - BOTTOM);
      context.stroke();
    }
  }, [axes, runs, kept, colorAxis, hovered, width, dark]);

  const drag = (axis: Axis) => (event: PointerEvent) => {
    event.preventDefault();
    const start = partAt(event.clientY);
    let brush: Brush | null = null;
    const move = (to: PointerEvent) => {
      const end = partAt(to.clientY);
      brush = { id: axis.id, from: Math.min(start, end), to: Math.max(start, end) };
      setDragged(brush);
    };
    const done = () => {
      removeEventListener("pointermove", move);
      setDragged(null);
      const others = brushes.filter((one) => one.id !== axis.id);
      props.onBrushes(brush && brush.to - brush.from > 0.005 ? [...others, brush] : others);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", done, { once: true });
  };
  const shown = dragged ? [...brushes.filter((one) => one.id !== dragged.id), dragged] : brushes;
  return (
    <div ref={box} class="parallel-plot" style={{ height: `${HEIGHT}px` }}>
      <canvas
        ref={canvas}
        style={{ width: `${width}px`, height: `${HEIGHT}px` }}
        role="img"
        aria-label={`${kept.size} runs over ${axes.length} axes`}
      />
      {axes.map((axis, index) => {
        const brush = shown.find((one) => one.id === axis.id);
        return (
          <div key={axis.id} class="axis" style={{ left: `${xs[index]!}px` }}>
            <div class="axis-head">
              <span class="axis-name" title={axis.id}>
                <span class={`kind ${fieldOf(axis.id).kind}`} />
                <span class="ellipsis">{labelOf(axis.id)}</span>
              </span>
              <span class="axis-tools">
                <button type="button" aria-label={`Move ${axis.id} left`} onClick={() => props.onMove(axis.id, -1)}>
                  ‹
                </button>
                {axis.isNumeric && (
                  <button
                    type="button"
                    aria-pressed={axis.isLog}
                    aria-label={`Log axis for ${axis.id}`}
                    onClick={() => props.onLog(axis.id)}
                  >
                    log
                  </button>
                )}
                <IconButton icon="close" size={11} label={`Drop ${axis.id}`} onClick={() => props.onDrop(axis.id)} />
                <button type="button" aria-label={`Move ${axis.id} right`} onClick={() => props.onMove(axis.id, 1)}>
                  ›
                </button>
              </span>
            </div>
            <div class="axis-brush" style={{ top: `${TOP}px`, height: `${HEIGHT - TOP - BOTTOM}px` }} onPointerDown={drag(axis)} />
            {brush && (
              <div
                class="brush"
                style={{ top: `${y(brush.to)}px`, height: `${Math.max(2, y(brush.from) - y(brush.to))}px` }}
              />
            )}
            {ticks(axis).map(({ part, text }) => (
              <span key={text} class="axis-tick" style={{ top: `${y(part)}px` }}>
                {text}
              </span>
            ))}
          </div>
        );
      })}
    </div>
  );
}

function ticks(axis: Axis): { part: number; text: string }[] {
  if (!axis.isNumeric) {
    const every = Math.ceil(axis.categories.length / 12);
    return axis.categories.flatMap((text, index) =>
      index % every === 0 ? [{ part: index / axis.max, text: text.slice(0, 18) }] : [],
    );
  }
  return [0, 0.25, 0.5, 0.75, 1].map((part) => ({
    part,
    text: shortNumber(Number(valueAt(axis, part).toPrecision(3))),
  }));
}
