/** What was deleted and can be restored: experiments here, runs in their table. */
import { useEffect } from "preact/hooks";

import { changeExperiment, listExperiments, searchRuns } from "../api/runs";
import { Empty, Failed, Link, Loading, Time } from "../components/basics";
import { Icon } from "../components/icons";
import { useResource } from "../state/resource";
import { attempt } from "../state/toasts";

export function TrashView() {
  const resource = useResource(
    async (signal) => {
      const [experiments, runs] = await Promise.all([
        listExperiments("deleted_only", {}, signal),
        searchRuns({ view: "deleted_only", max_results: 1, columns: [] }, signal),
      ]);
      return { experiments, hasRuns: runs.runs.length > 0 };
    },
    ["trash"],
    { isLive: true },
  );
  useEffect(() => {
    document.title = "Trash · tracker";
  }, []);
  if (resource.error && !resource.data) return <Failed error={resource.error} retry={resource.reload} />;
  if (!resource.data) return <Loading />;
  const { experiments, hasRuns } = resource.data;
  const restore = async (id: string, name: string) => {
    if (await attempt(changeExperiment(id, { lifecycle_stage: "active" }), `${name} is restored.`)) resource.reload();
  };
  return (
    <div class="page">
      <div class="page-head">
        <h1>Trash</h1>
        {hasRuns && (
          <Link class="button" to="/?deleted=1">
            Deleted runs
          </Link>
        )}
      </div>
      {experiments.length === 0 ? (
        <Empty title={hasRuns ? "No deleted experiments" : "The trash is empty"}>
          <p class="faint">What is deleted waits here until it is restored.</p>
        </Empty>
      ) : (
        <ul class="experiment-list">
          {experiments.map((one) => (
            <li key={one.experiment_id} class="card experiment">
              <div class="row">
                <span class="experiment-name">{one.name}</span>
                <span class="faint">
                  deleted <Time us={one.updated_time_us} />
                </span>
                <span class="spacer" />
                <button type="button" onClick={() => void restore(one.experiment_id, one.name)}>
                  <Icon name="reset" /> Restore with its runs
                </button>
              </div>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
