/** Which metrics are shown, and in which groups. */

/** Metrics by what stands before their last slash; those without one come first. */
export function groupsOf(keys: readonly string[]): [string, string[]][] {
  const groups = new Map<string, string[]>();
  for (const key of [...keys].sort()) {
    const slash = key.lastIndexOf("/");
    const prefix = slash > 0 ? key.slice(0, slash) : "";
    const group = groups.get(prefix);
    if (group) group.push(key);
    else groups.set(prefix, [key]);
  }
  const isSystem = (prefix: string) => Number(prefix === "system" || prefix.startsWith("system/"));
  return [...groups].sort(([a], [b]) => isSystem(a) - isSystem(b) || (a < b ? -1 : 1));
}

/** A finder for metric names: a regular expression, or plain text if it is none. */
export function finder(text: string): (key: string) => boolean {
  if (text === "") return () => true;
  try {
    const pattern = new RegExp(text, "i");
    return (key) => pattern.test(key);
  } catch {
    return (key) => key.toLowerCase().includes(text.toLowerCase());
  }
}

/**
 * How many columns the groups of these sizes stand in: as many as fit, or one fewer where that
 * leaves less room empty. A group takes a column per chart, up to all of them.
 */
export function columnsFor(sizes: readonly number[], fitting: number): number {
  const all = sizes.reduce((sum, size) => sum + size, 0);
  const most = Math.max(1, Math.min(fitting, all));
  return most > 2 && emptyShare(sizes, most - 1) < emptyShare(sizes, most) - LITTLE ? most - 1 : most;
}

const LITTLE = 0.15;

/** The share of places that no chart takes. */
function emptyShare(sizes: readonly number[], columns: number): number {
  let rows = 0;
  let free = 0;
  for (const size of sizes) {
    if (size > free) {
      rows += Math.ceil(size / columns);
      free = size >= columns ? 0 : columns;
    }
    free -= Math.min(size, free);
  }
  const charts = sizes.reduce((sum, size) => sum + size, 0);
  return 1 - charts / (rows * columns);
}
