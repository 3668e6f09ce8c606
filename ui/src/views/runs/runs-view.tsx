/** The page of runs: one search seen as a table, as charts, or compared. */
import { useEffect, useMemo, useRef } from "preact/hooks";

import { listExperiments } from "../../api/runs";
import { Link, Segmented } from "../../components/basics";
import { Icon } from "../../components/icons";
import { isTyping } from "../../components/shortcuts";
import { drawTogether } from "../../state/colors";
import { go, listText, setQuery, withQuery } from "../../state/location";
import { useResource } from "../../state/resource";
import { RunsCharts } from "../charts/runs-charts";
import { CompareView } from "../compare/compare-view";
import { ParallelView } from "../compare/parallel-view";
import { ScatterView } from "../compare/scatter-view";
import { ExperimentPicker } from "./experiment-picker";
import { FilterBox } from "./filter-box";
import { RunsTable } from "./runs-table";
import { SavedViews } from "./saved-views";
import { runsState, type ViewName } from "./state";

const NAMES: readonly (readonly [ViewName, string])[] = [
  ["table", "Table"],
  ["charts", "Charts"],
  ["compare", "Compare"],
  ["parallel", "Parallel"],
  ["scatter", "Scatter"],
];

export function RunsView() {
  const state = runsState();
  const wasFresh = useRef(true);
  const experiments = useResource(
    (signal) => listExperiments("active_only", {}, signal),
    ["experiments"],
    { isLive: wasFresh.current ? true : "slow" },
  );
  const names = useMemo(
    () => new Map((experiments.data ?? []).map((one) => [one.experiment_id, one.name])),
    [experiments.data],
  );
  useEffect(() => drawTogether(state.selected), [listText(state.selected)]);
  useEffect(() => {
    const only = state.experiments.length === 1 ? names.get(state.experiments[0]!) : undefined;
    document.title = only ? `${only} · tracker` : "Runs · tracker";
  }, [names, listText(state.experiments)]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (isTyping(event)) return;
      if (event.key === "t") setQuery({ view: null }, { replace: false });
      if (event.key === "c") setQuery({ view: "charts" }, { replace: false });
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);

  const isFresh = experiments.data?.length === 0 || (experiments.data?.every((one) => one.run_count === 0) ?? false);
  if (experiments.data) wasFresh.current = isFresh;
  return (
    <div class="runs-page">
      <h1 class="sr-only">Runs</h1>
      <div class="toolbar">
        <ExperimentPicker experiments={experiments.data} chosen={state.experiments} />
        <FilterBox
          value={state.filter}
          experiments={state.experiments}
          isDeleted={state.isDeleted}
          onChange={(filter) => setQuery({ q: filter }, { replace: false })}
        />
        <SavedViews />
        <Segmented
          label="View"
          value={state.view}
          options={NAMES}
          onChange={(view) => setQuery({ view: view === "table" ? null : view }, { replace: false })}
        />
      </div>
      {state.isDeleted && (
        <div class="note">
          <Icon name="trash" /> These runs are in the trash.
          <Link to={withQuery({ deleted: null })}>Show the others</Link>
        </div>
      )}
      {isFresh && !state.isDeleted && !state.filter ? (
        <FirstSteps />
      ) : state.view === "charts" ? (
        <RunsCharts state={state} />
      ) : state.view === "compare" ? (
        <CompareView state={state} />
      ) : state.view === "parallel" ? (
        <ParallelView state={state} names={names} />
      ) : state.view === "scatter" ? (
        <ScatterView state={state} />
      ) : (
        <RunsTable state={state} names={names} />
      )}
    </div>
  );
}

function FirstSteps() {
  return (
    <div class="state-view" role="status">
      <h2>No runs yet</h2>
      <p>Log one, and it appears here while it is going:</p>
      <pre class="code">
        {`import tracker

tracker.set_tracking_uri("${location.origin}")
with tracker.start_run(run_name="first"):
    tracker.log_param("lr", 0.1)
    for step in range(100):
        tracker.log_metric("loss", 1 / (step + 1), step=step)`}
      </pre>
      <p class="faint">
        Programs written for MLflow need only its address: MLFLOW_TRACKING_URI={location.origin}.{" "}
        <button type="button" class="link" onClick={() => go(withQuery({ deleted: true }))}>
          Look into the trash
        </button>
      </p>
    </div>
  );
}
