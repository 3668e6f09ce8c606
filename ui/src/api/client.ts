/**
 * One door to the server: the key, refusals as errors that say what to change, retries of
 * reads, and the word on whether the server is there. Writes are never sent twice.
 */
import { apiKey, connection, forgetKey } from "../state/connection";

const RETRY_STATUSES = new Set([408, 429, 502, 503, 504]);
const READ_TRIES = 3;

/** A refusal: `code` for programs, `message` for people, `details` with the facts. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly details: Record<string, unknown> = {},
  ) {
    super(message);
  }
}

/** Nobody answered. Views show it and go on by themselves once the server is back. */
export class Offline extends Error {
  constructor() {
    super("The server does not answer.");
  }
}

export interface Asked {
  method?: "GET" | "POST" | "PATCH" | "DELETE" | "PUT";
  query?: Record<string, string | number | null | undefined>;
  body?: unknown;
  signal?: AbortSignal | undefined;
  accept?: string;
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

export function pathOf(path: string, query: Asked["query"] = {}): string {
  const given = Object.entries(query).filter(([, value]) => value != null && value !== "");
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  return search.size > 0 ? `${path}?${search}` : path;
}

/** A JSON answer. POSTs to `/search` and `/query` only read, and are repeated like reads. */
export async function ask<T>(path: string, asked: Asked = {}): Promise<T> {
  const response = await send(path, asked);
  return (await response.json()) as T;
}

export async function send(path: string, asked: Asked = {}): Promise<Response> {
  const isRead = !asked.method || asked.method === "GET" || /\/(search|query|groups)$/.test(path);
  for (let tried = 1; ; tried += 1) {
    try {
      return await once(path, asked);
    } catch (error) {
      const mayRetry =
        error instanceof Offline || (error instanceof ApiError && RETRY_STATUSES.has(error.status));
      if (!isRead || !mayRetry || tried >= READ_TRIES) throw error;
      await pause(150 * 2 ** tried, asked.signal);
    }
  }
}

async function once(path: string, asked: Asked): Promise<Response> {
  const headers: Record<string, string> = { Accept: asked.accept ?? "application/json" };
  if (asked.body !== undefined) headers["Content-Type"] = "application/json";
  const key = apiKey.value;
  if (key) headers.Authorization = `Bearer ${key}`;
  let response: Response;
  try {
    response = await fetch(pathOf(path, asked.query), {
      method: asked.method ?? "GET",
      headers,
      body: asked.body === undefined ? null : JSON.stringify(asked.body),
      signal: asked.signal ?? null,
      credentials: "omit",
    });
  } catch (error) {
    if (isAbort(error)) throw error;
    connection.value = "offline";
    throw new Offline();
  }
  if (response.ok) {
    if (connection.value !== "online") connection.value = "online";
    return response;
  }
  const refusal = await refusalOf(response);
  if (refusal.status === 401) forgetKey();
  else if (connection.value === "offline") connection.value = "online";
  throw refusal;
}

async function refusalOf(response: Response): Promise<ApiError> {
  try {
    const { error } = (await response.json()) as {
      error: { code: string; message: string; details?: Record<string, unknown> };
    };
    return new ApiError(response.status, error.code, error.message, error.details);
  } catch {
    return new ApiError(response.status, "unreadable", `The server answered ${response.status}.`);
  }
}

function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("aborted", "AbortError"));
    });
  });
}
