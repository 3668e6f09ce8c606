/**
 * What is in a file, shown so that nothing in it can act: text as text, pictures as pictures,
 * HTML inside a frame whose origin is its own.
 */
import { useMemo, useState } from "preact/hooks";

import { proveBytes, readArtifact, type Tree } from "../../api/artifacts";
import type { ArtifactEntry } from "../../api/types";
import { Failed, Loading, Segmented } from "../../components/basics";
import { bytes } from "../../components/format";
import { Markdown } from "../../components/markdown";
import { useResource } from "../../state/resource";
import { kindOf, type Kind } from "./file-kinds";
import { Media } from "./file-media";
import { FileTable } from "./file-table";
import { Text } from "./file-text";
import { HtmlFrame } from "./html-frame";
import { readCsv, readParquet } from "./tables";

const TEXT_BYTES = 1_000_000;
const WHOLE_BYTES = 50_000_000;
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
      return <FileTable load={() => readCsv(textOf(content))} />;
    case "parquet":
      return <FileTable load={() => readParquet(content)} />;
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
