/** The values beside the crosshair. */
import { number } from "../components/format";
import type { Line } from "./lines";
import type { Hover } from "./pointing";

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
