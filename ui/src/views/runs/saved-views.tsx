/** Names for addresses, kept on this machine; the address itself is what one shares. */
import { useState } from "preact/hooks";

import { IconButton } from "../../components/basics";
import { Popover } from "../../components/popover";
import { copy } from "../../state/clipboard";
import { go } from "../../state/location";

const KEY = "tracker-views";
type Saved = { name: string; to: string };

function load(): Saved[] {
  try {
    const saved: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    if (!Array.isArray(saved)) return [];
    return saved.filter(
      (one): one is Saved =>
        typeof one?.name === "string" && typeof one?.to === "string" && one.to.startsWith("/") && !one.to.startsWith("//"),
    );
  } catch {
    return [];
  }
}

const LINK_COPIED = "The link reproduces what you see; it is on the clipboard.";

export function SavedViews() {
  const [views, setViews] = useState(load);
  const [name, setName] = useState("");
  const keep = (next: Saved[]) => {
    localStorage.setItem(KEY, JSON.stringify(next));
    setViews(next);
  };
  return (
    <Popover label="Views" icon="link">
      {(close) => (
        <div class="picker">
          <button type="button" onClick={() => void copy(location.href, LINK_COPIED).then(close)}>
            Copy a link to this view
          </button>
          <form
            class="row"
            onSubmit={(event) => {
              event.preventDefault();
              if (!name.trim()) return;
              const to = location.pathname + location.search;
              keep([...views.filter((one) => one.name !== name.trim()), { name: name.trim(), to }]);
              setName("");
            }}
          >
            <input
              placeholder="Name of this view"
              aria-label="Name of this view"
              value={name}
              onInput={(event) => setName(event.currentTarget.value)}
            />
            <button type="submit">Save</button>
          </form>
          <ul class="picker-list">
            {views.map((one) => (
              <li key={one.name}>
                <button
                  type="button"
                  onClick={() => {
                    go(one.to);
                    close();
                  }}
                >
                  {one.name}
                </button>
                <IconButton
                  icon="close"
                  label={`Forget ${one.name}`}
                  size={13}
                  onClick={() => keep(views.filter((other) => other !== one))}
                />
              </li>
            ))}
          </ul>
        </div>
      )}
    </Popover>
  );
}
