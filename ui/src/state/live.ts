/**
 * The pulse of the log. One long poll waits for the log to grow; `pulse` then counts up each
 * time the projections have come further, about once a second and only while the page is
 * seen. Views refetch what they show, so an idle server costs nothing and a busy one the same
 * as a page a second.
 */
import { signal } from "@preact/signals";

import { ApiError, Offline } from "../api/client";
import { readEvents } from "../api/events";
import { ready } from "../api/runs";
import { apiKey, connection } from "./connection";

export const pulse = signal(0);
export const head = signal(0);

const BEAT_MS = 700;
const WAIT_S = 25;
const OFFLINE_MS = 1500;

export async function follow(): Promise<never> {
  for (;;) {
    try {
      await seen();
      await keyed();
      if (connection.value === "offline") await catchUp({ isAnew: true });
      else if (head.value === 0) await begin();
      const page = await readEvents({ after: head.value, limit: 1, wait: WAIT_S });
      if (page.events.length > 0) await catchUp();
    } catch (error) {
      if (!(error instanceof Offline || error instanceof ApiError)) throw error;
      await pause(OFFLINE_MS);
    }
  }
}

let folded = 0;

/** Where the views begin: they ask right after this is sent, so they know at least as much. */
async function begin() {
  const state = await ready();
  head.value = state.head;
  folded = Math.min(state.head, ...state.projections.map((one) => one.position));
  if (folded < state.head) await catchUp();
}

/** Beat until the projections hold all that the log has; at once when all may be new. */
async function catchUp({ isAnew = false } = {}) {
  for (let isFirst = isAnew; ; isFirst = false) {
    const state = await ready();
    head.value = state.head;
    const position = Math.min(state.head, ...state.projections.map((one) => one.position));
    if (isFirst || position !== folded) {
      folded = position;
      pulse.value += 1;
      await pause(BEAT_MS);
    } else {
      await pause(BEAT_MS / 4);
    }
    if (position >= state.head || document.hidden) return;
  }
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
