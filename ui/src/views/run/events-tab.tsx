/** The log of one run, event by event. */
import { useEffect, useMemo, useState } from "preact/hooks";

import { readEvents } from "../../api/events";
import type { LoggedEvent, Run } from "../../api/types";
import { Failed, Loading, Time } from "../../components/basics";
import { duration, exact, whole } from "../../components/format";
import { query, setQuery } from "../../state/location";
import { TimeTravel } from "./time-travel";

const PAGE = 500;

/** One event, or many of metrics in a row, which are shown as one line. */
interface Entry {
  events: LoggedEvent[];
  from: number;
  to: number;
}

export function EventsTab({ run }: { run: Run }) {
  const [type, setType] = useState("");
  const [events, setEvents] = useState<LoggedEvent[]>([]);
  const [after, setAfter] = useState(0);
  const [isDone, setDone] = useState(false);
  const [isLoading, setLoading] = useState(true);
  const [error, setError] = useState<Error>();
  const at = Number(query.value.get("at")) || null;

  const more = async (from: number, signal?: AbortSignal) => {
    setLoading(true);
    try {
      let position = from;
      const found: LoggedEvent[] = [];
      while (found.length < PAGE && position < run.last_position) {
        const page = await readEvents(
          { after: position, run_id: run.run_id, limit: PAGE, ...(type && { type }) },
          signal,
        );
        found.push(...page.events);
        if (page.position <= position) break;
        position = page.position;
      }
      setEvents((old) => (from === 0 ? found : [...old, ...found]));
      setAfter(position);
      setDone(position >= run.last_position);
      setError(undefined);
    } catch (failed) {
      if (!signal?.aborted) setError(failed as Error);
    }
    setLoading(false);
  };
  useEffect(() => {
    const abort = new AbortController();
    setEvents([]);
    void more(0, abort.signal);
    return () => abort.abort();
  }, [run.run_id, type]);
  // What arrives while one looks is appended when all before it is there.
  useEffect(() => {
    if (isDone && run.last_position > after) void more(after);
  }, [run.last_position]);

  const entries = useMemo(() => entriesOf(events), [events]);
  const last = run.last_position;
  const first = events[0]?.position ?? 1;
  return (
    <div class="history">
      <TimeTravel run={run} at={at} first={first} last={last} places={events} />
      <div class="row">
        <label class="slider">
          Events
          <select value={type} onChange={(event) => setType(event.currentTarget.value)}>
            <option value="">of all types</option>
            {[
              "run.started", "run.joined", "run.resumed", "run.updated", "run.ended", "params.logged",
              "metrics.logged", "tags.set", "tag.deleted", "artifact.logged", "input.logged",
              "run.deleted", "run.restored", "events.dropped",
            ].map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
        <span class="faint">{whole(events.length)} events{isDone ? "" : " so far"}</span>
      </div>
      {error && <Failed error={error} retry={() => void more(after)} />}
      <ol class="event-list">
        {entries.map((entry) => (
          <EntryLine key={entry.from} entry={entry} isFuture={at !== null && entry.from > at} />
        ))}
      </ol>
      {isLoading && <Loading what="Reading the log" />}
      {!isDone && !isLoading && (
        <button type="button" onClick={() => void more(after)}>
          Read on
        </button>
      )}
    </div>
  );
}

function entriesOf(events: readonly LoggedEvent[]): Entry[] {
  const entries: Entry[] = [];
  for (const event of events) {
    const before = entries.at(-1);
    const isSame =
      before &&
      event.type === "metrics.logged" &&
      before.events[0]!.type === event.type &&
      before.events[0]!.writer_id === event.writer_id &&
      before.events.length < 100;
    if (isSame) {
      before.events.push(event);
      before.to = event.position;
    } else {
      entries.push({ events: [event], from: event.position, to: event.position });
    }
  }
  return entries;
}

function EntryLine({ entry, isFuture }: { entry: Entry; isFuture: boolean }) {
  const [isOpen, setOpen] = useState(false);
  const event = entry.events[0]!;
  const place = entry.from === entry.to ? `${entry.from}` : `${entry.from}–${entry.to}`;
  return (
    <li class={isFuture ? "future" : ""}>
      <button type="button" class="event-line" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <span class="mono faint position">{place}</span>
        <Time us={event.time_us} />
        <span class="type">{event.type}</span>
        <span class="ellipsis">{summaryOf(entry)}</span>
        <span class="mono faint writer">{event.writer_id.slice(0, 14)}</span>
      </button>
      {isOpen && (
        <div class="event-detail">
          <p>
            Recorded {exact(event.time_us)}, received {exact(event.received_at_us)} (
            {duration(Math.max(0, event.received_at_us - event.time_us))} later) · writer{" "}
            <code>{event.writer_id}</code>, epoch {event.epoch}, sequence {event.seq}
          </p>
          <pre>
            {JSON.stringify(
              entry.events.length === 1 ? event.data : entry.events.map((one) => one.data),
              null,
              1,
            ).slice(0, 50_000)}
          </pre>
          <button type="button" onClick={() => setQuery({ at: entry.to })}>
            Show the run as it was here
          </button>
        </div>
      )}
    </li>
  );
}

function summaryOf(entry: Entry): string {
  const { data, type } = entry.events[0]!;
  if (type === "metrics.logged") {
    const steps = entry.events.map((one) => Number(one.data.step));
    const keys = new Set(entry.events.flatMap((one) => Object.keys((one.data.metrics as object) ?? {})));
    const shown = [...keys].slice(0, 4).join(", ") + (keys.size > 4 ? ` and ${keys.size - 4} more` : "");
    const span = steps.length > 1 ? `steps ${steps[0]}–${steps.at(-1)}` : `step ${steps[0]}`;
    return `${shown} · ${span}`;
  }
  const parts = Object.entries(data).map(([name, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return `${name} ${text.slice(0, 120)}`;
  });
  return parts.join(" · ").slice(0, 300);
}
