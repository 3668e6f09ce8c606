/** How uPlot is set up: scales, axes, cursor; the lines are painted by `paint`. */
import type uPlot from "uplot";

import { shortNumber } from "../components/format";
import type { Range } from "./lines";
import { paintLines } from "./paint";
import { highlighted, point, type Hooks } from "./pointing";

const PAD_PX = 8;

export function options(element: HTMLElement, hooks: Hooks): uPlot.Options {
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

function shortDuration(seconds: number): string {
  if (Math.abs(seconds) < 120) return `${Number(seconds.toPrecision(4))}s`;
  if (seconds < 7200) return `${Number((seconds / 60).toPrecision(3))}m`;
  if (seconds < 172_800) return `${Number((seconds / 3600).toPrecision(3))}h`;
  return `${Number((seconds / 86_400).toPrecision(3))}d`;
}
