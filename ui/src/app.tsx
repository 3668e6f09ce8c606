/** The shell: what every page has around it, and which view an address names. */
import type { ComponentType } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { Offline } from "./api/client";
import { Empty, Failed, IconButton, Link, Loading } from "./components/basics";
import { Guard } from "./components/guard";
import { KeyDialog } from "./components/key-dialog";
import { Shortcuts } from "./components/shortcuts";
import { Toasts } from "./components/toasts";
import { connection } from "./state/connection";
import { decoded } from "./state/decoded";
import { path } from "./state/location";
import { nextTheme, theme } from "./state/theme";
import { RunsView } from "./views/runs/runs-view";

/**
 * A view in a file of its own. All are fetched once the first page stands, so that a server
 * that goes away takes no view with it; what failed is asked for again when it is back.
 */
function later<P extends object>(load: () => Promise<ComponentType<P>>) {
  let found: ComponentType<P> | undefined;
  const fetched = async () => {
    found ??= await load();
    return found;
  };
  addEventListener("load", () => setTimeout(() => void fetched().catch(() => {}), PREFETCH_MS));
  return function Later(props: P) {
    const [View, setView] = useState<ComponentType<P> | undefined>(() => found);
    const [error, setError] = useState<Error>();
    const wasOffline = useRef(false);
    const isOffline = connection.value === "offline";
    wasOffline.current ||= isOffline;
    useEffect(() => {
      if (View) return;
      fetched().then(
        (view) => setView(() => view),
        () => {
          // A browser remembers that a module could not be had. The address is the state, so
          // a reload loses nothing.
          if (wasOffline.current && !isOffline) location.reload();
          else setError(new Error("A part of this page is gone, as after an upgrade."));
        },
      );
    }, [isOffline]);
    if (View) return <View {...props} />;
    if (isOffline) return <Failed error={new Offline()} />;
    if (error) return <Failed error={error} retry={() => location.reload()} />;
    return <Loading />;
  };
}

const PREFETCH_MS = 1200;
const RunView = later(() => import("./views/run/run-view").then((m) => m.RunView));
const ModelView = later(() => import("./views/model").then((m) => m.ModelView));
const ExperimentsView = later(() => import("./views/experiments").then((m) => m.ExperimentsView));
const TrashView = later(() => import("./views/trash").then((m) => m.TrashView));
const ServerView = later(() => import("./views/server").then((m) => m.ServerView));

const NAVIGATION = [
  ["/", "Runs"],
  ["/experiments", "Experiments"],
  ["/trash", "Trash"],
  ["/server", "Server"],
] as const;

export function App() {
  return (
    <>
      <a class="skip-link" href="#main">
        Skip to the content
      </a>
      <header class="top-bar">
        <Link to="/" class="brand" aria-label="tracker, all runs">
          <Logo />
          <span>tracker</span>
        </Link>
        <nav aria-label="Main">
          {NAVIGATION.map(([to, name]) => (
            <Link key={to} to={to} aria-current={isCurrent(to) ? "page" : undefined}>
              {name}
            </Link>
          ))}
        </nav>
        <div class="top-right">
          <Shortcuts />
          <IconButton
            icon={theme.value === "dark" ? "moon" : theme.value === "light" ? "sun" : "system"}
            label={`Colours: ${theme.value}`}
            onClick={nextTheme}
          />
        </div>
      </header>
      {connection.value === "offline" && (
        <div class="banner" role="alert">
          <span class="spinner" aria-hidden="true" /> The server does not answer. What is shown is
          the last that was known; this page goes on by itself.
        </div>
      )}
      <main id="main" tabIndex={-1}>
        {connection.value === "locked" ? <KeyDialog /> : <Guard key={path.value}><View at={path.value} /></Guard>}
      </main>
      <Toasts />
    </>
  );
}

function isCurrent(to: string): boolean {
  return to === "/" ? path.value === "/" || /^\/(runs|models)\//.test(path.value) : path.value.startsWith(to);
}

function View({ at }: { at: string }) {
  const [, first = "", second] = at.split("/").map(decoded);
  if (first === "") return <RunsView />;
  if (first === "runs" && second) return <RunView key={second} runId={second} />;
  if (first === "experiments") {
    return <ExperimentsView experimentId={second || null} />;
  }
  if (first === "models" && second) return <ModelView key={second} modelId={second} />;
  if (first === "trash") return <TrashView />;
  if (first === "server") return <ServerView />;
  return <Nowhere />;
}

function Nowhere() {
  useEffect(() => {
    document.title = "Nothing here · tracker";
  }, []);
  return (
    <>
      <h1 class="sr-only">Nothing here</h1>
      <Empty title="There is nothing at this address">
        <p>
          <Link to="/">All runs</Link>
        </p>
      </Empty>
    </>
  );
}

function Logo() {
  return (
    <svg width="22" height="22" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="7" class="logo-back" />
      <path
        d="M5 8c5 0 4 15 10 15S20 12 27 11"
        fill="none"
        stroke="#fff"
        stroke-width="3"
        stroke-linecap="round"
      />
      <circle cx="15" cy="23" r="2.6" fill="#ffd166" />
    </svg>
  );
}
