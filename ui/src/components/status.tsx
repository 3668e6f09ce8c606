/** A run's state: a mark, a word, and the reason it ended on hover. */
import type { Run } from "../api/types";

export type Shown = "running" | "scheduled" | "lost" | "finished" | "failed" | "killed";

export function shownStatus(run: Pick<Run, "status" | "liveness">): Shown {
  if (run.status === "RUNNING") return run.liveness === "lost" ? "lost" : "running";
  return run.status.toLowerCase() as Shown;
}

const MARKS: Record<Shown, string> = {
  running: "●",
  scheduled: "○",
  lost: "?",
  finished: "✓",
  failed: "✕",
  killed: "■",
};

const MEANINGS: Record<Shown, string> = {
  running: "Running: its process reports",
  scheduled: "Scheduled: it has not begun",
  lost: "Lost: no process reports any more; what arrives later revives it",
  finished: "Finished",
  failed: "Failed",
  killed: "Killed",
};

export function StatusBadge({
  run,
  isShort = false,
}: {
  run: Pick<Run, "status" | "liveness" | "end_reason" | "end_detail">;
  isShort?: boolean;
}) {
  const shown = shownStatus(run);
  const reason = run.end_reason
    ? `: ${run.end_reason}${run.end_detail ? ` (${run.end_detail.slice(0, 400)})` : ""}`
    : "";
  return (
    <span class={`status ${shown}`} title={MEANINGS[shown] + reason}>
      <span class="mark" aria-hidden="true">
        {MARKS[shown]}
      </span>
      <span class={isShort ? "sr-only" : ""}>{shown}</span>
      {!isShort && run.end_reason && <span class="reason">{run.end_reason}</span>}
    </span>
  );
}
