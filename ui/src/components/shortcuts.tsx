/** The keys that work everywhere, and the list of them. */
import { useEffect, useState } from "preact/hooks";

import { go } from "../state/location";
import { nextTheme } from "../state/theme";
import { Dialog } from "./dialog";

const KEYS: readonly (readonly [string, string])[] = [
  ["/", "Filter the runs"],
  ["g r", "Runs"],
  ["g e", "Experiments"],
  ["g s", "Server"],
  ["↑ ↓", "Move in the table"],
  ["Enter", "Open the run"],
  ["Space", "Select the run; with Shift all up to it"],
  ["t c", "Table, charts"],
  ["d", "Light, dark, system"],
  ["Esc", "Close what is open"],
  ["?", "This list"],
];

export function isTyping(event: KeyboardEvent): boolean {
  const target = event.target as HTMLElement;
  return target.matches("input, textarea, select, [contenteditable]") || event.ctrlKey || event.metaKey || event.altKey;
}

export function Shortcuts() {
  const [isOpen, setOpen] = useState(false);
  useEffect(() => {
    let before = "";
    const onKey = (event: KeyboardEvent) => {
      if (isTyping(event)) return;
      const keys = before + event.key;
      before = event.key === "g" ? "g" : "";
      if (keys === "gr") go("/");
      else if (keys === "ge") go("/experiments");
      else if (keys === "gs") go("/server");
      else if (event.key === "?") setOpen(true);
      else if (event.key === "d") nextTheme();
      else return;
      event.preventDefault();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
  return (
    <>
      <button type="button" class="icon-button" aria-label="Keys" title="Keys (?)" onClick={() => setOpen(true)}>
        ?
      </button>
      {isOpen && (
        <Dialog title="Keys" onClose={() => setOpen(false)}>
          <dl class="keys">
            {KEYS.map(([key, meaning]) => (
              <div key={key}>
                <dt>
                  <kbd>{key}</kbd>
                </dt>
                <dd>{meaning}</dd>
              </div>
            ))}
          </dl>
        </Dialog>
      )}
    </>
  );
}
