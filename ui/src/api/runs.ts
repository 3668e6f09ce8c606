/** Runs and experiments: what the server knows of them, and what may be changed. */
import { ask } from "./client";
import type {
  About,
  ConnectedWriters,
  Experiment,
  GroupQuery,
  GroupsPage,
  Ready,
  Run,
  RunQuery,
  RunsPage,
  Verify,
  ViewType,
} from "./types";

const id = encodeURIComponent;

export function searchRuns(query: RunQuery, signal?: AbortSignal): Promise<RunsPage> {
  return ask("/api/v1/runs/search", { method: "POST", body: query, signal });
}

export function groupRuns(query: GroupQuery, signal?: AbortSignal): Promise<GroupsPage> {
  return ask("/api/v1/runs/groups", { method: "POST", body: query, signal });
}

/** The runs of these ids, in their order; ids nobody knows are left out. */
export async function runsById(
  ids: readonly string[],
  columns?: string[],
  signal?: AbortSignal,
): Promise<Run[]> {
  if (ids.length === 0) return [];
  const listed = ids.map((run_id) => `'${run_id.replaceAll("'", "''")}'`).join(", ");
  const found = new Map<string, Run>();
  let page_token: string | null = null;
  do {
    const page: RunsPage = await searchRuns(
      {
        filter: `run_id IN (${listed})`,
        view: "all",
        max_results: 1000,
        page_token,
        ...(columns && { columns }),
      },
      signal,
    );
    for (const run of page.runs) found.set(run.run_id, run);
    page_token = page.next_page_token;
  } while (page_token);
  return ids.flatMap((run_id) => found.get(run_id) ?? []);
}

export function getRun(
  run_id: string,
  at: { as_of_position?: number | null; min_position?: number } = {},
  signal?: AbortSignal,
): Promise<Run> {
  return ask(`/api/v1/runs/${id(run_id)}`, { query: { ...at }, signal });
}

export interface RunChange {
  name?: string;
  status?: Run["status"];
  tags?: Record<string, string | null>;
  lifecycle_stage?: Run["lifecycle_stage"];
}

export function changeRun(run_id: string, body: RunChange): Promise<Run> {
  return ask(`/api/v1/runs/${id(run_id)}`, { method: "PATCH", body });
}

export async function listExperiments(
  view: ViewType,
  at: { min_position?: number } = {},
  signal?: AbortSignal,
): Promise<Experiment[]> {
  const all: Experiment[] = [];
  let page_token: string | null = null;
  do {
    const page: { experiments: Experiment[]; next_page_token: string | null } = await ask(
      "/api/v1/experiments",
      { query: { view, page_token, max_results: 5000, ...at }, signal },
    );
    all.push(...page.experiments);
    page_token = page.next_page_token;
  } while (page_token);
  return all;
}

export function getExperiment(experiment_id: string, signal?: AbortSignal): Promise<Experiment> {
  return ask(`/api/v1/experiments/${id(experiment_id)}`, { signal });
}

export function createExperiment(name: string): Promise<Experiment> {
  return ask("/api/v1/experiments", { method: "POST", body: { name } });
}

export interface ExperimentChange {
  name?: string;
  tags?: Record<string, string | null>;
  lifecycle_stage?: Experiment["lifecycle_stage"];
}

export function changeExperiment(experiment_id: string, body: ExperimentChange): Promise<Experiment> {
  return ask(`/api/v1/experiments/${id(experiment_id)}`, { method: "PATCH", body });
}

export type KeyKind = "params" | "metrics" | "tags";

export function listKeys(
  kind: KeyKind,
  given: { experiment_ids?: string; prefix?: string; max_results?: number },
  signal?: AbortSignal,
): Promise<{ keys: string[]; is_reduced: boolean }> {
  return ask("/api/v1/keys", { query: { kind, ...given }, signal });
}

export function ready(signal?: AbortSignal): Promise<Ready> {
  return ask("/ready", { signal });
}

export function version(signal?: AbortSignal): Promise<About> {
  return ask("/version", { signal });
}

export function verify(begin: boolean, signal?: AbortSignal): Promise<Verify> {
  return ask("/api/v1/verify", { method: begin ? "POST" : "GET", signal });
}

export function connectedWriters(signal?: AbortSignal): Promise<ConnectedWriters> {
  return ask("/api/v1/writers", { signal });
}
