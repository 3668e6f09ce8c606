import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { changeRun } from "../../api/runs";
import { querySeries, type Series } from "../../api/series";
import { toNumber, type Run } from "../../api/types";
import { Sparkline } from "../../charts/sparkline";
import { IconButton, Link } from "../../components/basics";
import { number, whole } from "../../components/format";
import { Markdown } from "../../components/markdown";
import { Long, Pairs } from "../../components/pairs";
import { colorOf } from "../../state/colors";
import { withQuery } from "../../state/location";
import { attempt } from "../../state/toasts";

const NOTE = "mlflow.note.content";
const CONTEXT: readonly (readonly [string, string])[] = [
  ["mlflow.source.name", "Source"],
  ["mlflow.source.type", "Source type"],
  ["mlflow.source.git.commit", "Git commit"],
  ["mlflow.source.git.branch", "Git branch"],
  ["mlflow.source.git.repoURL", "Git repository"],
  ["mlflow.source.git.dirty", "Changed since the commit"],
  ["mlflow.user", "User"],
  ["tracker.host", "Host"],
  ["tracker.command", "Command"],
  ["tracker.python", "Python"],
  ["tracker.cwd", "Folder"],
];
const SPARKS = 40;
const SPARK_BUCKETS = 80;

export function OverviewTab({ run, onChange }: { run: Run; onChange: (run: Run) => void }) {
  const note = run.tags[NOTE];
  const context = contextOf(run);
  const tags = Object.entries(run.tags).filter(
    ([key]) => key !== NOTE && !key.startsWith("mlflow.") && !context.some(([, of]) => of === key),
  );
  return (
    <div class="overview">
      {note && (
        <section class="card span">
          <Markdown text={note} />
        </section>
      )}
      <MetricsCard run={run} />
      <section class="card">
        <h2>
          Params <span class="badge">{Object.keys(run.params).length}</span>
        </h2>
        <Pairs entries={Object.entries(run.params).sort()} none="No params were logged." />
        {run.conflicts.length > 0 && (
          <div class="note warning">
            Logged again with other values, which were kept aside:
            <ul>
              {run.conflicts.map((one) => (
                <li key={one.key + one.value}>
                  <code>{one.key}</code> = <code>{one.value.slice(0, 200)}</code>
                </li>
              ))}
            </ul>
          </div>
        )}
      </section>
      <TagsCard run={run} tags={tags} onChange={onChange} />
      <section class="card">
        <h2>Context</h2>
        <Pairs entries={context.map(([label, , value]) => [label, value])} none="Nothing is known of where it ran." />
      </section>
    </div>
  );
}

function contextOf(run: Run): [string, string, string][] {
  const known: [string, string, string][] = CONTEXT.flatMap(([key, label]) => {
    const value = run.tags[key];
    return value === undefined ? [] : [[label, key, value] as [string, string, string]];
  });
  const others = Object.entries(run.tags)
    .filter(([key]) => key.startsWith("tracker.") && !CONTEXT.some(([one]) => one === key))
    .map(([key, value]): [string, string, string] => [key.slice("tracker.".length), key, value]);
  return [...known, ...others];
}

function MetricsCard({ run }: { run: Run }) {
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

function TagsCard({
  run,
  tags,
  onChange,
}: {
  run: Run;
  tags: [string, string][];
  onChange: (run: Run) => void;
}) {
  const [key, setKey] = useState("");
  const [value, setValue] = useState("");
  const isDeleted = run.lifecycle_stage === "deleted";
  const set = async (changes: Record<string, string | null>) => {
    const changed = await attempt(changeRun(run.run_id, { tags: changes }));
    if (changed) onChange(changed);
    return changed !== undefined;
  };
  return (
    <section class="card">
      <h2>
        Tags <span class="badge">{tags.length}</span>
      </h2>
      <table class="pairs">
        <tbody>
          {tags.sort().map(([name, text]) => (
            <TagRow key={name} name={name} text={text} isFixed={isDeleted} onSet={(next) => void set({ [name]: next })} />
          ))}
        </tbody>
      </table>
      {!isDeleted && (
        <form
          class="new-pair"
          onSubmit={(event) => {
            event.preventDefault();
            if (!key.trim()) return;
            void set({ [key.trim()]: value }).then((isDone) => {
              if (!isDone) return;
              setKey("");
              setValue("");
            });
          }}
        >
          <input aria-label="New tag's key" placeholder="key" value={key} onInput={(event) => setKey(event.currentTarget.value)} />
          <input aria-label="New tag's value" placeholder="value" value={value} onInput={(event) => setValue(event.currentTarget.value)} />
          <button type="submit" disabled={!key.trim()}>
            Add
          </button>
        </form>
      )}
    </section>
  );
}

function TagRow({
  name,
  text,
  isFixed,
  onSet,
}: {
  name: string;
  text: string;
  isFixed: boolean;
  onSet: (value: string | null) => void;
}) {
  const [edited, setEdited] = useState<string | null>(null);
  return (
    <tr>
      <th scope="row">{name}</th>
      <td>
        {edited === null ? (
          <Long text={text} />
        ) : (
          <form
            class="row"
            onSubmit={(event) => {
              event.preventDefault();
              if (edited !== text) onSet(edited);
              setEdited(null);
            }}
          >
            <input
              aria-label={`Value of ${name}`}
              value={edited}
              ref={(element) => element?.focus()}
              onInput={(event) => setEdited(event.currentTarget.value)}
              onKeyDown={(event) => event.key === "Escape" && setEdited(null)}
            />
            <button type="submit">Set</button>
          </form>
        )}
      </td>
      <td class="tools">
        {!isFixed && edited === null && (
          <>
            <IconButton icon="edit" size={13} label={`Edit ${name}`} onClick={() => setEdited(text)} />
            <IconButton icon="close" size={13} label={`Remove ${name}`} onClick={() => onSet(null)} />
          </>
        )}
      </td>
    </tr>
  );
}
