/** Pictures, sound, video and documents, shown by the browser from bytes in memory. */
import { useEffect, useMemo, useState } from "preact/hooks";

const IMAGE_TYPES: Record<string, string> = {
  svg: "image/svg+xml", jpg: "image/jpeg", jpeg: "image/jpeg", png: "image/png", gif: "image/gif",
  webp: "image/webp", avif: "image/avif", bmp: "image/bmp", ico: "image/x-icon",
};

export function Media({ kind, content, path }: { kind: "image" | "audio" | "video" | "pdf"; content: ArrayBuffer; path: string }) {
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
