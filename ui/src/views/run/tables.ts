/** Tables out of files. The readers are fetched when the first such file is looked at. */

import type { Compressors } from "hyparquet";

export interface DataTable {
  columns: string[];
  rows: unknown[][];
  /** Rows in the file, when that is known. */
  total: number | null;
}

const PARQUET_ROWS = 500;
const CSV_ROWS = 5000;

export async function readCsv(text: string): Promise<DataTable> {
  const { inferSchema, initParser } = await import("udsv");
  const trimmed = text.trim();
  if (trimmed === "") return { columns: [], rows: [], total: 0 };
  const rows = initParser(inferSchema(trimmed)).stringArrs(trimmed);
  const schema = inferSchema(trimmed);
  return { columns: schema.cols.map((column) => column.name), rows: rows.slice(0, CSV_ROWS), total: rows.length };
}

export async function readParquet(content: ArrayBuffer): Promise<DataTable> {
  const [{ parquetMetadata, parquetReadObjects }, fzstd, fflate] = await Promise.all([
    import("hyparquet"),
    import("fzstd"),
    import("fflate"),
  ]);
  // Snappy is built in. The others' usual readers are WebAssembly, which the page's policy
  // does not let run; a codec that is none of these is named in the reader's error.
  const compressors: Compressors = {
    ZSTD: (input) => fzstd.decompress(input),
    GZIP: (input, length) => fflate.gunzipSync(input, { out: new Uint8Array(length) }),
  };
  const metadata = parquetMetadata(content);
  const total = Number(metadata.num_rows);
  const objects = (await parquetReadObjects({
    file: content,
    metadata,
    compressors,
    rowEnd: Math.min(total, PARQUET_ROWS),
  })) as Record<string, unknown>[];
  const columns = Object.keys(objects[0] ?? {});
  return { columns, rows: objects.map((row) => columns.map((name) => row[name])), total };
}
