/** What can be done with the selected runs at once. */
import { useState } from "preact/hooks";

import { changeRun, type RunChange } from "../../api/runs";
import type { Run } from "../../api/types";
import { Dialog } from "../../components/dialog";
import { Icon } from "../../components/icons";
import { setQuery } from "../../state/location";
import { toast } from "../../state/toasts";

const AT_ONCE = 4;

/** Change runs a few at a time; answers those that the server changed. */
export async function changeAll(ids: readonly string[], change: RunChange): Promise<Run[]> {
  const done: Run[] = [];
  let refusal = "";
  const queue = [...ids];
  const work = async () => {
    for (let id = queue.shift(); id !== undefined; id = queue.shift()) {
      try {
        done.push(await changeRun(id, change));
      } catch (error) {
        refusal = error instanceof Error ? error.message : String(error);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (refusal) toast(`${ids.length - done.length} of ${ids.length}: ${refusal}`, "error");
  return done;
}

export function BulkBar({
  selected,
  isDeleted,
  onChanged,
  onGone,
}: {
  selected: string[];
  isDeleted: boolean;
  onChanged: (runs: Run[]) => void;
  onGone: (ids: ReadonlySet<string>) => void;
}) {
  const [isTagging, setTagging] = useState(false);
  const clear = () => setQuery({ sel: null });
  const show = (view: string) => setQuery({ view }, { replace: false });
  const setStage = async (lifecycle_stage: "active" | "deleted") => {
    const ids = [...selected];
    const done = await changeAll(ids, { lifecycle_stage });
    if (done.length === 0) return;
    onGone(new Set(done.map((run) => run.run_id)));
    clear();
    const word = lifecycle_stage === "deleted" ? "in the trash" : "restored";
    const back = lifecycle_stage === "deleted" ? "active" : "deleted";
    toast(`${done.length} ${done.length === 1 ? "run is" : "runs are"} ${word}.`, "done", () => {
      void changeAll(done.map((run) => run.run_id), { lifecycle_stage: back }).then(() =>
        dispatchEvent(new Event("tracker-reload")),
      );
    });
  };
  return (
    <div class="bulk-bar" role="toolbar" aria-label="Selected runs">
      <strong>{selected.length} selected</strong>
      <button type="button" onClick={() => show("charts")}>
        Charts
      </button>
      <button type="button" onClick={() => show("compare")}>
        Compare
      </button>
      <button type="button" onClick={() => setTagging(true)}>
        <Icon name="tag" /> Tag
      </button>
      {isDeleted ? (
        <button type="button" onClick={() => void setStage("active")}>
          <Icon name="reset" /> Restore
        </button>
      ) : (
        <button type="button" class="danger" onClick={() => void setStage("deleted")}>
          <Icon name="trash" /> Delete
        </button>
      )}
      <button type="button" class="link" onClick={clear}>
        Clear
      </button>
      {isTagging && (
        <TagDialog
          count={selected.length}
          onClose={() => setTagging(false)}
          onTag={async (key, value) => {
            const done = await changeAll(selected, { tags: { [key]: value } });
            onChanged(done);
            if (done.length > 0) toast(`Tagged ${done.length} runs.`);
            setTagging(false);
          }}
        />
      )}
    </div>
  );
}

function TagDialog({
  count,
  onClose,
  onTag,
}: {
  count: number;
  onClose: () => void;
  onTag: (key: string, value: string | null) => Promise<void>;
}) {
  const [key, setKey] = useState("");
  const [value, setValue] = useState("");
  return (
    <Dialog title={`Tag ${count} ${count === 1 ? "run" : "runs"}`} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (key.trim()) void onTag(key.trim(), value);
        }}
      >
        <label class="field">
          Key
          <input value={key} required onInput={(event) => setKey(event.currentTarget.value)} />
        </label>
        <label class="field">
          Value
          <input value={value} onInput={(event) => setValue(event.currentTarget.value)} />
        </label>
        <div class="row end">
          <button type="button" disabled={!key.trim()} onClick={() => void onTag(key.trim(), null)}>
            Remove this tag
          </button>
          <button type="submit" class="primary">
            Set
          </button>
        </div>
      </form>
    </Dialog>
  );
}
