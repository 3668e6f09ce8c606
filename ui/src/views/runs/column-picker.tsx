/** Which columns are shown: found by name among thousands of keys, pinned, taken away. */
import { useEffect, useState } from "preact/hooks";

import { listKeys, type KeyKind } from "../../api/runs";
import { IconButton } from "../../components/basics";
import { Popover } from "../../components/popover";
import { ATTRIBUTES, columnOf, fieldOf, labelOf, SUMMARIES, type Column } from "../../table/columns";

const KEYS_SHOWN = 200;

export function ColumnPicker({
  columns,
  experiments,
  onChange,
}: {
  columns: readonly Column[];
  experiments: string[];
  onChange: (columns: Column[] | null) => void;
}) {
  return (
    <Popover label="Columns" icon="columns" align="right">
      {() => <Panel columns={columns} experiments={experiments} onChange={onChange} />}
    </Popover>
  );
}

function Panel({
  columns,
  experiments,
  onChange,
}: {
  columns: readonly Column[];
  experiments: string[];
  onChange: (columns: Column[] | null) => void;
}) {
  const [text, setText] = useState("");
  const [keys, setKeys] = useState<{ kind: KeyKind; keys: string[]; isReduced: boolean }[]>([]);
  useEffect(() => {
    const abort = new AbortController();
    const kinds: KeyKind[] = ["metrics", "params", "tags"];
    const load = async () => {
      const answers = await Promise.all(
        kinds.map(async (kind) => {
          const query = { experiment_ids: experiments.join(","), max_results: 5000 };
          const answer = await listKeys(kind, query, abort.signal);
          return { kind, keys: answer.keys, isReduced: answer.is_reduced };
        }),
      );
      setKeys(answers);
    };
    load().catch(() => {}); // the banner tells; the columns shown stay as they are
    return () => abort.abort();
  }, [experiments.join(",")]);

  const shown = new Set(columns.map((column) => column.id));
  const isFound = (label: string) => label.toLowerCase().includes(text.toLowerCase());
  const add = (id: string) => onChange([...columns, columnOf(id)]);
  const drop = (id: string) => onChange(columns.filter((column) => column.id !== id));
  const offered = (kind: KeyKind) =>
    (keys.find((one) => one.kind === kind)?.keys ?? [])
      .filter((key) => isFound(`${kind}.${key}`))
      .filter((key) => !(kind === "tags" && key.startsWith("mlflow.") && text === ""));
  return (
    <div class="picker columns-picker">
      <input
        type="search"
        placeholder="Search columns"
        aria-label="Search columns"
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <div class="picker-scroll">
        {text === "" && (
          <section>
            <h2>
              Shown
              <button type="button" class="link" onClick={() => onChange(null)}>
                back to the default
              </button>
            </h2>
            <ul class="picker-list">
              {columns.map((column) => (
                <li key={column.id}>
                  <label>
                    <input
                      type="checkbox"
                      checked
                      disabled={column.id === "name"}
                      onChange={() => drop(column.id)}
                    />
                    <span class="ellipsis">{labelOf(column.id)}</span>
                    <span class="faint">{fieldOf(column.id).kind === "attribute" ? "" : fieldOf(column.id).kind}</span>
                  </label>
                  <IconButton
                    icon="pin"
                    label={`${column.isPinned ? "Unpin" : "Pin"} ${labelOf(column.id)}`}
                    isOn={column.isPinned}
                    size={14}
                    onClick={() =>
                      onChange(
                        columns.map((one) =>
                          one.id === column.id ? { ...one, isPinned: !one.isPinned } : one,
                        ),
                      )
                    }
                  />
                </li>
              ))}
            </ul>
          </section>
        )}
        <Section title="Attributes">
          {Object.entries(ATTRIBUTES)
            .filter(([id, { label }]) => !shown.has(id) && isFound(label))
            .map(([id, { label }]) => (
              <Offer key={id} label={label} onAdd={() => add(id)} />
            ))}
        </Section>
        {(["metrics", "params", "tags"] as const).map((kind) => {
          const found = offered(kind);
          return (
            <Section key={kind} title={`${kind[0]!.toUpperCase()}${kind.slice(1)}`}>
              {found.slice(0, KEYS_SHOWN).map((key) => (
                <Offer
                  key={key}
                  label={key}
                  isOn={shown.has(`${kind}.${key}`)}
                  onAdd={() => (shown.has(`${kind}.${key}`) ? drop(`${kind}.${key}`) : add(`${kind}.${key}`))}
                >
                  {kind === "metrics" &&
                    SUMMARIES.slice(1).map((summary) => {
                      const id = `metrics.${key}|${summary}`;
                      return (
                        <button
                          key={summary}
                          type="button"
                          class={`chip${shown.has(id) ? " on" : ""}`}
                          onClick={() => (shown.has(id) ? drop(id) : add(id))}
                        >
                          {summary}
                        </button>
                      );
                    })}
                </Offer>
              ))}
              {found.length > KEYS_SHOWN && (
                <p class="faint">{found.length - KEYS_SHOWN} more: search for them.</p>
              )}
            </Section>
          );
        })}
      </div>
    </div>
  );
}

function Section({ title, children }: { title: string; children: preact.ComponentChildren }) {
  return (
    <section>
      <h2>{title}</h2>
      <ul class="picker-list">{children}</ul>
    </section>
  );
}

function Offer({
  label,
  isOn = false,
  onAdd,
  children,
}: {
  label: string;
  isOn?: boolean;
  onAdd: () => void;
  children?: preact.ComponentChildren;
}) {
  return (
    <li>
      <label>
        <input type="checkbox" checked={isOn} onChange={onAdd} />
        <span class="ellipsis" title={label}>
          {label}
        </span>
      </label>
      {children}
    </li>
  );
}
