/** The runs that are left, a few hundred at most, with the values of the axes. */
import type { Run } from "../../api/types";
import { Link } from "../../components/basics";
import { whole } from "../../components/format";
import { StatusBadge } from "../../components/status";
import { listText, setQuery } from "../../state/location";
import { cellText, fieldOf, labelOf } from "../../table/columns";

const ROWS_MAX = 200;

export function ShortTable({
  runs,
  columns,
  onHover,
  color,
}: {
  runs: readonly Run[];
  columns: readonly string[];
  names: Map<string, string>;
  onHover: (runId: string | null) => void;
  color: (run: Run) => string;
}) {
  return (
    <>
      <div class="row">
        <button
          type="button"
          disabled={runs.length === 0}
          onClick={() => setQuery({ sel: listText(runs.slice(0, ROWS_MAX).map((run) => run.run_id)) })}
        >
          Select these {whole(Math.min(runs.length, ROWS_MAX))}
        </button>
        {runs.length > ROWS_MAX && (
          <span class="faint">
            {ROWS_MAX} of {whole(runs.length)} are listed
          </span>
        )}
      </div>
      <div class="scroll-box" tabIndex={0} role="region" aria-label="Runs that are left">
        <table class="plain-table">
          <thead>
            <tr>
              <th scope="col">Run</th>
              <th scope="col">Status</th>
              {columns.map((id) => (
                <th key={id} scope="col" class="numeric" title={id}>
                  <span class={`kind inline-kind ${fieldOf(id).kind}`} />
                  {labelOf(id)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {runs.slice(0, ROWS_MAX).map((run) => (
              <tr
                key={run.run_id}
                onPointerEnter={() => onHover(run.run_id)}
                onPointerLeave={() => onHover(null)}
              >
                <td>
                  <span class="dot" style={{ "--run": color(run) }} />
                  <Link to={`/runs/${encodeURIComponent(run.run_id)}`}>{run.name || run.run_id}</Link>
                </td>
                <td>
                  <StatusBadge run={run} />
                </td>
                {columns.map((id) => (
                  <td key={id} class="numeric">
                    {cellText(run, id)?.slice(0, 80) ?? <span class="faint">–</span>}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}
