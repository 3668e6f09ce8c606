/** Short words on what was done or refused; they go by themselves, errors when dismissed. */
import { signal } from "@preact/signals";

export interface Toast {
  id: number;
  text: string;
  kind: "done" | "error";
  undo?: (() => void) | undefined;
}

export const toasts = signal<Toast[]>([]);
let lastId = 0;

export function toast(text: string, kind: Toast["kind"] = "done", undo?: () => void) {
  lastId += 1;
  const id = lastId;
  toasts.value = [...toasts.value.slice(-3), { id, text, kind, undo }];
  if (kind === "done") setTimeout(() => dismiss(id), undo ? 8000 : 4000);
}

export function dismiss(id: number) {
  toasts.value = toasts.value.filter((one) => one.id !== id);
}

/** Run a change; say what the server said when it refuses. */
export async function attempt<T>(change: Promise<T>, done?: string): Promise<T | undefined> {
  try {
    const answer = await change;
    if (done) toast(done);
    return answer;
  } catch (error) {
    toast(error instanceof Error ? error.message : String(error), "error");
    return undefined;
  }
}
