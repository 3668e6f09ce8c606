/** Logged models: one by its id, or those that a run made. */
import { ask } from "./client";
import type { Model, ModelsPage } from "./types";

const PAGE = 1000;

export function getModel(modelId: string, signal?: AbortSignal): Promise<Model> {
  return ask(`/api/v1/models/${encodeURIComponent(modelId)}`, { signal });
}

export async function modelsOf(
  run: { run_id: string; experiment_id: string },
  signal?: AbortSignal,
): Promise<Model[]> {
  const all: Model[] = [];
  let page_token: string | null = null;
  do {
    const page: ModelsPage = await ask("/api/v1/models/search", {
      method: "POST",
      body: {
        experiment_ids: [run.experiment_id],
        source_run_id: run.run_id,
        max_results: PAGE,
        page_token,
      },
      signal,
    });
    all.push(...page.models);
    page_token = page.next_page_token;
  } while (page_token);
  return all;
}
