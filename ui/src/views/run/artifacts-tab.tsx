/** The files of a run or a model: a tree on the left, what is in one of them on the right. */
import { useState } from "preact/hooks";

import { downloadArtifact, listArtifacts, type Tree } from "../../api/artifacts";
import type { ArtifactEntry } from "../../api/types";
import { Empty, Failed, IconButton, Loading } from "../../components/basics";
import { bytes, exact, many, whole } from "../../components/format";
import { Icon } from "../../components/icons";
import { query, setQuery } from "../../state/location";
import { useResource } from "../../state/resource";
import { attempt } from "../../state/toasts";
import { Preview } from "./preview";

export function ArtifactsTab({ tree }: { tree: Tree }) {
  const root = useResource((signal) => listArtifacts(tree, "", signal), [tree.base], { isLive: true });
  // Something is on screen at once: the first file, until one is chosen.
  const chosen = query.value.get("file") ?? root.data?.find((one) => !one.is_folder)?.path ?? null;
  const [entry, setEntry] = useState<ArtifactEntry | null>(null);
  // A file named by a link is looked up in its folder.
  const isLinked = chosen !== null && entry?.path !== chosen;
  const linked = useResource(
    async (signal) => (isLinked ? findEntry(tree, chosen, signal) : null),
    [tree.base, isLinked ? chosen : ""],
  );
  if (root.error && !root.data) return <Failed error={root.error} retry={root.reload} />;
  if (!root.data) return <Loading what="Looking for files" />;
  if (root.data.length === 0) {
    return (
      <Empty title="No artifacts">
        <p class="faint">Files given to log_artifact, log_text, log_figure and the like appear here.</p>
      </Empty>
    );
  }
  const select = (one: ArtifactEntry) => {
    setEntry(one);
    setQuery({ file: one.path });
  };
  const shown = entry?.path === chosen ? entry : (linked.data ?? null);
  return (
    <div class="artifacts">
      <div class="artifact-tree">
        <div class="row">
          <h2>Files</h2>
          <IconButton
            icon="download"
            label="All files as a zip"
            onClick={() => void attempt(downloadArtifact(tree, "", true))}
          />
        </div>
        <Branch tree={tree} entries={root.data} chosen={chosen} onSelect={select} />
      </div>
      <div class="artifact-view">
        {isLinked && linked.isLoading ? (
          <Loading what="Looking for the file" />
        ) : isLinked && !shown ? (
          <Empty title="There is no such file">
            <p class="faint">{chosen}</p>
          </Empty>
        ) : shown ? (
          <>
            <header>
              <h2 class="ellipsis" title={shown.path}>
                {shown.path}
              </h2>
              <button type="button" onClick={() => void attempt(downloadArtifact(tree, shown.path, false))}>
                <Icon name="download" /> Download
              </button>
            </header>
            <p class="faint">
              {shown.size !== null && <span title={`${whole(shown.size)} bytes`}>{bytes(shown.size)}</span>}
              {shown.media_type && <> · {shown.media_type}</>}
              {shown.time_us !== null && <> · {exact(shown.time_us)}</>}
              {shown.digest && (
                <>
                  {" · "}
                  <span class="mono" title={shown.digest}>
                    sha256 {shown.digest.slice(0, 12)}
                  </span>
                </>
              )}
            </p>
            <Preview key={shown.path} tree={tree} entry={shown} />
          </>
        ) : (
          <Empty title="Choose a file" />
        )}
      </div>
    </div>
  );
}

async function findEntry(tree: Tree, path: string, signal: AbortSignal) {
  const folder = path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";
  const below = await listArtifacts(tree, folder, signal);
  return below.find((one) => one.path === path && !one.is_folder) ?? null;
}

function Branch({
  tree,
  entries,
  chosen,
  onSelect,
}: {
  tree: Tree;
  entries: readonly ArtifactEntry[];
  chosen: string | null;
  onSelect: (entry: ArtifactEntry) => void;
}) {
  const ordered = [...entries].sort(
    (a, b) => Number(b.is_folder) - Number(a.is_folder) || (a.path < b.path ? -1 : 1),
  );
  return (
    <ul class="branch">
      {ordered.map((entry) => (
        <li key={entry.path}>
          {entry.is_folder ? (
            <Folder tree={tree} entry={entry} chosen={chosen} onSelect={onSelect} />
          ) : (
            <button
              type="button"
              class={entry.path === chosen ? "on" : ""}
              aria-current={entry.path === chosen ? "true" : undefined}
              onClick={() => onSelect(entry)}
            >
              <Icon name={entry.uri ? "link" : "file"} size={14} />
              <span class="ellipsis">{nameOf(entry.path)}</span>
              <span class="faint">{entry.size === null ? "" : bytes(entry.size)}</span>
            </button>
          )}
        </li>
      ))}
    </ul>
  );
}

function Folder({
  tree,
  entry,
  chosen,
  onSelect,
}: {
  tree: Tree;
  entry: ArtifactEntry;
  chosen: string | null;
  onSelect: (entry: ArtifactEntry) => void;
}) {
  const [isOpen, setOpen] = useState(chosen?.startsWith(`${entry.path}/`) ?? false);
  const below = useResource(
    async (signal) => (isOpen ? listArtifacts(tree, entry.path, signal) : []),
    [entry.path, isOpen],
  );
  return (
    <>
      <div class="folder-line">
        <button type="button" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          <Icon name={isOpen ? "down" : "right"} size={13} />
          <Icon name="folder" size={14} />
          <span class="ellipsis">{nameOf(entry.path)}</span>
          <span class="faint">
            {entry.files ? many(entry.files, "file") : ""}
          </span>
        </button>
        <IconButton
          icon="download"
          size={13}
          label={`${entry.path} as a zip`}
          onClick={() => void attempt(downloadArtifact(tree, entry.path, true))}
        />
      </div>
      {isOpen && below.error && <Failed error={below.error} retry={below.reload} />}
      {isOpen && below.data && (
        <Branch tree={tree} entries={below.data} chosen={chosen} onSelect={onSelect} />
      )}
    </>
  );
}

function nameOf(path: string): string {
  return path.split("/").pop() ?? path;
}
