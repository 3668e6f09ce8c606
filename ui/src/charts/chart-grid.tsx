/** All charts of some runs, in groups by the metrics' prefixes. */
import type { RefObject } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";

import type { Run } from "../api/types";
import { Empty, Segmented } from "../components/basics";
import { shortNumber } from "../components/format";
import { Icon } from "../components/icons";
import { query, setQuery } from "../state/location";
import { ChartCard } from "./chart-card";
import { columnsFor, finder, groupsOf } from "./groups";
import type { XKind } from "./lines";
import { chartSettings, setZoom, type ChartSettings } from "./settings";

const CHARTS_AT_ONCE = 60;
const CARD_MIN_PX = 320;
const GAP_PX = 12;

export function ChartGrid({ runs }: { runs: readonly Run[] }) {
  const settings = chartSettings();
  const keys = useMemo(() => {
    const all = new Set<string>();
    for (const run of runs) for (const key in run.metrics) all.add(key);
    return [...all];
  }, [runs]);
  const keysText = keys.join("\n");
  const groups = useMemo(
    () => groupsOf(keys.filter(finder(settings.find))),
    [keysText, settings.find],
  );
  const box = useRef<HTMLDivElement>(null);
  const fitting = useFitting(box);
  const sizes = groups.map(([, members]) => members.length);
  const columns = settings.perRow || columnsFor(sizes, fitting);
  return (
    <div class="chart-page" ref={box}>
      <ChartTools settings={settings} keys={keys} />
      {keys.length === 0 ? (
        <Empty title="No metrics yet">
          <p class="faint">They appear here while they are logged.</p>
        </Empty>
      ) : groups.length === 0 ? (
        <Empty title="No metric matches">
          <button type="button" onClick={() => setQuery({ metric: null })}>
            Show all {keys.length}
          </button>
        </Empty>
      ) : (
        <div class="chart-groups" style={`grid-template-columns:repeat(${columns},minmax(0,1fr))`}>
          {groups.map(([prefix, members]) => (
            <Group
              key={prefix}
              prefix={prefix}
              members={members}
              runs={runs}
              settings={settings}
              columns={columns}
            />
          ))}
        </div>
      )}
    </div>
  );
}

/** How many cards fit beside each other. */
function useFitting(box: RefObject<HTMLElement | null>): number {
  const [count, setCount] = useState(2);
  useLayoutEffect(() => {
    const element = box.current!;
    const measure = () => {
      const style = getComputedStyle(element);
      const room = element.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
      setCount(Math.max(1, Math.floor((room + GAP_PX) / (CARD_MIN_PX + GAP_PX))));
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return count;
}

/** A group takes as many columns as it has charts, so small groups stand beside each other. */
function Group({
  prefix,
  members,
  runs,
  settings,
  columns,
}: {
  prefix: string;
  members: string[];
  runs: readonly Run[];
  settings: ChartSettings;
  columns: number;
}) {
  const [isOpen, setOpen] = useState(true);
  const [count, setCount] = useState(CHARTS_AT_ONCE);
  const span = Math.min(columns, members.length);
  return (
    <section class="chart-group" style={`grid-column:span ${span}`}>
      <h2>
        <button type="button" class="group-toggle" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          <Icon name={isOpen ? "down" : "right"} size={14} /> {prefix || "metrics"}
          <span class="badge">{members.length}</span>
        </button>
      </h2>
      {isOpen && (
        <div class="chart-cards" style={`grid-template-columns:repeat(${span},minmax(0,1fr))`}>
          {members.slice(0, count).map((key) => (
            <ChartCard key={key} metric={key} runs={runs} settings={settings} />
          ))}
        </div>
      )}
      {isOpen && members.length > count && (
        <button type="button" onClick={() => setCount(count + CHARTS_AT_ONCE)}>
          Show {Math.min(CHARTS_AT_ONCE, members.length - count)} more of {members.length}
        </button>
      )}
    </section>
  );
}

const X_KINDS: readonly (readonly [XKind, string])[] = [
  ["step", "Step"],
  ["relative", "Relative"],
  ["wall", "Wall time"],
];

function ChartTools({ settings, keys }: { settings: ChartSettings; keys: string[] }) {
  const { zoom } = settings;
  const setX = (x: string) => setQuery({ x: x === "step" ? null : x, zoom: null });
  return (
    <div class="chart-tools" role="toolbar" aria-label="How charts are drawn">
      <label class="find">
        <Icon name="search" />
        <input
          type="search"
          aria-label="Find metrics"
          placeholder="Find metrics"
          title="A part of their names, or a regular expression"
          value={settings.find}
          onInput={(event) => setQuery({ metric: event.currentTarget.value })}
        />
      </label>
      <Segmented
        label="x axis"
        value={settings.xKind}
        options={settings.xKind === "metric" ? [...X_KINDS, ["metric", settings.xMetric]] : X_KINDS}
        onChange={(kind) => setX(kind)}
      />
      <select
        aria-label="Another metric as x"
        value={settings.xMetric}
        onChange={(event) => setX(event.currentTarget.value ? `metric:${event.currentTarget.value}` : "step")}
      >
        <option value="">x by metric …</option>
        {[...keys].sort().map((key) => (
          <option key={key} value={key}>
            {key}
          </option>
        ))}
      </select>
      <label class="slider">
        Smoothing
        <input
          type="range"
          min="0"
          max="0.99"
          step="0.01"
          value={settings.smoothing}
          aria-valuetext={String(settings.smoothing)}
          onInput={(event) => setQuery({ smooth: Number(event.currentTarget.value) || null })}
        />
        <output>{settings.smoothing.toFixed(2)}</output>
      </label>
      <Toggle name="logx" label="log x" />
      <Toggle name="logy" label="log y" />
      <Toggle name="outliers" label="hide outliers" />
      {zoom && (
        <button type="button" class="chip on" onClick={() => setZoom(null)}>
          <Icon name="reset" size={13} />
          {settings.xKind === "wall" ? "zoomed" : `${shortNumber(zoom.min)} … ${shortNumber(zoom.max)}`}
        </button>
      )}
    </div>
  );
}

function Toggle({ name, label }: { name: string; label: string }) {
  const isOn = query.value.has(name);
  return (
    <label class="toggle">
      <input type="checkbox" checked={isOn} onChange={() => setQuery({ [name]: !isOn })} />
      {label}
    </label>
  );
}
