/** The values beside the crosshair. */
import { number, whole } from "../components/format";
import type { Line } from "./lines";
import { valueOf, type Hover } from "./pointing";

export function Tooltip({ hover, width }: { hover: Hover; width: number }) {
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
              <td class="numeric">{number(valueOf({ line, index }))}</td>
              <td class="faint numeric">{spread(line, index)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {hover.more > 0 && <div class="faint">and {hover.more} more</div>}
    </div>
  );
}

/** What the one value does not say: the extremes of its bucket, and how many were no number. */
function spread(line: Line, index: number): string {
  const { min, max, count, nanCount } = line.series;
  if (!(count[index]! > 1)) return line.smooth ? `raw ${number(line.series.last[index]!)}` : "";
  const isOne = min[index] === max[index] || Number.isNaN(min[index]!);
  const extremes = isOne ? "" : `${number(min[index]!, 3)} … ${number(max[index]!, 3)}`;
  const lost = nanCount[index]! > 0 ? `${whole(nanCount[index]!)} NaN` : "";
  return [extremes, lost].filter(Boolean).join(", ");
}
