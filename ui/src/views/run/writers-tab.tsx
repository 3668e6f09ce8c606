import type { Run, Writer } from "../../api/types";
import { Empty, Time } from "../../components/basics";
import { whole } from "../../components/format";

/** Every process that wrote to the run, and how far the server has heard of it. */
export function WritersTab({ run }: { run: Run }) {
  if (run.writers.length === 0) return <Empty title="Nobody has written to this run" />;
  const now = Date.now() * 1000;
  return (
    <div class="scroll-box" tabIndex={0} role="region" aria-label="Writers">
      <table class="plain-table">
        <thead>
          <tr>
            <th scope="col">Writer</th>
            <th scope="col">State</th>
            <th scope="col" class="numeric">received up to</th>
            <th scope="col" class="numeric">position</th>
            <th scope="col">lease until</th>
            <th scope="col">About</th>
          </tr>
        </thead>
        <tbody>
          {run.writers.map((writer) => (
            <tr key={writer.writer_id}>
              <td class="mono">{writer.writer_id}</td>
              <td>{stateOf(writer, run, now)}</td>
              <td class="numeric">{whole(writer.next_seq - 1)}</td>
              <td class="numeric">{whole(writer.last_position)}</td>
              <td>
                <Time us={writer.lease_expires_us} />
              </td>
              <td>{aboutText(writer)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="faint">
        Each process has a sequence of its own. All records up to “received up to” are in the log; what a
        machine has beyond that is still in its spool (<code>tracker spool</code>).
      </p>
    </div>
  );
}

function stateOf(writer: Writer, run: Run, now: number): string {
  if (writer.writer_id.startsWith("server-")) return "the server's decisions";
  if (writer.lease_expires_us !== null && writer.lease_expires_us > now) return "live";
  return run.liveness === "ended" ? "done" : "lost: it does not report";
}

function aboutText(writer: Writer): string {
  return Object.entries(writer.about)
    .map(([name, value]) => `${name} ${String(value)}`)
    .join(", ")
    .slice(0, 300);
}
