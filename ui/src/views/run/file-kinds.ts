/** What kind of file one is: by its name first, then by its media type. */
export type Kind = "text" | "json" | "csv" | "parquet" | "image" | "audio" | "video" | "pdf" | "html" | "markdown" | "other";

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
