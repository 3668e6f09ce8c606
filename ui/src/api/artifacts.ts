/** Files of a run or of a logged model: the tree, and their bytes. */
import { apiKey } from "../state/connection";
import { ApiError, ask, isAbort, pathOf, send } from "./client";
import type { ArtifactEntry, ArtifactsPage } from "./types";

/** Whose files: the address of the tree, and what a download of all of it is called. */
export interface Tree {
  base: string;
  name: string;
}

export const ofRun = (runId: string): Tree => treeOf("runs", runId);
export const ofModel = (modelId: string): Tree => treeOf("models", modelId);

function treeOf(kind: "runs" | "models", id: string): Tree {
  return { base: `/api/v1/${kind}/${encodeURIComponent(id)}/artifacts`, name: id };
}

const inPath = (path: string) => path.split("/").map(encodeURIComponent).join("/");

/** The files and folders directly below `prefix`. */
export async function listArtifacts(
  tree: Tree,
  prefix: string,
  signal?: AbortSignal,
): Promise<ArtifactEntry[]> {
  const all: ArtifactEntry[] = [];
  let page_token: string | null = null;
  do {
    const page: ArtifactsPage = await ask(tree.base, {
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
  tree: Tree,
  path: string,
  bytesMax?: number,
  signal?: AbortSignal,
): Promise<{ bytes: ArrayBuffer; isWhole: boolean }> {
  const response = await send(`${tree.base}/${inPath(path)}`, { signal, accept: "*/*" });
  try {
    if (bytesMax === undefined || response.body === null) {
      return { bytes: await response.arrayBuffer(), isWhole: true };
    }
    return await readSome(response.body, bytesMax);
  } catch (error) {
    if (isAbort(error)) throw error;
    // The server checks what it sends, and breaks off when the bytes are not those logged.
    throw new ApiError(0, "corrupt_artifact", "The file broke off on its way.");
  }
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

/**
 * Raise when whole bytes are not those that were logged. Browsers hash only on pages that
 * came over HTTPS or from this machine; elsewhere the bytes pass unproven.
 */
export async function proveBytes(bytes: ArrayBuffer, digest: string) {
  if (!crypto.subtle) return;
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const found = [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found === digest) return;
  throw new ApiError(
    0,
    "corrupt_artifact",
    `The bytes in the store are not those that were logged: their SHA-256 is ${found.slice(0, 12)}…, not ${digest.slice(0, 12)}….`,
  );
}

/** Hand a file, or a folder as a zip, to the browser's downloads. */
export async function downloadArtifact(tree: Tree, path: string, isFolder: boolean) {
  const from = `${tree.base}${path === "" ? "" : `/${inPath(path)}`}`;
  const query: Record<string, string> = isFolder ? { format: "zip" } : {};
  const name = (path.split("/").pop() || tree.name) + (isFolder ? ".zip" : "");
  if (apiKey.value === null) saveFrom(pathOf(from, query), name);
  // A link cannot carry the key, so the bytes go through memory.
  else saveBlob(await (await send(from, { accept: "*/*", query })).blob(), name);
}

function saveFrom(url: string, name: string) {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}

export function saveBlob(blob: Blob, name: string) {
  const url = URL.createObjectURL(blob);
  saveFrom(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
