/** The run as it was at any position of the log. */
import { useState } from "preact/hooks";

import { getRun } from "../../api/runs";
import { toNumber, type LoggedEvent, type Run } from "../../api/types";
import { exact, number, whole } from "../../components/format";
import { StatusBadge } from "../../components/status";
import { setQuery } from "../../state/location";
import { useResource } from "../../state/resource";

export function TimeTravel({
  run,
  at,
  first,
  last,
  places,
}: {
  run: Run;
  at: number | null;
  first: number;
  last: number;
  places: readonly LoggedEvent[];
}) {
  const [dragged, setDragged] = useState<number | null>(null);
  const position = dragged ?? at ?? last;
  const asked = at;
  const past = useResource(
    async (signal) => (asked === null ? null : getRun(run.run_id, { as_of_position: asked }, signal)),
    [run.run_id, asked],
  );
  const near = places.findLast((event) => event.position <= position);
  return (
    <section class="card time-travel" aria-label="Time travel">
      <div class="row">
        <h2>The run as it was</h2>
        <span class="faint">
          {at === null && dragged === null ? (
            "now; drag to go back"
          ) : (
            <>
              at position {whole(position)}
              {near && <> · {exact(near.received_at_us)}</>}
            </>
          )}
        </span>
        {at !== null && (
          <button type="button" onClick={() => setQuery({ at: null })}>
            Back to now
          </button>
        )}
      </div>
      <input
        type="range"
        min={first}
        max={last}
        step="1"
        value={position}
        aria-label="Position in the log"
        aria-valuetext={`position ${position}`}
        onInput={(event) => setDragged(Number(event.currentTarget.value))}
        onChange={(event) => {
          const to = Number(event.currentTarget.value);
          setDragged(null);
          setQuery({ at: to >= last ? null : to });
        }}
      />
      {at !== null && past.error && (
        <p class="note" role="alert">
          {past.error.message}
        </p>
      )}
      {at !== null && past.data && <Past past={past.data} now={run} />}
    </section>
  );
}

function Past({ past, now }: { past: Run; now: Run }) {
  const metrics = Object.entries(now.metrics).sort();
  return (
    <div class="past">
      <p>
        <strong>{past.name}</strong> <StatusBadge run={past} />
        <span class="faint">
          {" "}
          {Object.keys(past.params).length} of {Object.keys(now.params).length} params,{" "}
          {Object.keys(past.tags).length} tags
        </span>
      </p>
      <div class="scroll-box small" tabIndex={0} role="region" aria-label="Values then and now">
        <table class="plain-table">
          <thead>
            <tr>
              <th scope="col">Metric</th>
              <th scope="col" class="numeric">then</th>
              <th scope="col" class="numeric">at step</th>
              <th scope="col" class="numeric">now</th>
            </tr>
          </thead>
          <tbody>
            {metrics.map(([key, metric]) => {
              const then = past.metrics[key];
              return (
                <tr key={key}>
                  <th scope="row">{key}</th>
                  <td class="numeric">{then ? number(toNumber(then.last.value)) : <span class="faint">–</span>}</td>
                  <td class="numeric">{then?.last.step ?? ""}</td>
                  <td class="numeric faint">{number(toNumber(metric.last.value))}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </div>
  );
}
