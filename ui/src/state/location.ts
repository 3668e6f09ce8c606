/**
 * The address is the state: what one sees is in its path and query, so a link reproduces it.
 */
import { computed, signal } from "@preact/signals";

import { fromMlflowLink } from "./mlflow-links";

function read() {
  const meant = fromMlflowLink(location.hash);
  if (meant !== null) history.replaceState(null, "", meant);
  return { path: location.pathname, query: new URLSearchParams(location.search) };
}

export const address = signal(read());
export const path = computed(() => address.value.path);
export const query = computed(() => address.value.query);

for (const change of ["popstate", "hashchange"]) {
  addEventListener(change, () => {
    address.value = read();
  });
}

export function go(to: string, { replace = false } = {}) {
  if (to === location.pathname + location.search) return;
  if (replace) history.replaceState(null, "", to);
  else history.pushState(null, "", to);
  const moved = address.value.path !== location.pathname;
  address.value = read();
  if (moved && !replace) scrollTo(0, 0);
}

export type Changes = Record<string, string | number | boolean | null | undefined>;

/** The address with some of its query changed; null, "" and false take a name out. */
export function withQuery(changes: Changes, to: string = location.pathname): string {
  const next = new URLSearchParams(to === location.pathname ? location.search : "");
  for (const [name, value] of Object.entries(changes)) {
    if (value == null || value === "" || value === false) next.delete(name);
    else next.set(name, value === true ? "1" : String(value));
  }
  // Commas and colons separate lists here and are legal in a query: keep links readable.
  const text = next.toString().replaceAll("%2C", ",").replaceAll("%3A", ":").replaceAll("%2F", "/");
  return text ? `${to}?${text}` : to;
}

/** Change the query in place; typing and dragging replace, choices push. */
export function setQuery(changes: Changes, { replace = true } = {}) {
  go(withQuery(changes), { replace });
}

export function queryList(name: string): string[] {
  const text = query.value.get(name);
  return text ? text.split(",").map(decodeItem) : [];
}

/** Items of lists in the query: a comma inside an item is written %2C once more. */
export function listText(items: readonly string[]): string {
  return items.map((item) => item.replaceAll("%", "%25").replaceAll(",", "%2C")).join(",");
}

function decodeItem(item: string): string {
  return item.replaceAll(/%2C/gi, ",").replaceAll("%25", "%");
}
