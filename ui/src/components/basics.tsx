/** Links, buttons, times and the states every view has: loading, empty, failed. */
import type { AnchorHTMLAttributes, ComponentChildren } from "preact";

import { ApiError, Offline } from "../api/client";
import { go } from "../state/location";
import { exact, when } from "./format";
import { Icon, type IconName } from "./icons";

export function Link({
  to,
  children,
  ...rest
}: { to: string; children: ComponentChildren; role?: "tab" } & Omit<
  AnchorHTMLAttributes<HTMLAnchorElement>,
  "role" | "href"
>) {
  return (
    <a
      {...(rest as object)}
      href={to}
      onClick={(event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
        event.preventDefault();
        go(to);
      }}
    >
      {children}
    </a>
  );
}

/** A button that is only a picture: `label` is its accessible name and its tooltip. */
export function IconButton({
  icon,
  label,
  onClick,
  isOn,
  disabled,
  size = 16,
}: {
  icon: IconName;
  label: string;
  onClick: (event: MouseEvent) => void;
  isOn?: boolean;
  disabled?: boolean;
  size?: number;
}) {
  return (
    <button
      type="button"
      class={`icon-button${isOn ? " on" : ""}`}
      aria-label={label}
      title={label}
      aria-pressed={isOn}
      disabled={disabled}
      onClick={onClick}
    >
      <Icon name={icon} size={size} />
    </button>
  );
}

export function Time({ us }: { us: number | null }) {
  if (us === null) return <span class="faint">–</span>;
  return (
    <time dateTime={new Date(us / 1000).toISOString()} title={exact(us)}>
      {when(us)}
    </time>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="state-view" role="status">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Loading({ what = "Loading" }: { what?: string }) {
  return (
    <div class="state-view quiet" role="status" aria-live="polite">
      <span class="spinner" aria-hidden="true" />
      {what} …
    </div>
  );
}

const WHAT_TO_DO: Record<string, string> = {
  run_not_found: "Check the address, or look for the run in the table; runs that were never synced are still in a spool (tracker spool).",
  model_not_found: "Check the address, or look for the model on the page of the run that logged it.",
  experiment_not_found: "Check the address, or pick one from the list of experiments.",
  unauthorized: "Give the server's API key.",
  run_deleted: "Restore it from the trash first.",
  corrupt_artifact:
    "Log the file again, or restore the artifact store from a backup.",
  artifact_lost:
    "The tree names a file whose bytes are not in the store. Log it again, or restore the store from a backup.",
  store_unavailable: "The server runs but its store does not answer; its log says why.",
};

export function Failed({ error, retry }: { error: Error; retry?: () => void }) {
  const isOffline = error instanceof Offline;
  const hint = error instanceof ApiError ? WHAT_TO_DO[error.code] : undefined;
  return (
    <div class="state-view failed" role="alert">
      <h2>{isOffline ? "The server does not answer" : "That did not work"}</h2>
      <p>{isOffline ? "This page goes on by itself as soon as it does." : error.message}</p>
      {hint && <p class="faint">{hint}</p>}
      {error instanceof ApiError && <p class="faint mono">{[error.code, error.status || null].filter(Boolean).join(" · ")}</p>}
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

export function Segmented<T extends string>({
  label,
  value,
  options,
  onChange,
}: {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
}) {
  return (
    <div class="segmented" role="radiogroup" aria-label={label}>
      {options.map(([name, text]) => (
        <button
          key={name}
          type="button"
          role="radio"
          aria-checked={name === value}
          class={name === value ? "on" : ""}
          onClick={() => onChange(name)}
        >
          {text}
        </button>
      ))}
    </div>
  );
}
