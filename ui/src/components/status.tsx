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

export type Ended = Pick<Run, "status" | "liveness" | "end_reason" | "end_detail">;
const DETAIL_SHOWN = 400;

/** What the state means, and why the run ended. */
export function statusMeaning(run: Ended): string {
  const detail = run.end_detail ? ` (${run.end_detail.slice(0, DETAIL_SHOWN)})` : "";
  const reason = run.end_reason ? `: ${run.end_reason}${detail}` : "";
  return MEANINGS[shownStatus(run)] + reason;
}

export function StatusBadge({
  run,
  isShort = false,
  isTitled = true,
}: {
  run: Ended;
  isShort?: boolean;
  /** Cells of the table say what it means by themselves. */
  isTitled?: boolean;
}) {
  const shown = shownStatus(run);
  return (
    <span class={`status ${shown}`} title={isTitled ? statusMeaning(run) : undefined}>
      <span class="mark" aria-hidden="true">
        {MARKS[shown]}
      </span>
      <span class={isShort ? "sr-only" : ""}>{shown}</span>
      {!isShort && run.end_reason && <span class="reason">{run.end_reason}</span>}
    </span>
  );
}
