/**
 * The pulse of the log. One long poll waits for the log to grow; `pulse` then counts up, at
 * most once a second and only while the page is seen. Views refetch what they show, so an
 * idle server costs nothing and a busy one the same as a page a second.
 */
import { signal } from "@preact/signals";

import { ApiError, Offline } from "../api/client";
import { readEvents } from "../api/events";
import { ready } from "../api/runs";
import { apiKey, connection } from "./connection";

export const pulse = signal(0);
export const head = signal(0);

const BEAT_MS = 1000;
const WAIT_S = 25;
const OFFLINE_MS = 1500;

export async function follow(): Promise<never> {
  for (;;) {
    try {
      await seen();
      await keyed();
      if (head.value === 0 || connection.value === "offline") await start();
      const page = await readEvents({ after: head.value, limit: 1, wait: WAIT_S });
      if (page.events.length > 0) {
        head.value = (await ready()).head;
        pulse.value += 1;
        await pause(BEAT_MS);
      }
    } catch (error) {
      if (!(error instanceof Offline || error instanceof ApiError)) throw error;
      await pause(OFFLINE_MS);
    }
  }
}

/** The first look, and the first one after the server was away: all views ask again. */
async function start() {
  head.value = (await ready()).head;
  pulse.value += 1;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function keyed() {
  while (connection.value === "locked" && apiKey.value === null) await pause(300);
}

async function seen() {
  while (document.hidden) {
    await new Promise((resolve) =>
      document.addEventListener("visibilitychange", resolve, { once: true }),
    );
  }
}
