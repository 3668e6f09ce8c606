/** A run's tags, which may be set, changed and removed. */
import { useState } from "preact/hooks";

import { changeRun } from "../../api/runs";
import type { Run } from "../../api/types";
import { IconButton } from "../../components/basics";
import { Long } from "../../components/pairs";
import { attempt } from "../../state/toasts";

export function TagsCard({
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
