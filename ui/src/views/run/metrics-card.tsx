/** A run's metrics: last, least and greatest, and their course in a line. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { querySeries, type Series } from "../../api/series";
import { toNumber, type Run } from "../../api/types";
import { Sparkline } from "../../charts/sparkline";
import { Link } from "../../components/basics";
import { number, whole } from "../../components/format";
import { colorOf } from "../../state/colors";
import { withQuery } from "../../state/location";

const SPARKS = 40;
const SPARK_BUCKETS = 80;

export function MetricsCard({ run }: { run: Run }) {
  const keys = useMemo(() => Object.keys(run.metrics).sort(), [run.metrics]);
  const sparks = useSparks(run, keys);
  return (
    <section class="card span">
      <h2>
        Metrics <span class="badge">{keys.length}</span>
      </h2>
      {keys.length === 0 ? (
        <p class="faint">No metrics were logged.</p>
      ) : (
        <div class="scroll-box" tabIndex={0} role="region" aria-label="Metrics">
          <table class="plain-table metrics-table">
            <thead>
              <tr>
                <th scope="col">Metric</th>
                <th scope="col">
                  <span class="sr-only">Course</span>
                </th>
                <th scope="col" class="numeric">last</th>
                <th scope="col" class="numeric">min</th>
                <th scope="col" class="numeric">max</th>
                <th scope="col" class="numeric">at step</th>
                <th scope="col" class="numeric">points</th>
              </tr>
            </thead>
            <tbody>
              {keys.map((key) => {
                const metric = run.metrics[key]!;
                const series = sparks.get(key);
                return (
                  <tr key={key}>
                    <th scope="row">
                      <Link to={withQuery({ tab: "charts", metric: `^${escaped(key)}$` })}>{key}</Link>
                    </th>
                    <td class="spark">{series && <Sparkline series={series} color={colorOf(run.run_id)} />}</td>
                    <td class="numeric strong">{number(toNumber(metric.last.value))}</td>
                    <td class="numeric" title={`at step ${metric.min_step ?? "–"}`}>
                      {metric.min === null ? "–" : number(toNumber(metric.min))}
                    </td>
                    <td class="numeric" title={`at step ${metric.max_step ?? "–"}`}>
                      {metric.max === null ? "–" : number(toNumber(metric.max))}
                    </td>
                    <td class="numeric">{metric.last.step}</td>
                    <td class="numeric">
                      {whole(metric.count)}
                      {metric.nan_count > 0 && <span class="warning"> {whole(metric.nan_count)} NaN</span>}
                    </td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** Small courses of the first metrics, anew when the run goes on. */
function useSparks(run: Run, keys: string[]): ReadonlyMap<string, Series> {
  const [sparks, setSparks] = useState<ReadonlyMap<string, Series>>(new Map());
  const asked = keys.slice(0, SPARKS);
  const isBusy = useRef(false);
  useEffect(() => {
    if (asked.length === 0 || isBusy.current) return;
    isBusy.current = true;
    querySeries({ run_ids: [run.run_id], keys: asked, buckets: SPARK_BUCKETS })
      .then((found) => setSparks(new Map(found.map((series) => [series.key, series]))))
      .catch(() => {}) // the numbers beside say it too; the banner tells when the server is away
      .finally(() => {
        isBusy.current = false;
      });
  }, [run.run_id, run.last_position, asked.join("\n")]);
  return sparks;
}
