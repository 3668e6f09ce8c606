/**
 * The filter: keys are offered while one types, the server checks it, and what it refuses is
 * pointed at. Nothing is applied before Enter, so that half a filter never empties the table.
 */
import { useEffect, useRef, useState } from "preact/hooks";

import { ApiError } from "../../api/client";
import { listKeys, searchRuns, type KeyKind } from "../../api/runs";
import { Icon } from "../../components/icons";
import { isTyping } from "../../components/shortcuts";
import { quoted } from "../../table/columns";
import { FIELDS, slotAt, VALUES, type Slot } from "./completion";

export function FilterBox({
  value,
  experiments,
  isDeleted,
  onChange,
}: {
  value: string;
  experiments: string[];
  isDeleted: boolean;
  onChange: (filter: string) => void;
}) {
  const [text, setText] = useState(value);
  const [offers, setOffers] = useState<string[]>([]);
  const [chosen, setChosen] = useState(-1);
  const [error, setError] = useState<ApiError | null>(null);
  const slot = useRef<Slot | null>(null);
  const input = useRef<HTMLInputElement>(null);
  const asking = useRef<AbortController | null>(null);
  const closing = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);

  useEffect(() => {
    setText(value);
    void check(value);
  }, [value]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "/" || isTyping(event)) return;
      event.preventDefault();
      input.current?.focus();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);

  async function check(filter: string): Promise<boolean> {
    if (filter.trim() === "") {
      setError(null);
      return true;
    }
    try {
      await searchRuns({ filter, experiment_ids: experiments, max_results: 1, columns: [], view: isDeleted ? "deleted_only" : "active_only" });
      setError(null);
      return true;
    } catch (refused) {
      if (!(refused instanceof ApiError) || refused.code !== "invalid_query") return true;
      setError(refused);
      return false;
    }
  }

  async function offer(now: string, cursor: number) {
    asking.current?.abort();
    const found = slotAt(now, cursor);
    slot.current = found;
    setChosen(-1);
    if (found.kind === "none") return setOffers([]);
    if (found.kind === "field") {
      return setOffers(FIELDS.filter((name) => name.startsWith(found.prefix) && name !== found.prefix).slice(0, 12));
    }
    if (found.kind === "value") {
      return setOffers((VALUES[found.field] ?? []).filter((one) => one.startsWith(found.prefix) && one !== found.prefix));
    }
    const abort = new AbortController();
    asking.current = abort;
    try {
      const kind = found.kind as KeyKind;
      const answer = await listKeys(
        kind,
        { experiment_ids: experiments.join(","), prefix: found.prefix, max_results: 12 },
        abort.signal,
      );
      if (!abort.signal.aborted) setOffers(answer.keys.map((key) => quoted(kind, key)));
    } catch {
      // No completion is no failure: the filter can be typed whole.
      if (!abort.signal.aborted) setOffers([]);
    }
  }

  function take(one: string) {
    const at = slot.current;
    const element = input.current;
    if (!at || !element) return;
    const isOpen = one.endsWith(".");
    const next = text.slice(0, at.from) + one + (isOpen ? "" : " ") + text.slice(at.to);
    const cursor = at.from + one.length + (isOpen ? 0 : 1);
    setText(next);
    setOffers([]);
    requestAnimationFrame(() => {
      element.focus();
      element.setSelectionRange(cursor, cursor);
      void offer(next, cursor);
    });
  }

  async function apply(filter: string) {
    setOffers([]);
    if (await check(filter)) onChange(filter.trim());
  }

  // Tab completes what was begun. Whoever only passes through goes on to the next control.
  const isBegun = slot.current !== null && (slot.current.kind !== "field" || slot.current.prefix !== "");
  const isCompleting = offers.length > 0 && (chosen >= 0 || isBegun);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter") {
      event.preventDefault();
      if (chosen >= 0 && offers[chosen]) take(offers[chosen]);
      else void apply(text);
    } else if (event.key === "Tab" && isCompleting && !event.shiftKey) {
      event.preventDefault();
      take(offers[Math.max(0, chosen)]!);
    } else if (event.key === "ArrowDown" && offers.length > 0) {
      event.preventDefault();
      setChosen((chosen + 1) % offers.length);
    } else if (event.key === "ArrowUp" && offers.length > 0) {
      event.preventDefault();
      setChosen((chosen - 1 + offers.length) % offers.length);
    } else if (event.key === "Escape") {
      if (offers.length > 0) setOffers([]);
      else input.current?.blur();
    }
  };

  const position = typeof error?.details.position === "number" ? error.details.position : null;
  return (
    <div class={`filter-box${error ? " invalid" : ""}`}>
      <Icon name="search" />
      <input
        ref={input}
        type="text"
        role="combobox"
        spellcheck={false}
        autocomplete="off"
        aria-label="Filter runs"
        aria-expanded={offers.length > 0}
        aria-controls="filter-offers"
        aria-autocomplete="list"
        aria-activedescendant={chosen >= 0 ? `offer-${chosen}` : undefined}
        aria-invalid={error !== null}
        aria-describedby={error ? "filter-error" : undefined}
        placeholder="Filter, such as metrics.loss < 0.5 AND params.optimizer = 'adam'"
        value={text}
        onInput={(event) => {
          setText(event.currentTarget.value);
          setError(null);
          void offer(event.currentTarget.value, event.currentTarget.selectionStart ?? 0);
        }}
        onKeyDown={onKeyDown}
        onFocus={(event) => {
          clearTimeout(closing.current);
          void offer(text, event.currentTarget.selectionStart ?? 0);
        }}
        onBlur={() => {
          closing.current = setTimeout(() => {
            asking.current?.abort();
            setOffers([]);
          }, 150);
        }}
      />
      {text !== "" && (
        <button type="button" class="icon-button" aria-label="Clear the filter" onClick={() => { setText(""); void apply(""); }}>
          <Icon name="close" size={14} />
        </button>
      )}
      {offers.length > 0 && (
        <ul class="offers" id="filter-offers" role="listbox" aria-label="Completions">
          {offers.map((one, index) => (
            <li
              key={one}
              id={`offer-${index}`}
              role="option"
              aria-selected={index === chosen}
              class={index === chosen ? "on" : ""}
              onPointerDown={(event) => {
                event.preventDefault();
                take(one);
              }}
            >
              {one}
            </li>
          ))}
        </ul>
      )}
      {error && (
        <div class="filter-error" id="filter-error" role="alert">
          {position !== null && (
            <pre aria-hidden="true">
              {text.slice(0, position - 1)}
              <mark>{text.slice(position - 1, position + 11).split(/\s/)[0] || " "}</mark>
              {text.slice(position - 1 + (text.slice(position - 1, position + 11).split(/\s/)[0] || " ").length)}
            </pre>
          )}
          <p>{error.message}</p>
        </div>
      )}
    </div>
  );
}
