/** A logged model: where it came from, what it was given and measured, and its files. */
import { useEffect } from "preact/hooks";

import { ofModel } from "../api/artifacts";
import { ApiError } from "../api/client";
import { getModel } from "../api/models";
import { getExperiment } from "../api/runs";
import { toNumber, type Model } from "../api/types";
import { Failed, Link, Loading, Time } from "../components/basics";
import { number } from "../components/format";
import { Pairs } from "../components/pairs";
import { useResource } from "../state/resource";
import { ArtifactsTab } from "./run/artifacts-tab";

export function ModelView({ modelId }: { modelId: string }) {
  const resource = useResource((signal) => getModel(modelId, signal), [modelId], { isLive: "slow" });
  const model = resource.data;
  useEffect(() => {
    document.title = model ? `${model.name} · tracker` : "Model · tracker";
  }, [model?.name]);
  if (!model) {
    if (!resource.error) return <Loading what="Looking for the model" />;
    const isUnknown = resource.error instanceof ApiError && resource.error.status === 404;
    return (
      <>
        <h1 class="sr-only">Model</h1>
        <Failed error={resource.error} {...(isUnknown ? {} : { retry: resource.reload })} />
      </>
    );
  }
  return (
    <article class="run-page">
      <Header model={model} />
      <div class="overview">
        <MetricsCard model={model} />
        <section class="card">
          <h2>
            Params <span class="badge">{Object.keys(model.params).length}</span>
          </h2>
          <Pairs entries={Object.entries(model.params).sort()} none="It was given no params." />
        </section>
        <section class="card">
          <h2>
            Tags <span class="badge">{Object.keys(model.tags).length}</span>
          </h2>
          <Pairs entries={Object.entries(model.tags).sort()} none="It has no tags." />
        </section>
      </div>
      <h2 class="section-title">Files</h2>
      <ArtifactsTab tree={ofModel(model.model_id)} />
    </article>
  );
}

function Header({ model }: { model: Model }) {
  const experiment = useResource((signal) => getExperiment(model.experiment_id, signal), [model.experiment_id]);
  return (
    <header class="run-head">
      <nav class="crumbs" aria-label="Where this is">
        <Link to={`/?exp=${encodeURIComponent(model.experiment_id)}`}>{experiment.data?.name ?? "Experiment"}</Link>
        {model.source_run_id && (
          <>
            {" / "}
            <Link to={`/runs/${encodeURIComponent(model.source_run_id)}?tab=models`}>the run that logged it</Link>
          </>
        )}
      </nav>
      <div class="run-title">
        <h1>{model.name}</h1>
        <span class="badge" title={model.status_message ?? undefined}>
          {model.status.toLowerCase()}
        </span>
      </div>
      <div class="run-facts">
        <span>
          <span class="faint">logged</span> <Time us={model.created_time_us} />
        </span>
        {model.model_type && (
          <span>
            <span class="faint">type</span> {model.model_type}
          </span>
        )}
        <span class="mono">{model.model_id}</span>
      </div>
      {model.lifecycle_stage === "deleted" && (
        <div class="note" role="status">
          This model was deleted; what was logged of it is still here.
        </div>
      )}
    </header>
  );
}

function MetricsCard({ model }: { model: Model }) {
  return (
    <section class="card span">
      <h2>
        Metrics <span class="badge">{model.metrics.length}</span>
      </h2>
      {model.metrics.length === 0 ? (
        <p class="faint">None were logged for it.</p>
      ) : (
        <div class="scroll-box" tabIndex={0} role="region" aria-label="Metrics of the model">
          <table class="plain-table">
            <thead>
              <tr>
                <th scope="col">Metric</th>
                <th scope="col" class="numeric">
                  value
                </th>
                <th scope="col" class="numeric">
                  at step
                </th>
                <th scope="col">dataset</th>
              </tr>
            </thead>
            <tbody>
              {model.metrics.map((metric) => (
                <tr key={`${metric.key}\n${metric.dataset_name ?? ""}`}>
                  <th scope="row">{metric.key}</th>
                  <td class="numeric strong">{number(toNumber(metric.value))}</td>
                  <td class="numeric">{metric.step}</td>
                  <td>{metric.dataset_name ?? <span class="faint">–</span>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
