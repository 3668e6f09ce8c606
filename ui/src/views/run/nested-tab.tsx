import { searchRuns } from "../../api/runs";
import type { Run } from "../../api/types";
import { Empty, Failed, Link, Loading, Time } from "../../components/basics";
import { duration } from "../../components/format";
import { StatusBadge } from "../../components/status";
import { colorOf } from "../../state/colors";
import { listText } from "../../state/location";
import { useResource } from "../../state/resource";
import { cellText, labelOf, runDuration } from "../../table/columns";

const CHILDREN_MAX = 500;

export function NestedTab({ run }: { run: Run }) {
  const resource = useResource(
    (signal) =>
      searchRuns(
        { filter: `parent_run_id = '${run.run_id}'`, order_by: ["start_time ASC"], max_results: CHILDREN_MAX },
        signal,
      ),
    [run.run_id],
    { isLive: true },
  );
  if (resource.error && !resource.data) return <Failed error={resource.error} retry={resource.reload} />;
  if (!resource.data) return <Loading />;
  const { runs } = resource.data;
  if (runs.length === 0) {
    return (
      <Empty title="No nested runs">
        <p class="faint">Runs started inside this one with nested=True appear here.</p>
      </Empty>
    );
  }
  const metrics = [...new Set(runs.flatMap((one) => Object.keys(one.metrics)))].sort().slice(0, 8);
  const params = [...new Set(runs.flatMap((one) => Object.keys(one.params)))].sort().slice(0, 8);
  const columns = [...metrics.map((key) => `metrics.${key}`), ...params.map((key) => `params.${key}`)];
  const exp = encodeURIComponent(run.experiment_id);
  const filter = encodeURIComponent(`parent_run_id = '${run.run_id}'`);
  return (
    <>
      <div class="row">
        <Link class="button" to={`/?exp=${exp}&q=${filter}`}>
          Open in the table
        </Link>
        <Link class="button" to={`/?exp=${exp}&q=${filter}&view=charts&sel=${listText(runs.slice(0, 100).map((one) => one.run_id))}`}>
          Charts of all
        </Link>
        <Link class="button" to={`/?exp=${exp}&q=${filter}&view=parallel`}>
          Parallel coordinates
        </Link>
      </div>
      <div class="scroll-box" tabIndex={0} role="region" aria-label="Nested runs">
        <table class="plain-table">
          <thead>
            <tr>
              <th scope="col">Run</th>
              <th scope="col">Status</th>
              <th scope="col">Started</th>
              <th scope="col">Duration</th>
              {columns.map((id) => (
                <th key={id} scope="col" class="numeric">
                  {labelOf(id)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {runs.map((one) => (
              <tr key={one.run_id}>
                <td>
                  <span class="dot" style={{ "--run": colorOf(one.run_id) }} />
                  <Link to={`/runs/${encodeURIComponent(one.run_id)}`}>{one.name || one.run_id}</Link>
                </td>
                <td>
                  <StatusBadge run={one} />
                </td>
                <td>
                  <Time us={one.start_time_us} />
                </td>
                <td>{duration(runDuration(one))}</td>
                {columns.map((id) => (
                  <td key={id} class="numeric">
                    {cellText(one, id)?.slice(0, 60) ?? <span class="faint">–</span>}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {resource.data.next_page_token && <p class="faint">The first {CHILDREN_MAX} are listed.</p>}
    </>
  );
}
