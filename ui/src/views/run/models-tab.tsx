/** The models that a run logged. */
import { modelsOf } from "../../api/models";
import type { Run } from "../../api/types";
import { Empty, Failed, Link, Loading, Time } from "../../components/basics";
import { many } from "../../components/format";
import { useResource } from "../../state/resource";

export function ModelsTab({ run }: { run: Run }) {
  const resource = useResource((signal) => modelsOf(run, signal), [run.run_id], { isLive: "slow" });
  if (resource.error && !resource.data) return <Failed error={resource.error} retry={resource.reload} />;
  if (!resource.data) return <Loading what="Looking for models" />;
  if (resource.data.length === 0) {
    return (
      <Empty title="No models">
        <p class="faint">What MLflow's log_model logs in this run appears here, with its files.</p>
      </Empty>
    );
  }
  return (
    <div class="scroll-box" tabIndex={0} role="region" aria-label="Models">
      <table class="plain-table">
        <thead>
          <tr>
            <th scope="col">Model</th>
            <th scope="col">State</th>
            <th scope="col">Type</th>
            <th scope="col">Logged</th>
            <th scope="col">Measured</th>
          </tr>
        </thead>
        <tbody>
          {resource.data.map((model) => (
            <tr key={model.model_id}>
              <th scope="row">
                <Link to={`/models/${encodeURIComponent(model.model_id)}`}>{model.name}</Link>
              </th>
              <td>{model.status.toLowerCase()}</td>
              <td>{model.model_type ?? <span class="faint">–</span>}</td>
              <td>
                <Time us={model.created_time_us} />
              </td>
              <td>{many(model.metrics.length, "metric")}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
