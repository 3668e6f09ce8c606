/** What may come next in a filter: pure, so that it can be tested without a page. */

export interface Slot {
  /** Where the word under the cursor begins and ends. */
  from: number;
  to: number;
  kind: "field" | "params" | "metrics" | "tags" | "value" | "none";
  prefix: string;
  /** The field on the left, when a value is asked for. */
  field: string;
}

export const FIELDS = [
  "metrics.", "params.", "tags.", "status", "run_name", "start_time", "end_time", "duration",
  "liveness", "user_id", "run_id", "parent_run_id", "experiment_name", "end_reason", "children",
  "is_child", "dropped",
] as const;

export const VALUES: Record<string, readonly string[]> = {
  status: ["'RUNNING'", "'FINISHED'", "'FAILED'", "'KILLED'", "'SCHEDULED'"],
  liveness: ["'live'", "'lost'", "'ended'"],
  start_time: ["now-1h", "now-1d", "now-7d"],
  end_time: ["now-1h", "now-1d", "now-7d"],
  duration: ["10m", "1h", "1d"],
};

/** What stands at `cursor`. Inside a text in quotes nothing is offered. */
export function slotAt(text: string, cursor: number): Slot {
  const before = text.slice(0, cursor);
  const none: Slot = { from: cursor, to: cursor, kind: "none", prefix: "", field: "" };
  if (((before.match(/'/g)?.length ?? 0) & 1) === 1) return none;
  const compared = /([\w.`/ -]+?)\s*(?:=|!=|<=?|>=?)\s*([^\s()']*)$/.exec(before);
  if (compared) {
    const field = compared[1]!.trim().split(/\s+|\(/).pop()!;
    return { from: cursor - compared[2]!.length, to: cursor, kind: "value", prefix: compared[2]!, field };
  }
  const word = /(?:^|[\s(,])((?:(?:metrics|params|tags)\.`[^`]*)|[^\s(),<>=!']*)$/i.exec(before);
  if (!word) return none;
  const prefix = word[1]!;
  const from = cursor - prefix.length;
  const keyed = /^(metrics|params|tags)\.`?(.*)$/.exec(prefix);
  if (keyed) {
    return { from, to: cursor, kind: keyed[1] as Slot["kind"], prefix: keyed[2]!, field: "" };
  }
  const isAfterTest = /(?:'|\d|NULL)\s+$/i.test(before.slice(0, from));
  if (isAfterTest) return none;
  return { from, to: cursor, kind: "field", prefix, field: "" };
}
