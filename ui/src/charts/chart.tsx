/**
 * One plot. uPlot gives axes, scales, the cursor and the selection; the lines are painted by
 * us, because every run has its own x and joining them would cost more than drawing them.
 */
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";

import { isDark } from "../state/theme";
import { marksOf, xRange, yRange, type Line, type Range, type XKind } from "./lines";
import { options } from "./plot-options";
import { crosshair, following, highlighted, type Hover } from "./pointing";
import { Tooltip } from "./tooltip";

const HIGHLIGHT_AFTER_MS = 60;

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
  const isInSight = useRef(true);
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
    // What is scrolled away follows no pointer: a page may hold hundreds of charts.
    const sight = new IntersectionObserver((entries) => {
      const wasInSight = isInSight.current;
      isInSight.current = entries.at(-1)!.isIntersecting;
      if (isInSight.current && !wasInSight) made.redraw(false); // with the run highlighted since
    });
    sight.observe(element);
    return () => {
      observer.disconnect();
      sight.disconnect();
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
  // A pointer on its way crosses many lines: drawn is the one where it rests.
  useEffect(() => {
    if (!isInSight.current) return;
    const timer = setTimeout(() => plot.current?.redraw(false), HIGHLIGHT_AFTER_MS);
    return () => clearTimeout(timer);
  }, [bright]);

  const at = crosshair.value;
  const isFollowing = at !== null && at.group === props.group && at.owner !== owner.current;
  const followed =
    isFollowing && isInSight.current && ranges && plot.current
      ? following(plot.current, props, at.x, bright)
      : null;
  const shown = hover ?? followed;
  const empty = emptyText(props, ranges);
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
      {empty && <div class={`chart-empty ${ranges ? "clear" : ""}`}>{empty}</div>}
      {followed && plot.current && (
        <div
          class="cross-line"
          style={{
            left: `${followed.left}px`,
            top: `${plot.current.over.offsetTop}px`,
            height: `${plot.current.over.clientHeight}px`,
          }}
        />
      )}
      {shown && <Tooltip hover={shown} width={box.current?.clientWidth ?? 600} />}
    </div>
  );
}

function emptyText(props: ChartProps, ranges: ReturnType<typeof rangesOf>): string | null {
  if (ranges) return ranges.isFinite ? null : "No finite value so far";
  const points = props.lines.reduce((sum, line) => sum + line.series.points, 0);
  if (points === 0) return props.zoom ? "No points in this range" : "No points yet";
  if (props.isLogX || props.isLogY) return "Nothing above zero to show on a log axis";
  return "No points in this range";
}

function rangesOf(props: ChartProps, yZoom: Range | null) {
  const whole = xRange(props.lines, props.isLogX);
  if (!whole) return null;
  const isZoomable = props.zoom && !(props.isLogX && props.zoom.min <= 0);
  const x = widened(isZoomable ? props.zoom! : whole, props.isLogX);
  const found = yRange(props.lines, props.zoom, props.isLogY, props.hidesOutliers);
  if (!found) {
    // What is no finite number has no height, but a place: its marks need some range.
    const { nan, isUp, isDown } = marksOf(props.lines);
    const isMarked = nan > 0 || isUp || isDown;
    return isMarked ? { x, y: { min: 1, max: 10 }, hidden: 0, isFinite: false } : null;
  }
  const y = yZoom && !(props.isLogY && yZoom.min <= 0) ? yZoom : padded(found, props.isLogY);
  return { x, y, hidden: found.hidden, isFinite: true };
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
