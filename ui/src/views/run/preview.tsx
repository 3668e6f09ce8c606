/**
 * What is in a file, shown so that nothing in it can act: text as text, pictures as pictures,
 * HTML inside a frame whose origin is its own.
 */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { proveBytes, readArtifact, type Tree } from "../../api/artifacts";
import type { ArtifactEntry } from "../../api/types";
import { Failed, Loading, Segmented } from "../../components/basics";
import { bytes, whole } from "../../components/format";
import { Markdown } from "../../components/markdown";
import { useResource } from "../../state/resource";
import { readCsv, readParquet, type DataTable } from "./tables";

type Kind = "text" | "json" | "csv" | "parquet" | "image" | "audio" | "video" | "pdf" | "html" | "markdown" | "other";

const BY_EXTENSION: Record<string, Kind> = {
  txt: "text", log: "text", py: "text", yaml: "text", yml: "text", toml: "text", cfg: "text",
  ini: "text", sh: "text", js: "text", ts: "text", css: "text", xml: "text", sql: "text",
  r: "text", c: "text", cpp: "text", h: "text", rs: "text", go: "text", java: "text",
  diff: "text", patch: "text", env: "text", dockerfile: "text", MLmodel: "text", rst: "text",
  json: "json", jsonl: "text", ndjson: "text", geojson: "json", ipynb: "json", md: "markdown",
  csv: "csv", tsv: "csv", parquet: "parquet", pq: "parquet",
  png: "image", jpg: "image", jpeg: "image", gif: "image", webp: "image", bmp: "image",
  svg: "image", avif: "image", ico: "image",
  wav: "audio", mp3: "audio", ogg: "audio", flac: "audio", m4a: "audio",
  mp4: "video", webm: "video", mov: "video", pdf: "pdf", html: "html", htm: "html",
};

export function kindOf(path: string, mediaType: string | null): Kind {
  const name = path.split("/").pop() ?? path;
  const extension = name.includes(".") ? name.slice(name.lastIndexOf(".") + 1) : name;
  const known = BY_EXTENSION[extension] ?? BY_EXTENSION[extension.toLowerCase()];
  if (known) return known;
  if (mediaType === null) return "other";
  if (mediaType === "application/json") return "json";
  if (mediaType === "text/html") return "html";
  if (mediaType === "application/pdf") return "pdf";
  if (mediaType.startsWith("text/")) return "text";
  for (const kind of ["image", "audio", "video"] as const) if (mediaType.startsWith(`${kind}/`)) return kind;
  return "other";
}

const TEXT_BYTES = 1_000_000;
const WHOLE_BYTES = 50_000_000;
const IMAGE_TYPES: Record<string, string> = {
  svg: "image/svg+xml", jpg: "image/jpeg", jpeg: "image/jpeg", png: "image/png", gif: "image/gif",
  webp: "image/webp", avif: "image/avif", bmp: "image/bmp", ico: "image/x-icon",
};

export function Preview({ tree, entry }: { tree: Tree; entry: ArtifactEntry }) {
  const kind = kindOf(entry.path, entry.media_type);
  const [isForced, setForced] = useState(false);
  if (entry.uri) {
    return (
      <p>
        This file is not kept here; the run refers to <code>{entry.uri}</code>.
      </p>
    );
  }
  const limit = kind === "text" || kind === "json" || kind === "markdown" || kind === "csv" ? null : WHOLE_BYTES;
  if (kind === "other" && !isForced) {
    return (
      <p>
        There is no preview for this kind of file.{" "}
        <button type="button" onClick={() => setForced(true)}>
          Show it as text
        </button>
      </p>
    );
  }
  if (limit !== null && entry.size !== null && entry.size > limit && !isForced) {
    return (
      <p>
        It has {bytes(entry.size)}.{" "}
        <button type="button" onClick={() => setForced(true)}>
          Load it all the same
        </button>
      </p>
    );
  }
  return <Loaded tree={tree} entry={entry} kind={kind === "other" ? "text" : kind} />;
}

function Loaded({ tree, entry, kind }: { tree: Tree; entry: ArtifactEntry; kind: Kind }) {
  const isText = kind === "text" || kind === "json" || kind === "markdown" || kind === "csv";
  const resource = useResource(
    async (signal) => {
      const read = await readArtifact(tree, entry.path, isText ? TEXT_BYTES : undefined, signal);
      if (read.isWhole && entry.digest) await proveBytes(read.bytes, entry.digest);
      return read;
    },
    [`${tree.base}/${entry.path}/${entry.digest}`],
  );
  if (resource.error && !resource.data) return <Failed error={resource.error} retry={resource.reload} />;
  if (!resource.data) return <Loading what="Reading the file" />;
  const { bytes: content, isWhole } = resource.data;
  return (
    <>
      {!isWhole && (
        <p class="note">
          This is the beginning, {bytes(TEXT_BYTES)}
          {entry.size !== null && ` of ${bytes(entry.size)}`}. Download it to see all.
        </p>
      )}
      <Shown kind={kind} content={content} path={entry.path} isWhole={isWhole} />
    </>
  );
}

function Shown({ kind, content, path, isWhole }: { kind: Kind; content: ArrayBuffer; path: string; isWhole: boolean }) {
  switch (kind) {
    case "json":
      return <Json content={content} isWhole={isWhole} />;
    case "csv":
      return <TableOf load={() => readCsv(textOf(content))} />;
    case "parquet":
      return <TableOf load={() => readParquet(content)} />;
    case "markdown":
      return <MarkdownFile text={textOf(content)} />;
    case "image":
    case "audio":
    case "video":
    case "pdf":
      return <Media kind={kind} content={content} path={path} />;
    case "html":
      return <HtmlFrame text={textOf(content)} />;
    default:
      return <Text text={textOf(content)} />;
  }
}

function textOf(content: ArrayBuffer): string {
  return new TextDecoder("utf-8", { fatal: false }).decode(content);
}

function Text({ text }: { text: string }) {
  const lines = useMemo(() => text.split("\n").length, [text]);
  return (
    <>
      <p class="faint">{whole(lines)} lines</p>
      <pre class="file-text" tabIndex={0}>
        {text}
      </pre>
    </>
  );
}

function Json({ content, isWhole }: { content: ArrayBuffer; isWhole: boolean }) {
  const text = useMemo(() => {
    const raw = textOf(content);
    if (!isWhole) return raw;
    try {
      return JSON.stringify(JSON.parse(raw), null, 2);
    } catch {
      return raw; // not quite JSON, as with NaN in it: shown as it is
    }
  }, [content]);
  return <Text text={text} />;
}

function MarkdownFile({ text }: { text: string }) {
  const [form, setForm] = useState<"page" | "text">("page");
  return (
    <>
      <Segmented label="Form" value={form} options={[["page", "Page"], ["text", "Text"]]} onChange={setForm} />
      {form === "page" ? <Markdown text={text} /> : <Text text={text} />}
    </>
  );
}

function Media({ kind, content, path }: { kind: "image" | "audio" | "video" | "pdf"; content: ArrayBuffer; path: string }) {
  const [isBroken, setBroken] = useState(false);
  const extension = path.slice(path.lastIndexOf(".") + 1).toLowerCase();
  const url = useMemo(() => {
    const type =
      kind === "pdf" ? "application/pdf" : kind === "image" ? (IMAGE_TYPES[extension] ?? "image/png") : "";
    return URL.createObjectURL(new Blob([content], { type }));
  }, [content, kind]);
  useEffect(() => () => URL.revokeObjectURL(url), [url]);
  if (isBroken) {
    return (
      <p class="note warning" role="alert">
        These bytes are no {kind} the browser can show; they are exactly what was logged. Download the file
        to look into it.
      </p>
    );
  }
  const broken = () => setBroken(true);
  if (kind === "image") return <img class="media" src={url} alt={path} onError={broken} />;
  if (kind === "audio") return <audio class="media" controls src={url} onError={broken} />;
  if (kind === "video") return <video class="media" controls src={url} onError={broken} />;
  return <iframe class="frame" src={url} title={path} />;
}

/** The frame's page has a policy of its own: scripts may run there, and reach nothing. */
function HtmlFrame({ text }: { text: string }) {
  const [form, setForm] = useState<"page" | "text">("page");
  const frame = useRef<HTMLIFrameElement>(null);
  useEffect(() => {
    if (form !== "page") return;
    const onReady = (event: MessageEvent) => {
      if (event.source === frame.current?.contentWindow && event.data === "ready") {
        frame.current?.contentWindow?.postMessage(text, "*");
      }
    };
    addEventListener("message", onReady);
    return () => removeEventListener("message", onReady);
  }, [text, form]);
  return (
    <>
      <Segmented label="Form" value={form} options={[["page", "Page"], ["text", "Source"]]} onChange={setForm} />
      {form === "page" ? (
        <iframe
          ref={frame}
          class="frame"
          title="HTML artifact, in a sandbox"
          sandbox="allow-scripts"
          referrerpolicy="no-referrer"
          src={new URL(/* @vite-ignore */ "./frame.html", import.meta.url).href}
        />
      ) : (
        <Text text={text} />
      )}
    </>
  );
}

const ROWS_SHOWN = 500;
const COLUMNS_SHOWN = 100;

function TableOf({ load }: { load: () => DataTable | Promise<DataTable> }) {
  const resource = useResource(async () => load(), []);
  if (resource.error) {
    return (
      <p class="note warning" role="alert">
        It cannot be read as a table: {resource.error.message}. Download the file to look into it.
      </p>
    );
  }
  if (!resource.data) return <Loading what="Reading the table" />;
  const { columns, rows, total } = resource.data;
  const shown = columns.slice(0, COLUMNS_SHOWN);
  return (
    <>
      <p class="faint">
        {total === null ? `${whole(rows.length)} rows` : `${whole(total)} rows`}, {whole(columns.length)} columns
        {rows.length > ROWS_SHOWN || (total ?? 0) > rows.length ? ` · the first ${Math.min(ROWS_SHOWN, rows.length)} rows` : ""}
        {columns.length > COLUMNS_SHOWN && ` · the first ${COLUMNS_SHOWN} columns`}
      </p>
      <div class="scroll-box" tabIndex={0} role="region" aria-label="Table">
        <table class="plain-table">
          <thead>
            <tr>
              {shown.map((name, index) => (
                <th key={index} scope="col">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, ROWS_SHOWN).map((row, index) => (
              <tr key={index}>
                {shown.map((_, column) => (
                  <td key={column} class={typeof row[column] === "number" ? "numeric" : ""}>
                    {cell(row[column])}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "string") return value.slice(0, 300);
  if (typeof value === "bigint" || typeof value === "number" || typeof value === "boolean") return String(value);
  if (value instanceof Date) return value.toISOString();
  return JSON.stringify(value, (_, one: unknown) => (typeof one === "bigint" ? String(one) : one)).slice(0, 300);
}
