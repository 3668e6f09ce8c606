/** A file of rows and columns, its first rows. */
import { Loading } from "../../components/basics";
import { whole } from "../../components/format";
import { useResource } from "../../state/resource";
import type { DataTable } from "./tables";

const ROWS_SHOWN = 500;
const COLUMNS_SHOWN = 100;

export function FileTable({ load }: { load: () => DataTable | Promise<DataTable> }) {
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
