/** Logged models, as MLflow's part of the API tells of them, in this API's words. */
import { ask } from "./client";
import type { Model } from "./types";

interface Pair {
  key: string;
  value: string;
}

interface MlflowModel {
  info: {
    model_id: string;
    experiment_id: string;
    name: string;
    creation_timestamp_ms: number;
    last_updated_timestamp_ms: number;
    status: string;
    model_type?: string;
    source_run_id?: string;
    tags?: Pair[];
  };
  data?: {
    params?: Pair[];
    metrics?: {
      key: string;
      value: number;
      step?: number;
      dataset_name?: string;
      run_id?: string;
    }[];
  };
}

const ROOT = "/api/2.0/mlflow/logged-models";
const PAGE = 100;

export async function getModel(modelId: string, signal?: AbortSignal): Promise<Model> {
  const answer: { model: MlflowModel } = await ask(`${ROOT}/${encodeURIComponent(modelId)}`, { signal });
  return modelOf(answer.model);
}

/** The models that a run logged. */
export async function modelsOf(
  run: { run_id: string; experiment_id: string },
  signal?: AbortSignal,
): Promise<Model[]> {
  const all: Model[] = [];
  let page_token: string | undefined;
  do {
    const page: { models?: MlflowModel[]; next_page_token?: string } = await ask(`${ROOT}/search`, {
      method: "POST",
      body: {
        experiment_ids: [run.experiment_id],
        filter: `source_run_id = '${run.run_id.replaceAll("'", "''")}'`,
        max_results: PAGE,
        ...(page_token && { page_token }),
      },
      signal,
    });
    all.push(...(page.models ?? []).map(modelOf));
    page_token = page.next_page_token || undefined;
  } while (page_token);
  return all;
}

function modelOf({ info, data }: MlflowModel): Model {
  return {
    model_id: info.model_id,
    experiment_id: info.experiment_id,
    name: info.name,
    status: info.status.replace("LOGGED_MODEL_", "").replace("UPLOAD_", "").toLowerCase(),
    model_type: info.model_type || null,
    source_run_id: info.source_run_id || null,
    created_time_us: Number(info.creation_timestamp_ms) * 1000,
    updated_time_us: Number(info.last_updated_timestamp_ms) * 1000,
    params: record(data?.params),
    tags: record(info.tags),
    metrics: (data?.metrics ?? []).map((metric) => ({
      key: metric.key,
      value: metric.value,
      step: Number(metric.step ?? 0),
      dataset_name: metric.dataset_name || null,
      run_id: metric.run_id || null,
    })),
  };
}

function record(pairs: readonly Pair[] = []): Record<string, string> {
  return Object.fromEntries(pairs.map(({ key, value }) => [key, value]));
}
