/**
 * A colour per run, the same in the table and in every chart of a page. A run's place in the
 * palette follows from its id; among the runs drawn together the next free place is taken.
 */
import { signal } from "@preact/signals";

// Mid-tones that keep 3:1 against white and against the dark background.
export const PALETTE = [
  "#3b6fe0", "#e0682b", "#2d9a57", "#cf3f66", "#8a5bd8", "#1f93a8", "#b5871a", "#d24fb0",
  "#6b8f1f", "#5f7fae", "#c9543a", "#17a088", "#a46a3f", "#7d6ff0", "#459ad6", "#b04a8f",
  "#8c8b2a", "#e25c83", "#4f8f7b", "#9a6fb0",
] as const;

// The first ten are of ten hues; the others lie between them.
const DISTINCT = 10;

export const assigned = signal<ReadonlyMap<string, string>>(new Map());

function slotOf(runId: string): number {
  let hash = 2166136261;
  for (let i = 0; i < runId.length; i += 1) {
    hash = Math.imul(hash ^ runId.charCodeAt(i), 16777619);
  }
  return (hash >>> 0) % DISTINCT;
}

/** The free place nearest to a run's own: among the distinct ones first, then in the rest. */
function freeSlot(own: number, taken: ReadonlySet<number>): number {
  for (let i = 0; i < DISTINCT; i += 1) {
    const slot = (own + i) % DISTINCT;
    if (!taken.has(slot)) return slot;
  }
  let slot = DISTINCT + own;
  while (taken.has(slot)) slot = DISTINCT + ((slot + 1 - DISTINCT) % (PALETTE.length - DISTINCT));
  return slot;
}

/** Colours for runs that are drawn together, in the order given. */
export function colorsFor(runIds: readonly string[]): Map<string, string> {
  const colors = new Map<string, string>();
  let taken = new Set<number>();
  for (const runId of runIds) {
    if (taken.size === PALETTE.length) taken = new Set();
    const slot = freeSlot(slotOf(runId), taken);
    taken.add(slot);
    colors.set(runId, PALETTE[slot]!);
  }
  return colors;
}

export function drawTogether(runIds: readonly string[]) {
  assigned.value = colorsFor(runIds);
}

export function colorOf(runId: string): string {
  return assigned.value.get(runId) ?? PALETTE[slotOf(runId)]!;
}
