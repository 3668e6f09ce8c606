/** The event log, a page at a time. */
import { send } from "./client";
import type { LoggedEvent } from "./types";

export interface EventsPage {
  events: LoggedEvent[];
  /** Where the next page begins. */
  position: number;
}

export async function readEvents(
  query: { after: number; run_id?: string; type?: string; limit?: number; wait?: number },
  signal?: AbortSignal,
): Promise<EventsPage> {
  const response = await send("/api/v1/events", { query, signal, accept: "application/x-ndjson" });
  const text = await response.text();
  const events = text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as LoggedEvent);
  const position = Number(response.headers.get("X-Tracker-Position") ?? query.after);
  return { events, position };
}
