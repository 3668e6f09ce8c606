/** The server itself: version, how far the log and its projections are, and their proof. */
import { useEffect, useState } from "preact/hooks";

import { connectedWriters, ready, verify, version } from "../api/runs";
import type { Verify } from "../api/types";
import { Failed, Loading } from "../components/basics";
import { whole } from "../components/format";
import { useResource } from "../state/resource";
import { attempt } from "../state/toasts";
import { WritersCard } from "./server-writers";

const LOOK_MS = 700;
const STORES: Record<string, string> = {
  none: "none: this server keeps artifacts only",
  sqlite: "SQLite",
  postgresql: "PostgreSQL",
  memory: "in memory, gone when the server ends",
  folder: "a folder of the server",
  s3: "S3",
};

export function ServerView() {
  const resource = useResource(
    async (signal) => {
      const [state, about] = await Promise.all([ready(signal), version(signal)]);
      // A server of artifacts alone has no log that anybody could write to.
      const writers = about.event_store ? await connectedWriters(signal) : null;
      return { state, about, writers };
    },
    ["server"],
    { isLive: true },
  );
  useEffect(() => {
    document.title = "Server · tracker";
  }, []);
  if (resource.error && !resource.data) return <Failed error={resource.error} retry={resource.reload} />;
  if (!resource.data) return <Loading what="Asking the server" />;
  const { state, about, writers } = resource.data;
  return (
    <div class="page">
      <div class="page-head">
        <h1>Server</h1>
      </div>
      <div class="overview">
        <section class="card">
          <h2>State</h2>
          <table class="pairs">
            <tbody>
              <Pair name="Version" text={about.version} />
              <Pair name="Event log" text={STORES[about.event_store ?? "none"] ?? ""} />
              <Pair name="Artifacts" text={STORES[about.artifact_store] ?? ""} />
              <Pair name="State" text={state.status} />
              <Pair name="Head of the log" text={whole(state.head)} />
            </tbody>
          </table>
          <p>
            <a href="/api/v1/openapi.json" target="_blank" rel="noopener">
              The HTTP API
            </a>{" "}
            ·{" "}
            <a href="/metrics" target="_blank" rel="noopener">
              Prometheus metrics
            </a>
          </p>
        </section>
        <section class="card">
          <h2>Projections</h2>
          <table class="plain-table">
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col" class="numeric">version</th>
                <th scope="col" class="numeric">position</th>
                <th scope="col" class="numeric">lag</th>
              </tr>
            </thead>
            <tbody>
              {state.projections.map((one) => (
                <tr key={one.name}>
                  <th scope="row">{one.name}</th>
                  <td class="numeric">{one.version}</td>
                  <td class="numeric">{whole(one.position)}</td>
                  <td class={`numeric${one.lag > 10_000 ? " warning" : ""}`}>{whole(one.lag)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
        <VerifyCard />
        {writers && <WritersCard connected={writers} />}
      </div>
    </div>
  );
}

function Pair({ name, text }: { name: string; text: string }) {
  return (
    <tr>
      <th scope="row">{name}</th>
      <td>{text}</td>
    </tr>
  );
}

function VerifyCard() {
  const resource = useResource((signal) => verify(false, signal), ["verify"]);
  const [begun, setBegun] = useState(0);
  const isRunning = resource.data?.state === "running";
  useEffect(() => {
    if (!isRunning) return;
    const timer = setInterval(resource.reload, LOOK_MS);
    return () => clearInterval(timer);
  }, [isRunning, begun]);
  const begin = async () => {
    const state = await attempt(verify(true));
    if (state) resource.set(state);
    setBegun(begun + 1);
  };
  return (
    <section class="card span">
      <h2>Proof of the log</h2>
      <p class="faint">
        That no recorded byte has changed, no writer's sequence has a hole, and the projections are what the
        log says.
      </p>
      <button type="button" disabled={isRunning} onClick={() => void begin()}>
        {isRunning ? "Verifying …" : "Verify now"}
      </button>
      {resource.error && <Failed error={resource.error} />}
      {resource.data && <Outcome state={resource.data} />}
    </section>
  );
}

function Outcome({ state }: { state: Verify }) {
  if (state.state === "failed") return <p class="note warning">It failed: {state.error}</p>;
  if (state.state === "running") return <Facts facts={state.progress ?? {}} />;
  if (state.state === "none" || !state.report) return null;
  const isClean = state.report.is_clean === true;
  return (
    <>
      <p class={`note ${isClean ? "good" : "warning"}`} role="status">
        {isClean ? "Everything is as it was recorded." : "Something differs; see below."}
      </p>
      <Facts facts={state.report} />
    </>
  );
}

const COUNTED: readonly (readonly [string, string])[] = [
  ["head", "Head of the log"],
  ["batches", "Batches"],
  ["events", "Events"],
  ["points", "Points"],
  ["dropped", "Dropped on their machines"],
  ["writers", "Writers"],
];

/** Counts first, the projections' rows, then all that is wrong, as the server words it. */
function Facts({ facts }: { facts: Record<string, unknown> }) {
  const counted = COUNTED.flatMap(([key, label]) =>
    typeof facts[key] === "number" ? [[label, whole(facts[key])] as const] : [],
  );
  const projections = Array.isArray(facts.projections) ? (facts.projections as CheckedProjection[]) : [];
  const rest = Object.entries(facts).filter(
    ([key, value]) => !KNOWN.has(key) && !(Array.isArray(value) && value.length === 0),
  );
  return (
    <table class="pairs narrow">
      <tbody>
        {counted.map(([label, text]) => (
          <Pair key={label} name={label} text={text} />
        ))}
        {projections.map((one) => (
          <Pair
            key={one.name}
            name={`Rows of ${one.name}`}
            text={`${whole(one.rows)}, compared with a rebuild at position ${whole(one.position)}`}
          />
        ))}
        {typeof facts.chain === "string" && (
          <tr>
            <th scope="row">Chain</th>
            <td class="mono">{facts.chain}</td>
          </tr>
        )}
        {rest.map(([key, value]) => (
          <Pair key={key} name={key.replaceAll("_", " ")} text={textOf(value)} />
        ))}
      </tbody>
    </table>
  );
}

interface CheckedProjection {
  name: string;
  rows: number;
  position: number;
}

const KNOWN = new Set([...COUNTED.map(([key]) => key), "projections", "chain", "is_clean", "findings_count"]);

function textOf(value: unknown): string {
  if (typeof value === "number") return whole(value);
  return typeof value === "string" ? value : JSON.stringify(value, null, 1).slice(0, 5000);
}
