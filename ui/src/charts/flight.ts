/**
 * One question under way at a time. Another question takes its place; the same one asked again
 * for news waits for the answer, or answers that take longer than a beat would never arrive.
 */
import { useEffect, useRef, useState } from "preact/hooks";

import { isAbort } from "../api/client";

export interface Flight {
  /** Counts up when an answer is there: what has become news meanwhile is asked for now. */
  landed: number;
  begin: (
    question: string,
    ask: (signal: AbortSignal) => Promise<void>,
    onError: (error: Error) => void,
  ) => void;
}

export function useFlight(): Flight {
  const current = useRef<{ question: string; abort: AbortController } | null>(null);
  const [landed, setLanded] = useState(0);
  useEffect(() => () => current.current?.abort.abort(), []);
  const begin: Flight["begin"] = (question, ask, onError) => {
    if (current.current?.question === question) return;
    current.current?.abort.abort();
    const mine = { question, abort: new AbortController() };
    current.current = mine;
    ask(mine.abort.signal).then(
      () => {
        if (current.current !== mine) return;
        current.current = null;
        setLanded((count) => count + 1);
      },
      (error: Error) => {
        if (current.current === mine) current.current = null;
        if (!isAbort(error)) onError(error);
      },
    );
  };
  return { landed, begin };
}
