/** One run: what it was given, what it measured, what it left, and how that came about. */
import { useEffect, useMemo, useState } from "preact/hooks";

import { ofRun } from "../../api/artifacts";
import { ApiError } from "../../api/client";
import { changeRun, getExperiment, getRun } from "../../api/runs";
import type { Run } from "../../api/types";
import { ChartGrid } from "../../charts/chart-grid";
import { Failed, IconButton, Link, Loading, Time } from "../../components/basics";
import { duration } from "../../components/format";
import { Icon } from "../../components/icons";
import { StatusBadge } from "../../components/status";
import { copy } from "../../state/clipboard";
import { drawTogether } from "../../state/colors";
import { query, withQuery } from "../../state/location";
import { useResource } from "../../state/resource";
import { attempt } from "../../state/toasts";
import { runDuration } from "../../table/columns";
import { ArtifactsTab } from "./artifacts-tab";
import { EventsTab } from "./events-tab";
import { InputsTab } from "./inputs-tab";
import { ModelsTab } from "./models-tab";
import { NestedTab } from "./nested-tab";
import { OverviewTab } from "./overview-tab";
import { WritersTab } from "./writers-tab";

const TABS = [
  ["overview", "Overview"],
  ["charts", "Charts"],
  ["artifacts", "Artifacts"],
  ["models", "Models"],
  ["nested", "Nested runs"],
  ["inputs", "Inputs"],
  ["events", "History"],
  ["writers", "Writers"],
] as const;
type TabName = (typeof TABS)[number][0];

export function RunView({ runId }: { runId: string }) {
  const resource = useResource((signal) => getRun(runId, {}, signal), [runId], { isLive: true });
  const run = resource.data;
  const given = query.value.get("tab");
  const tab: TabName = TABS.find(([name]) => name === given)?.[0] ?? "overview";
  useEffect(() => {
    drawTogether([runId]);
    document.title = run ? `${run.name || run.run_id} · tracker` : "Run · tracker";
  }, [runId, run?.name]);
  const drawn = useMemo(() => (run ? [run] : []), [run?.last_position, run?.name, runId]);
  if (!run) {
    if (!resource.error) return <Loading what="Looking for the run" />;
    const isUnknown = resource.error instanceof ApiError && resource.error.status === 404;
    return (
      <>
        <h1 class="sr-only">Run</h1>
        <Failed error={resource.error} {...(isUnknown ? {} : { retry: resource.reload })} />
        <p class="center">
          <Link to="/">All runs</Link> · <Link to="/?deleted=1">The trash</Link>
        </p>
      </>
    );
  }
  return (
    <article class="run-page">
      <Header run={run} onChange={resource.set} />
      <div class="tabs" role="tablist" aria-label="Parts of the run">
        {TABS.map(([name, label]) => (
          <Link
            key={name}
            to={withQuery({ tab: name === "overview" ? null : name })}
            role="tab"
            id={`tab-${name}`}
            aria-selected={name === tab}
            class={name === tab ? "on" : ""}
          >
            {label}
          </Link>
        ))}
      </div>
      <div class="tab-panel" role="tabpanel" aria-labelledby={`tab-${tab}`}>
        {tab === "overview" && <OverviewTab run={run} onChange={resource.set} />}
        {tab === "charts" && <ChartGrid runs={drawn} />}
        {tab === "artifacts" && <ArtifactsTab tree={ofRun(run.run_id)} />}
        {tab === "models" && <ModelsTab run={run} />}
        {tab === "nested" && <NestedTab run={run} />}
        {tab === "inputs" && <InputsTab run={run} />}
        {tab === "events" && <EventsTab run={run} />}
        {tab === "writers" && <WritersTab run={run} />}
      </div>
    </article>
  );
}

function Header({ run, onChange }: { run: Run; onChange: (run: Run) => void }) {
  const [isNaming, setNaming] = useState(false);
  const [name, setName] = useState(run.name);
  const isDeleted = run.lifecycle_stage === "deleted";
  // Without its name the crumb still leads there.
  const experiment = useResource((signal) => getExperiment(run.experiment_id, signal), [run.experiment_id]);
  const change = async (body: Parameters<typeof changeRun>[1], done?: string) => {
    const changed = await attempt(changeRun(run.run_id, body), done);
    if (changed) onChange(changed);
  };
  return (
    <header class="run-head">
      <nav class="crumbs" aria-label="Where this is">
        <Link
          to={`/?exp=${encodeURIComponent(run.experiment_id)}`}
          class="ellipsis"
          title={experiment.data?.name}
        >
          {experiment.data?.name ?? "Experiment"}
        </Link>
        {run.parent_run_id && (
          <>
            <span>/</span>
            <Link to={`/runs/${encodeURIComponent(run.parent_run_id)}`}>parent run</Link>
          </>
        )}
      </nav>
      <div class="run-title">
        {isNaming ? (
          <form
            class="row"
            onSubmit={(event) => {
              event.preventDefault();
              setNaming(false);
              if (name !== run.name) void change({ name });
            }}
          >
            <input
              aria-label="Name of the run"
              value={name}
              maxLength={500}
              ref={(element) => element?.focus()}
              onInput={(event) => setName(event.currentTarget.value)}
              onKeyDown={(event) => event.key === "Escape" && setNaming(false)}
            />
            <button type="submit" class="primary">
              Rename
            </button>
          </form>
        ) : (
          <>
            <h1 title={run.name}>{run.name || run.run_id}</h1>
            <IconButton
              icon="edit"
              label="Rename"
              disabled={isDeleted}
              onClick={() => {
                setName(run.name);
                setNaming(true);
              }}
            />
          </>
        )}
        <StatusBadge run={run} />
      </div>
      <div class="run-facts">
        <span>
          <span class="faint">started</span> <Time us={run.start_time_us} />
        </span>
        <span>
          <span class="faint">{run.liveness === "ended" ? "took" : "for"}</span> {duration(runDuration(run))}
        </span>
        {run.user_id && (
          <span>
            <span class="faint">by</span> {run.user_id}
          </span>
        )}
        <button type="button" class="link mono" title="Copy the id" onClick={() => void copy(run.run_id, "The run's id is on the clipboard.")}>
          {run.run_id}
        </button>
        <span class="spacer" />
        {isDeleted ? (
          <button type="button" onClick={() => void change({ lifecycle_stage: "active" }, "The run is restored.")}>
            <Icon name="reset" /> Restore
          </button>
        ) : (
          <button
            type="button"
            class="danger"
            onClick={() => void change({ lifecycle_stage: "deleted" }, "The run is in the trash.")}
          >
            <Icon name="trash" /> Delete
          </button>
        )}
      </div>
      {isDeleted && (
        <div class="note" role="status">
          <Icon name="trash" /> This run is in the trash. Nothing of it is lost; restore it to change it.
        </div>
      )}
      {run.liveness === "lost" && (
        <div class="note" role="status">
          No process reports for this run any more. If its machine was cut off, what it spooled arrives
          with <code>tracker sync</code> and revives it.
        </div>
      )}
      {run.dropped > 0 && (
        <div class="note warning" role="status">
          {run.dropped} records were lost on the run's machine; its history says why.
        </div>
      )}
      {run.end_detail && run.status !== "FINISHED" && <pre class="end-detail">{run.end_detail}</pre>}
    </header>
  );
}
