/** Who writes to the server: each with its run, its process, and how far it was received. */
import type { ConnectedWriter, ConnectedWriters } from "../api/types";
import { Link, Time } from "../components/basics";
import { many, whole } from "../components/format";

export function WritersCard({ connected }: { connected: ConnectedWriters }) {
  const { writers, live_count, is_whole } = connected;
  return (
    <section class="card span" aria-label="Writers connected">
      <h2>
        Writers connected <span class="badge">{whole(live_count)}</span>
      </h2>
      {writers.length === 0 ? (
        <p class="faint">No process reports at the moment.</p>
      ) : (
        <div class="scroll-box" tabIndex={0} role="region" aria-label="Table of writers">
          <table class="plain-table">
            <thead>
              <tr>
                <th scope="col">Writer</th>
                <th scope="col">Run</th>
                <th scope="col">Process</th>
                <th scope="col">State</th>
                <th scope="col">since</th>
                <th scope="col" class="numeric">received up to</th>
                <th scope="col">last received</th>
              </tr>
            </thead>
            <tbody>
              {writers.map((writer) => (
                <WriterRow key={writer.writer_id} writer={writer} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {!is_whole && (
        <p class="faint">
          The first {many(writers.length, "writer")}. <code>GET /api/v1/writers?max_results=500</code> names
          more.
        </p>
      )}
      <p class="faint">
        Live: its process reports. Lost: its run goes on, but nobody has reported for it; it may come back
        with what its spool holds.
      </p>
    </section>
  );
}

function WriterRow({ writer }: { writer: ConnectedWriter }) {
  const isLive = writer.state === "live";
  return (
    <tr>
      <td class="mono">{writer.writer_id}</td>
      <td>
        {writer.run_id && (
          <Link to={`/runs/${encodeURIComponent(writer.run_id)}`} class="ellipsis" title={writer.run_id}>
            {writer.run_name || writer.run_id}
          </Link>
        )}
      </td>
      <td>{processText(writer)}</td>
      <td class={isLive ? "" : "warning"}>{writer.state}</td>
      <td>
        <Time us={isLive ? writer.run_start_time_us : writer.received_at_us} />
      </td>
      <td class="numeric">{whole(writer.next_seq - 1)}</td>
      <td>
        <Time us={writer.received_at_us} />
      </td>
    </tr>
  );
}

function processText({ about }: ConnectedWriter): string {
  const { host, pid } = about;
  return [host, pid !== undefined && `pid ${String(pid)}`].filter(Boolean).map(String).join(" · ");
}
