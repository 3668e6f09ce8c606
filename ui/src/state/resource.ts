/**
 * What a view has asked for: loading, an answer, or what went wrong. While a new question is
 * under way the last answer stays, so nothing jumps; after an outage it is asked again.
 */
import { useEffect, useRef, useState } from "preact/hooks";

import { isAbort } from "../api/client";
import { connection, unlocked } from "./connection";
import { pulse } from "./live";

const SLOW_BEATS = 10;

export interface Resource<T> {
  data: T | undefined;
  error: Error | undefined;
  isLoading: boolean;
  reload: () => void;
  /** Put a newer answer in place, such as that of a change. */
  set: (data: T) => void;
}

export function useResource<T>(
  load: (signal: AbortSignal) => Promise<T>,
  /** What the question depends on; another value asks again and forgets the old answer if
   * `key` (its first item) changed. */
  depends: readonly unknown[],
  /** "slow": with every tenth beat, for what changes seldom and costs more. */
  { isLive = false }: { isLive?: boolean | "slow" } = {},
): Resource<T> {
  const [state, setState] = useState<{
    data: T | undefined;
    error: Error | undefined;
    isLoading: boolean;
  }>({ data: undefined, error: undefined, isLoading: true });
  const [asked, setAsked] = useState(0);
  const lastKey = useRef(depends[0]);
  const beat = !isLive ? 0 : isLive === "slow" ? Math.floor(pulse.value / SLOW_BEATS) : pulse.value;
  const again = useRef<unknown>(null);

  useEffect(() => {
    const abort = new AbortController();
    const isOther = lastKey.current !== depends[0];
    lastKey.current = depends[0];
    again.current = abort;
    setState((old) => ({
      data: isOther ? undefined : old.data,
      error: isOther ? undefined : old.error,
      isLoading: true,
    }));
    load(abort.signal).then(
      (data) => {
        if (again.current === abort) setState({ data, error: undefined, isLoading: false });
      },
      (error: Error) => {
        if (isAbort(error) || again.current !== abort) return;
        setState((old) => ({ data: old.data, error, isLoading: false }));
      },
    );
    return () => abort.abort();
  }, [...depends, asked, unlocked.value]);

  // A beat while the last one's question is still under way is skipped, not queued.
  const busy = useRef(false);
  const alive = useRef(true);
  useEffect(
    () => () => {
      alive.current = false;
    },
    [],
  );
  useEffect(() => {
    if (beat === 0 || busy.current) return;
    busy.current = true;
    const owner = again.current;
    const isCurrent = () => alive.current && again.current === owner;
    load(new AbortController().signal)
      .then(
        (data) => {
          if (isCurrent()) setState({ data, error: undefined, isLoading: false });
        },
        (error: Error) => {
          if (isCurrent() && connection.value === "online") setState((old) => ({ ...old, error }));
        },
      )
      .finally(() => {
        busy.current = false;
      });
  }, [beat]);

  return {
    ...state,
    reload: () => setAsked((count) => count + 1),
    set: (data) => setState({ data, error: undefined, isLoading: false }),
  };
}
