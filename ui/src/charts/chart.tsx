/**
 * One plot. uPlot gives axes, scales, the cursor and the selection; the lines are painted by
 * us, because every run has its own x and joining them would cost more than drawing them.
 */
import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";

import { duration, exact, number, shortNumber } from "../components/format";
import { isDark } from "../state/theme";
import { nearest, xRange, yRange, type Line, type Range, type XKind } from "./lines";
import { paintLines } from "./paint";

/** Where the pointer is, in x: all charts of a page with the same x show it. */
export const crosshair = signal<{ group: string; x: number; owner: object } | null>(null);
/** The run the pointer is nearest to; the others fade. */
export const highlighted = signal<string | null>(null);

const ROWS_SHOWN = 16;
const PAD_PX = 8;

export interface ChartProps {
  lines: readonly Line[];
  xKind: XKind;
  xLabel: string;
  isLogX: boolean;
  isLogY: boolean;
  hidesOutliers: boolean;
  zoom: Range | null;
  group: string;
  height: number;
  label: string;
  onZoom: (zoom: Range | null) => void;
  /** Gets the canvas, for a picture of it. */
  onCanvas?: (canvas: HTMLCanvasElement) => void;
  onHidden?: (count: number) => void;
}

interface Hover {
  left: number;
  top: number;
  title: string;
  rows: { line: Line; index: number }[];
  more: number;
  nearest: string | null;
}

export function Chart(props: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const current = useRef(props);
  current.current = props;
  const owner = useRef({});
  const [yZoom, setYZoom] = useState<Range | null>(null);
  const yZoomed = useRef<Range | null>(null);
  yZoomed.current = yZoom;
  const [hover, setHover] = useState<Hover | null>(null);
  const ranges = useMemo(() => rangesOf(props, yZoom), [
    props.lines, props.isLogX, props.isLogY, props.hidesOutliers, props.zoom, yZoom,
  ]);
  const shownRanges = useRef(ranges);
  shownRanges.current = ranges;
  const dark = isDark.value;

  useEffect(() => props.onHidden?.(ranges?.hidden ?? 0), [ranges?.hidden]);
  useEffect(() => setYZoom(null), [props.isLogY, props.hidesOutliers]);

  // A plot is made anew when its axes change in kind; new data only draws it again.
  useLayoutEffect(() => {
    const element = box.current!;
    const made = new uPlot(
      options(element, {
        props: () => current.current,
        ranges: () => shownRanges.current,
        setHover,
        zoomY: setYZoom,
        owner: owner.current,
      }),
      [[0, 1], [null, null]],
      element,
    );
    plot.current = made;
    props.onCanvas?.(made.ctx.canvas);
    const observer = new ResizeObserver(() => {
      const width = Math.floor(element.clientWidth);
      if (width > 0 && width !== made.width) made.setSize({ width, height: current.current.height });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
      setHover(null);
    };
  }, [props.xKind, props.isLogX, props.isLogY, props.height, dark]);

  useLayoutEffect(() => {
    const made = plot.current;
    if (!made || !ranges) return;
    // The data is only what uPlot needs to have scales; see `paintLines` for the lines.
    made.setData([[ranges.x.min, ranges.x.max], [null, null]], true);
  }, [ranges, dark, props.xKind, props.isLogX, props.isLogY, props.height]);
  const bright = highlighted.value;
  useEffect(() => plot.current?.redraw(false), [bright]);

  const at = crosshair.value;
  const cross =
    at && at.group === props.group && at.owner !== owner.current && ranges && plot.current
      ? plot.current.valToPos(at.x, "x")
      : null;
  const isCrossed = cross !== null && at && ranges && at.x >= ranges.x.min && at.x <= ranges.x.max;
  const isEmpty = ranges === null;
  return (
    <div
      class="chart"
      style={{ height: `${props.height}px` }}
      role="img"
      aria-label={`${props.label} of ${props.lines.length} runs`}
      onDblClick={() => {
        setYZoom(null);
        props.onZoom(null);
      }}
    >
      <div ref={box} class="chart-box" />
      {isEmpty && <div class="chart-empty">{emptyText(props)}</div>}
      {isCrossed && plot.current && (
        <div
          class="cross-line"
          style={{
            left: `${cross + plot.current.over.offsetLeft}px`,
            top: `${plot.current.over.offsetTop}px`,
            height: `${plot.current.over.clientHeight}px`,
          }}
        />
      )}
      {hover && <Tooltip hover={hover} width={box.current?.clientWidth ?? 600} />}
    </div>
  );
}

function emptyText(props: ChartProps): string {
  const points = props.lines.reduce((sum, line) => sum + line.series.points, 0);
  if (points === 0) return props.zoom ? "No points in this range" : "No points yet";
  if (props.isLogX || props.isLogY) return "Nothing above zero to show on a log axis";
  return "Only NaN so far";
}

function rangesOf(props: ChartProps, yZoom: Range | null) {
  const whole = xRange(props.lines, props.isLogX);
  if (!whole) return null;
  const isZoomable = props.zoom && !(props.isLogX && props.zoom.min <= 0);
  const x = widened(isZoomable ? props.zoom! : whole, props.isLogX);
  const found = yRange(props.lines, props.zoom, props.isLogY, props.hidesOutliers);
  if (!found) return null;
  const y = yZoom && !(props.isLogY && yZoom.min <= 0) ? yZoom : padded(found, props.isLogY);
  return { x, y, hidden: found.hidden };
}

function widened(range: Range, isLog: boolean): Range {
  if (range.min < range.max) return range;
  return isLog ? { min: range.min / 2, max: range.max * 2 } : { min: range.min - 1, max: range.max + 1 };
}

function padded(range: Range, isLog: boolean): Range {
  if (isLog) return { min: range.min / 1.15, max: range.max * 1.15 };
  const span = range.max - range.min || Math.abs(range.max) || 1;
  return { min: range.min - span * 0.05, max: range.max + span * 0.05 };
}

interface Hooks {
  props: () => ChartProps;
  ranges: () => { x: Range; y: Range } | null;
  setHover: (hover: Hover | null) => void;
  zoomY: (range: Range | null) => void;
  owner: object;
}

function options(element: HTMLElement, hooks: Hooks): uPlot.Options {
  const { xKind, isLogX, isLogY, height } = hooks.props();
  const style = getComputedStyle(element);
  const ink = style.getPropertyValue("--faint").trim();
  const grid = { stroke: style.getPropertyValue("--grid-line").trim(), width: 1 };
  const font = "11px system-ui, sans-serif";
  const axis = { stroke: ink, grid, ticks: { ...grid, size: 4 }, font };
  return {
    width: Math.max(200, Math.floor(element.clientWidth)),
    height,
    padding: [PAD_PX, 12, 0, 0],
    legend: { show: false },
    scales: {
      x: {
        time: xKind === "wall",
        distr: isLogX ? 3 : 1,
        range: () => pair(hooks.ranges()?.x),
      },
      y: { distr: isLogY ? 3 : 1, range: () => pair(hooks.ranges()?.y) },
    },
    series: [{}, { scale: "y" }],
    axes: [
      {
        ...axis,
        space: 70,
        size: 28,
        ...(xKind !== "wall" && {
          values: (_: uPlot, ticks: (number | null)[]) =>
            ticks.map((tick) =>
              tick === null ? "" : xKind === "relative" ? shortDuration(tick) : shortNumber(tick),
            ),
        }),
      },
      {
        ...axis,
        size: 58,
        values: (_: uPlot, ticks: (number | null)[]) =>
          ticks.map((tick) => (tick === null ? "" : shortNumber(tick))),
      },
    ],
    cursor: {
      points: { show: false },
      y: false,
      drag: { x: true, y: true, uni: 40, setScale: false },
      focus: { prox: -1 },
    },
    hooks: {
      draw: [
        (made) => {
          const props = hooks.props();
          const ranges = hooks.ranges();
          if (!ranges) return;
          paintLines(
            made.ctx,
            {
              ...made.bbox,
              ...ranges,
              isLogX: props.isLogX,
              isLogY: props.isLogY,
              density: devicePixelRatio,
            },
            props.lines,
            highlighted.value,
          );
          performance.mark("tracker-chart-drawn");
        },
      ],
      setSelect: [(made) => select(made, hooks)],
      setCursor: [(made) => point(made, hooks)],
    },
  };
}

function pair(range: Range | undefined): [number, number] {
  return range ? [range.min, range.max] : [1, 10]; // fit for a log axis, too
}

function select(made: uPlot, hooks: Hooks) {
  const { left, top, width, height } = made.select;
  if (width < 4 && height < 4) return;
  const isX = width >= 4 && width < made.over.clientWidth - 1;
  const isY = height >= 4 && height < made.over.clientHeight - 1;
  if (isY) {
    hooks.zoomY({ min: made.posToVal(top + height, "y"), max: made.posToVal(top, "y") });
  }
  if (isX) {
    hooks.props().onZoom({ min: made.posToVal(left, "x"), max: made.posToVal(left + width, "x") });
  }
  made.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
}

function point(made: uPlot, hooks: Hooks) {
  const { left, top } = made.cursor;
  const props = hooks.props();
  if (left === undefined || left < 0 || top === undefined || !hooks.ranges()) {
    hooks.setHover(null);
    if (crosshair.value?.owner === hooks.owner) crosshair.value = null;
    if (highlighted.value !== null) highlighted.value = null;
    return;
  }
  const x = made.posToVal(left, "x");
  crosshair.value = { group: props.group, x, owner: hooks.owner };
  const found = props.lines
    .map((line) => ({ line, index: nearest(line, x) }))
    .filter(({ line, index }) => index >= 0 && Math.abs(made.valToPos(line.x[index]!, "x") - left) < 60);
  const value = (row: { line: Line; index: number }) =>
    (row.line.smooth ?? row.line.series.last)[row.index]!;
  found.sort((a, b) => order(value(b)) - order(value(a)));
  let nearestRun: string | null = null;
  let least = 24;
  for (const row of found) {
    const away = Math.abs(made.valToPos(value(row), "y") - top);
    if (away < least) [nearestRun, least] = [row.line.runId, away];
  }
  if (highlighted.value !== nearestRun) highlighted.value = nearestRun;
  const place = Math.max(0, found.findIndex((row) => row.line.runId === nearestRun));
  const from = Math.max(0, Math.min(found.length - ROWS_SHOWN, place - ROWS_SHOWN / 2));
  hooks.setHover({
    left: left + made.over.offsetLeft,
    top: top + made.over.offsetTop,
    title: xText(x, found[0], props),
    rows: found.slice(from, from + ROWS_SHOWN),
    more: Math.max(0, found.length - ROWS_SHOWN),
    nearest: nearestRun,
  });
}

function order(value: number): number {
  return Number.isNaN(value) ? -Infinity : value;
}

function xText(x: number, row: { line: Line; index: number } | undefined, props: ChartProps): string {
  const at = row ? row.line.x[row.index]! : x;
  if (props.xKind === "step") return `step ${number(at, 8)}`;
  if (props.xKind === "relative") return `after ${duration(at * 1e6)}`;
  if (props.xKind === "wall") return exact(at * 1e6);
  return `${props.xLabel} ${number(at)}`;
}

function Tooltip({ hover, width }: { hover: Hover; width: number }) {
  const isRight = hover.left > width / 2;
  const place = isRight
    ? { right: `${width - hover.left + 14}px` }
    : { left: `${hover.left + 14}px` };
  return (
    <div class="tooltip" style={{ ...place, top: "8px" }}>
      <div class="faint">{hover.title}</div>
      <table>
        <tbody>
          {hover.rows.map(({ line, index }) => (
            <tr key={line.runId} class={line.runId === hover.nearest ? "near" : ""}>
              <td>
                <span class="dot" style={{ "--run": line.color }} />
              </td>
              <td class="ellipsis">{line.name}</td>
              <td class="numeric">{number((line.smooth ?? line.series.last)[index]!)}</td>
              <td class="faint numeric">{spread(line, index)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {hover.more > 0 && <div class="faint">and {hover.more} more</div>}
    </div>
  );
}

function spread(line: Line, index: number): string {
  const { min, max, count } = line.series;
  if (!(count[index]! > 1) || min[index] === max[index]) {
    return line.smooth ? `raw ${number(line.series.last[index]!)}` : "";
  }
  return `${number(min[index]!, 3)} … ${number(max[index]!, 3)}`;
}

function shortDuration(seconds: number): string {
  if (Math.abs(seconds) < 120) return `${Number(seconds.toPrecision(4))}s`;
  if (seconds < 7200) return `${Number((seconds / 60).toPrecision(3))}m`;
  if (seconds < 172_800) return `${Number((seconds / 3600).toPrecision(3))}h`;
  return `${Number((seconds / 86_400).toPrecision(3))}d`;
}
