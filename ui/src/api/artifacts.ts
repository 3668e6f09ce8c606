/** Files of a run: the tree, and their bytes. */
import { ask, send } from "./client";
import type { ArtifactEntry, ArtifactsPage } from "./types";

const base = (runId: string) => `/api/v1/runs/${encodeURIComponent(runId)}/artifacts`;
const inPath = (path: string) => path.split("/").map(encodeURIComponent).join("/");

/** The files and folders directly below `prefix`. */
export async function listArtifacts(
  runId: string,
  prefix: string,
  signal?: AbortSignal,
): Promise<ArtifactEntry[]> {
  const all: ArtifactEntry[] = [];
  let page_token: string | null = null;
  do {
    const page: ArtifactsPage = await ask(base(runId), {
      query: { prefix, recursive: "false", limit: 1000, page_token },
      signal,
    });
    all.push(...page.artifacts);
    page_token = page.next_page_token;
  } while (page_token);
  return all;
}

/** The bytes of a file, or only its first `bytesMax`. */
export async function readArtifact(
  runId: string,
  path: string,
  bytesMax?: number,
  signal?: AbortSignal,
): Promise<{ bytes: ArrayBuffer; isWhole: boolean }> {
  const response = await send(`${base(runId)}/${inPath(path)}`, { signal, accept: "*/*" });
  if (bytesMax === undefined || response.body === null) {
    return { bytes: await response.arrayBuffer(), isWhole: true };
  }
  return readSome(response.body, bytesMax);
}

async function readSome(body: ReadableStream<Uint8Array>, bytesMax: number) {
  const reader = body.getReader();
  const parts: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { bytes: joined(parts, size), isWhole: true };
    parts.push(value);
    size += value.length;
    if (size > bytesMax) {
      await reader.cancel();
      return { bytes: joined(parts, size).slice(0, bytesMax), isWhole: false };
    }
  }
}

function joined(parts: Uint8Array[], size: number): ArrayBuffer {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole.buffer;
}

/** Hand a file, or a folder as a zip, to the browser's downloads. */
export async function downloadArtifact(runId: string, path: string, isFolder: boolean) {
  const below = path === "" ? "" : `/${inPath(path)}`;
  const response = await send(`${base(runId)}${below}`, {
    accept: "*/*",
    query: isFolder ? { format: "zip" } : {},
  });
  const name = (path.split("/").pop() || runId) + (isFolder ? ".zip" : "");
  saveBlob(await response.blob(), name);
}

export function saveBlob(blob: Blob, name: string) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
