/** The lines and axes of parallel coordinates, and the brushes dragged along them. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import type { Run } from "../../api/types";
import { IconButton } from "../../components/basics";
import { isDark } from "../../state/theme";
import { fieldOf, labelOf } from "../../table/columns";
import { scaleColor, share, type Axis } from "./axes";
import { ticksOf } from "./ticks";

const HEIGHT = 380;
const TOP = 46;
const BOTTOM = 22;
const SIDE = 70;
const AXIS_APART_PX = 118;

export interface Brush {
  id: string;
  from: number; // shares of the axis
  to: number;
}

/** Whether a run goes through all brushes. */
export function passes(run: Run, axes: readonly Axis[], brushes: readonly Brush[]): boolean {
  return brushes.every(({ id, from, to }) => {
    const axis = axes.find((one) => one.id === id);
    if (!axis) return true;
    const at = share(axis, axis.place(run));
    return at >= from && at <= to;
  });
}

interface ParallelPlotProps {
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

export function ParallelPlot(props: ParallelPlotProps) {
  const { axes, runs, kept, brushes, colorAxis, hovered } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const [room, setRoom] = useState(900);
  const [dragged, setDragged] = useState<Brush | null>(null);
  const dark = isDark.value;
  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => setRoom(box.current!.clientWidth));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  const width = Math.max(room, 2 * SIDE + (axes.length - 1) * AXIS_APART_PX);
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
            {ticksOf(axis).map(({ part, text }) => (
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
