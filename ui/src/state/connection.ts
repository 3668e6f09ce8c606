/** Whether the server answers, and the key it asks for (kept for the browser session only). */
import { signal } from "@preact/signals";

const KEY = "tracker-api-key";

export const connection = signal<"online" | "offline" | "locked">("online");
export const apiKey = signal<string | null>(sessionStorage.getItem(KEY));
/** Counts up whenever a new key was given: what failed for want of one is asked again. */
export const unlocked = signal(0);

export function giveKey(key: string) {
  sessionStorage.setItem(KEY, key);
  apiKey.value = key;
  connection.value = "online";
  unlocked.value += 1;
}

export function forgetKey() {
  sessionStorage.removeItem(KEY);
  apiKey.value = null;
  connection.value = "locked";
}
