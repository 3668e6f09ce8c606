/** The JSON of the HTTP API, as docs/http.md and /api/v1/openapi.json describe it. */

export type JsonFloat = number | "NaN" | "Infinity" | "-Infinity";

export function toNumber(value: JsonFloat | null | undefined): number {
  return value == null ? NaN : typeof value === "number" ? value : Number(value);
}

export interface Point {
  value: JsonFloat;
  step: number;
  time_us: number;
}

export interface Metric {
  last: Point;
  first: Point;
  min: JsonFloat | null;
  min_step: number | null;
  max: JsonFloat | null;
  max_step: number | null;
  count: number;
  nan_count: number;
}

export interface Writer {
  writer_id: string;
  epoch: number;
  next_seq: number;
  last_position: number;
  lease_expires_us: number | null;
  about: Record<string, unknown>;
}

/** A writer that holds a lease, or of a run that goes on though nobody reports for it. */
export interface ConnectedWriter {
  writer_id: string;
  run_id: string;
  run_name: string | null;
  run_start_time_us: number | null;
  state: "live" | "lost";
  epoch: number | null;
  next_seq: number;
  position: number | null;
  received_at_us: number | null;
  lease_expires_us: number | null;
  about: Record<string, unknown>;
}

export interface ConnectedWriters {
  writers: ConnectedWriter[];
  live_count: number;
  is_whole: boolean;
}

export interface Input {
  name: string;
  digest: string;
  source_type?: string | null;
  source?: string | null;
  schema?: string | null;
  profile?: string | null;
  tags?: Record<string, string>;
}

export type Status = "RUNNING" | "SCHEDULED" | "FINISHED" | "FAILED" | "KILLED";
export type Liveness = "live" | "lost" | "ended";
export type Stage = "active" | "deleted";

export interface Run {
  run_id: string;
  name: string;
  experiment_id: string;
  user_id: string;
  status: Status;
  liveness: Liveness;
  lifecycle_stage: Stage;
  start_time_us: number;
  end_time_us: number | null;
  end_reason: string | null;
  end_detail: string | null;
  parent_run_id: string | null;
  dropped: number;
  last_position: number;
  params: Record<string, string>;
  tags: Record<string, string>;
  metrics: Record<string, Metric>;
  conflicts: { key: string; value: string; writer_id: string }[];
  writers: Writer[];
  inputs?: Input[];
  position: number;
}

export interface RunsPage {
  runs: Run[];
  next_page_token: string | null;
  position: number;
}

export type ViewType = "active_only" | "deleted_only" | "all";

export interface RunQuery {
  experiment_ids?: string[];
  filter?: string;
  order_by?: string[];
  view?: ViewType;
  max_results?: number;
  page_token?: string | null;
  min_position?: number;
  columns?: string[];
}

export interface GroupQuery {
  experiment_ids?: string[];
  filter?: string;
  view?: ViewType;
  group_by?: string[];
  metrics?: string[];
  max_results?: number;
}

export interface GroupMetric {
  count: number;
  mean: JsonFloat | null;
  min: JsonFloat | null;
  max: JsonFloat | null;
}

export interface Group {
  values: (string | null)[];
  count: number;
  metrics: Record<string, GroupMetric>;
}

export interface GroupsPage {
  groups: Group[];
  runs: number;
  is_reduced: boolean;
  position: number;
}

export interface Experiment {
  experiment_id: string;
  name: string;
  lifecycle_stage: Stage;
  artifact_location: string | null;
  created_time_us: number;
  updated_time_us: number;
  tags: Record<string, string>;
  run_count: number;
  last_run_time_us: number | null;
  position: number;
}

export interface Buckets {
  run_id: string;
  key: string;
  is_reduced: boolean;
  points: number;
  first_step: number[];
  last_step: number[];
  first_time_us: number[];
  last_time_us: number[];
  count: number[];
  nan_count: number[];
  min: JsonFloat[];
  max: JsonFloat[];
  first: JsonFloat[];
  last: JsonFloat[];
  position: number;
}

export interface SeriesQuery {
  run_ids: string[];
  keys: string[];
  start_step?: number | null;
  end_step?: number | null;
  buckets?: number;
  min_position?: number;
}

export interface LoggedEvent {
  position: number;
  run_id: string;
  writer_id: string;
  epoch: number;
  seq: number;
  received_at_us: number;
  type: string;
  version: number;
  time_us: number;
  data: Record<string, unknown>;
}

export interface ArtifactEntry {
  path: string;
  is_folder: boolean;
  size: number | null;
  files?: number | null;
  media_type: string | null;
  digest: string | null;
  uri: string | null;
  etag: string | null;
  time_us: number | null;
}

export interface ArtifactsPage {
  artifacts: ArtifactEntry[];
  next_page_token: string | null;
  position: number;
}

export interface Ready {
  status: "ready" | "starting" | "unavailable";
  head: number;
  projections: { name: string; version: number; position: number; lag: number }[];
}

export interface About {
  version: string;
  event_store: "sqlite" | "postgresql" | "memory" | null;
  artifact_store: "folder" | "s3";
}

export interface Verify {
  state: "none" | "running" | "done" | "failed";
  progress?: Record<string, unknown> | null;
  report?: Record<string, unknown> | null;
  error?: string | null;
}

export interface Model {
  model_id: string;
  experiment_id: string;
  name: string;
  source_run_id: string | null;
  model_type: string | null;
  status: "PENDING" | "READY" | "FAILED";
  status_message: string | null;
  lifecycle_stage: Stage;
  created_time_us: number;
  updated_time_us: number;
  params: Record<string, string>;
  tags: Record<string, string>;
  metrics: ModelPoint[];
}

export interface ModelPoint {
  key: string;
  value: JsonFloat;
  step: number;
  time_us: number;
  run_id: string;
  dataset_name: string | null;
  dataset_digest: string | null;
}

export interface ModelsPage {
  models: Model[];
  next_page_token: string | null;
}
