/** What the runs are grouped by: up to three of their attributes, params and tags. */
import { useState } from "preact/hooks";

import { listKeys } from "../../api/runs";
import { Popover } from "../../components/popover";
import { listText, setQuery } from "../../state/location";
import { labelOf } from "../../table/columns";
import type { RunsState } from "./state";

export function GroupPicker({ state }: { state: RunsState }) {
  const [params, setParams] = useState<string[]>([]);
  const [tags, setTags] = useState<string[]>([]);
  const [text, setText] = useState("");
  const load = () => {
    const query = { experiment_ids: state.experiments.join(","), max_results: 1000 };
    listKeys("params", query).then((answer) => setParams(answer.keys), () => {});
    listKeys("tags", query).then((answer) => setTags(answer.keys), () => {});
  };
  const all = [
    "status",
    "user",
    "experiment",
    ...params.map((key) => `params.${key}`),
    ...tags.filter((key) => !key.startsWith("mlflow.")).map((key) => `tags.${key}`),
  ];
  const toggle = (id: string) => {
    const next = state.groups.includes(id)
      ? state.groups.filter((one) => one !== id)
      : [...state.groups, id].slice(-3);
    setQuery({ group: listText(next), tree: null });
  };
  return (
    <div onPointerDown={load} onFocusIn={params.length + tags.length === 0 ? load : undefined}>
      <Popover
        label={state.groups.length > 0 ? `By ${state.groups.map(labelOf).join(", ")}` : "Group"}
        icon="group"
        align="right"
      >
        {() => (
          <div class="picker">
            <input
              type="search"
              placeholder="Group by"
              aria-label="Group by"
              value={text}
              onInput={(event) => setText(event.currentTarget.value)}
            />
            <ul class="picker-list">
              {all
                .filter((id) => id.toLowerCase().includes(text.toLowerCase()))
                .slice(0, 200)
                .map((id) => (
                  <li key={id}>
                    <label>
                      <input
                        type="checkbox"
                        checked={state.groups.includes(id)}
                        onChange={() => toggle(id)}
                      />
                      <span class="ellipsis">{id}</span>
                    </label>
                  </li>
                ))}
            </ul>
          </div>
        )}
      </Popover>
    </div>
  );
}
