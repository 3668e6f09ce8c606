import { useState } from "preact/hooks";

import type { Experiment } from "../../api/types";
import { whole } from "../../components/format";
import { Popover } from "../../components/popover";
import { listText, setQuery } from "../../state/location";

/** Which experiments' runs are searched; none chosen means all. */
export function ExperimentPicker({
  experiments,
  chosen,
}: {
  experiments: Experiment[] | undefined;
  chosen: string[];
}) {
  const [text, setText] = useState("");
  const named = (id: string) => experiments?.find((one) => one.experiment_id === id)?.name ?? id;
  const label =
    chosen.length === 0
      ? "All experiments"
      : chosen.length === 1
        ? named(chosen[0]!)
        : `${chosen.length} experiments`;
  const choose = (ids: string[]) => setQuery({ exp: listText(ids), cols: null }, { replace: false });
  const found = (experiments ?? []).filter((one) =>
    one.name.toLowerCase().includes(text.toLowerCase()),
  );
  return (
    <Popover label={label} icon="folder">
      {(close) => (
        <div class="picker">
          <input
            type="search"
            placeholder="Search experiments"
            aria-label="Search experiments"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
          <ul class="picker-list">
            <li>
              <button
                type="button"
                class={chosen.length === 0 ? "on" : ""}
                onClick={() => {
                  choose([]);
                  close();
                }}
              >
                All experiments
              </button>
            </li>
            {found.slice(0, 300).map((one) => (
              <li key={one.experiment_id}>
                <input
                  type="checkbox"
                  aria-label={`Add ${one.name}`}
                  checked={chosen.includes(one.experiment_id)}
                  onChange={(event) =>
                    choose(
                      event.currentTarget.checked
                        ? [...chosen, one.experiment_id]
                        : chosen.filter((id) => id !== one.experiment_id),
                    )
                  }
                />
                <button
                  type="button"
                  onClick={() => {
                    choose([one.experiment_id]);
                    close();
                  }}
                >
                  <span class="ellipsis">{one.name}</span>
                  <span class="faint">{whole(one.run_count)}</span>
                </button>
              </li>
            ))}
          </ul>
          {found.length > 300 && <p class="faint">{found.length - 300} more: search for them.</p>}
        </div>
      )}
    </Popover>
  );
}
