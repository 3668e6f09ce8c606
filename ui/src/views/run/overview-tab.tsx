/** What a run was given and measured, and where it ran. */
import type { Run } from "../../api/types";
import { Markdown } from "../../components/markdown";
import { Pairs } from "../../components/pairs";
import { MetricsCard } from "./metrics-card";
import { TagsCard } from "./tags-card";

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
