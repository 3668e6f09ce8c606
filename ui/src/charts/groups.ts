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
