/** The course of a metric in a line of text: its extremes as a band, its last values as a line. */
import type { Series } from "../api/series";

const WIDTH = 120;
const HEIGHT = 22;

export function Sparkline({ series, color }: { series: Series; color: string }) {
  const finite = [...series.min, ...series.max].filter(Number.isFinite);
  if (finite.length === 0) return null;
  const low = Math.min(...finite);
  const high = Math.max(...finite);
  const first = series.firstStep[0]!;
  const span = series.lastStep[series.length - 1]! - first || 1;
  const x = (i: number) => 1 + ((series.lastStep[i]! - first) / span) * (WIDTH - 2);
  const y = (value: number) => HEIGHT - 2 - ((value - low) / (high - low || 1)) * (HEIGHT - 4);
  let path = "";
  let isDown = false;
  for (let i = 0; i < series.length; i += 1) {
    const [a, b] = [series.max[i]!, series.min[i]!];
    if (!Number.isFinite(a) || !Number.isFinite(b)) {
      isDown = false;
      continue;
    }
    const at = x(i).toFixed(1);
    path += `${isDown ? "L" : "M"}${at} ${y(b).toFixed(1)}`;
    if (a !== b) path += `L${at} ${y(a).toFixed(1)}`;
    const last = series.last[i]!;
    if (a !== b && Number.isFinite(last)) path += `L${at} ${y(last).toFixed(1)}`;
    isDown = true;
  }
  return (
    <svg width={WIDTH} height={HEIGHT} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true">
      <path d={path} fill="none" stroke={color} stroke-width="1.3" stroke-linejoin="round" />
    </svg>
  );
}
