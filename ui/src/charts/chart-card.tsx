/** A chart with its title, what it hides, and what can be taken away from it. */
import { useEffect, useRef, useState } from "preact/hooks";

import { saveBlob } from "../api/artifacts";
import type { Run } from "../api/types";
import { Failed, IconButton } from "../components/basics";
import { Dialog } from "../components/dialog";
import { whole } from "../components/format";
import { Chart } from "./chart";
import { csvOf, marksOf, type Line } from "./lines";
import { setZoom, type ChartSettings } from "./settings";
import { useSeries } from "./use-series";

const HEIGHT = 230;
const SERIES_BUCKETS = 60_000; // of one chart, all runs together: some megabytes
const BUCKETS_MIN = 200;
const BUCKETS_MAX = 2000;

export function ChartCard({
  metric,
  runs,
  settings,
}: {
  metric: string;
  runs: readonly Run[];
  settings: ChartSettings;
}) {
  const box = useRef<HTMLElement>(null);
  const [isSeen, setSeen] = useState(false);
  const [isFull, setFull] = useState(false);
  // Mounted by sight: a page of a thousand metrics draws only what is looked at.
  useEffect(() => {
    const observer = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) setSeen(true);
      },
      { rootMargin: "300px" },
    );
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  return (
    <section ref={box} class="chart-card" aria-label={metric}>
      <ChartBody
        metric={metric}
        runs={runs}
        settings={settings}
        isSeen={isSeen}
        height={HEIGHT}
        onFull={() => setFull(true)}
      />
      {isFull && (
        <Dialog title={metric} isWide onClose={() => setFull(false)}>
          <ChartBody
            metric={metric}
            runs={runs}
            settings={settings}
            isSeen
            height={Math.max(320, innerHeight - 190)}
          />
        </Dialog>
      )}
    </section>
  );
}

function ChartBody({
  metric,
  runs,
  settings,
  isSeen,
  height,
  onFull,
}: {
  metric: string;
  runs: readonly Run[];
  settings: ChartSettings;
  isSeen: boolean;
  height: number;
  onFull?: () => void;
}) {
  const budget = Math.floor(SERIES_BUCKETS / Math.max(1, runs.length));
  const buckets = Math.min(BUCKETS_MAX, Math.max(BUCKETS_MIN, budget)) * (onFull ? 1 : 2);
  const { lines, isLoading, error, retry } = useSeries(metric, runs, settings, Math.min(buckets, 4000), isSeen);
  const [hidden, setHidden] = useState(0);
  const canvas = useRef<HTMLCanvasElement | null>(null);
  const points = lines.reduce((sum, line) => sum + line.series.points, 0);
  const isReduced = lines.some((line) => line.series.isReduced);
  const shown = lines.reduce((sum, line) => sum + line.series.length, 0);
  return (
    <>
      <header>
        <h3 class="ellipsis" title={metric}>
          {metric}
        </h3>
        <div class="card-tools">
          {settings.zoom && (
            <IconButton icon="reset" label="Zoom out" size={15} onClick={() => setZoom(null)} />
          )}
          <IconButton
            icon="download"
            label={`Picture of ${metric} (PNG)`}
            size={15}
            disabled={lines.length === 0}
            onClick={() => canvas.current && void savePicture(canvas.current, metric, lines)}
          />
          <button
            type="button"
            class="icon-button text"
            disabled={lines.length === 0}
            aria-label={`Data of ${metric} (CSV)`}
            title="What is drawn, as CSV"
            onClick={() => saveBlob(new Blob([csvOf(lines)], { type: "text/csv" }), `${fileName(metric)}.csv`)}
          >
            CSV
          </button>
          {onFull && <IconButton icon="full" label={`${metric} in full`} size={15} onClick={onFull} />}
        </div>
      </header>
      {error && lines.length === 0 ? (
        <Failed error={error} retry={retry} />
      ) : !isSeen || (isLoading && lines.length === 0) ? (
        <div class="chart skeleton" style={{ height: `${height}px` }} />
      ) : (
        <Chart
          lines={lines}
          xKind={settings.xKind}
          xLabel={settings.xMetric}
          isLogX={settings.isLogX && settings.xKind !== "wall"}
          isLogY={settings.isLogY}
          hidesOutliers={settings.hidesOutliers}
          zoom={settings.zoom}
          group={`${settings.xKind}:${settings.xMetric}`}
          height={height}
          label={metric}
          onZoom={setZoom}
          onCanvas={(made) => {
            canvas.current = made;
          }}
          onHidden={setHidden}
        />
      )}
      <footer class="faint">
        {isReduced
          ? `${whole(points)} points in ${whole(shown)} buckets, extremes kept`
          : `${whole(points)} points`}
        {hidden > 0 && ` · ${whole(hidden)} outliers beyond the edges`}
        {marksText(lines)}
      </footer>
    </>
  );
}

/** What the marks in the plot mean, where there are any. */
function marksText(lines: readonly Line[]): string {
  const { nan, isUp, isDown } = marksOf(lines);
  const said = [nan > 0 && `× ${whole(nan)} NaN`, isUp && "▲ +∞", isDown && "▼ −∞"];
  return said.filter(Boolean).map((one) => ` · ${one}`).join("");
}

function fileName(text: string): string {
  return text.replaceAll(/[^\w.-]+/g, "_").slice(0, 80) || "chart";
}

/** The plot with its title and the runs' names on the page's background. */
async function savePicture(plot: HTMLCanvasElement, title: string, lines: readonly Line[]) {
  const density = devicePixelRatio;
  const shown = lines.slice(0, 24);
  const style = getComputedStyle(document.documentElement);
  const picture = document.createElement("canvas");
  const line = 16 * density;
  picture.width = plot.width;
  picture.height = plot.height + line * (2 + Math.ceil(shown.length / 3));
  const context = picture.getContext("2d")!;
  context.fillStyle = style.getPropertyValue("--surface");
  context.fillRect(0, 0, picture.width, picture.height);
  context.fillStyle = style.getPropertyValue("--ink");
  context.font = `600 ${13 * density}px system-ui, sans-serif`;
  context.fillText(title, 10 * density, 16 * density, picture.width);
  context.drawImage(plot, 0, line * 1.5);
  context.font = `${11 * density}px system-ui, sans-serif`;
  shown.forEach((one, index) => {
    const x = ((index % 3) * picture.width) / 3 + 10 * density;
    const y = plot.height + line * (2.2 + Math.floor(index / 3));
    context.fillStyle = one.color;
    context.fillRect(x, y - 8 * density, 12 * density, 8 * density);
    context.fillStyle = style.getPropertyValue("--ink");
    context.fillText(one.name, x + 18 * density, y, picture.width / 3 - 30 * density);
  });
  const blob = await new Promise<Blob | null>((resolve) => picture.toBlob(resolve, "image/png"));
  if (blob) saveBlob(blob, `${fileName(title)}.png`);
}
