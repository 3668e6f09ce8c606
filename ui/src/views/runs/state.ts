/** What the runs page shows, read from its address; see docs in ui/README.md. */
import { query, queryList } from "../../state/location";
import { columnOf, orderExpression, searchColumn, type Column } from "../../table/columns";
import type { RunQuery } from "../../api/types";

export const VIEWS = ["table", "charts", "compare", "parallel", "scatter"] as const;
export type ViewName = (typeof VIEWS)[number];

export interface RunsState {
  experiments: string[];
  filter: string;
  view: ViewName;
  columns: Column[] | null; // null: chosen by the page
  order: { id: string; isDescending: boolean }[];
  selected: string[];
  groups: string[];
  isTree: boolean;
  isDeleted: boolean;
}

export function runsState(): RunsState {
  const given = query.value;
  const view = given.get("view") as ViewName;
  const columns = queryList("cols");
  return {
    experiments: queryList("exp"),
    filter: given.get("q") ?? "",
    view: VIEWS.includes(view) ? view : "table",
    columns: columns.length > 0 ? columns.map(columnOf) : null,
    order: queryList("order").map((text) => ({
      id: text.replace(/^-/, ""),
      isDescending: text.startsWith("-"),
    })),
    selected: queryList("sel"),
    groups: queryList("group"),
    isTree: given.has("tree"),
    isDeleted: given.has("deleted"),
  };
}

export function orderText(order: RunsState["order"]): string[] {
  return order.map(({ id, isDescending }) => (isDescending ? `-${id}` : id));
}

/** The search behind a table: `extra` narrows it, as for the children of a row. */
export function runQuery(state: RunsState, columns: readonly Column[], extra = ""): RunQuery {
  const conditions = [state.filter.trim(), extra].filter((text) => text !== "");
  const order_by = state.order.flatMap(({ id, isDescending }) => {
    const expression = orderExpression(id);
    return expression ? [`${expression} ${isDescending ? "DESC" : "ASC"}`] : [];
  });
  return {
    experiment_ids: state.experiments,
    filter: conditions.length > 1 ? conditions.map((text) => `(${text})`).join(" AND ") : (conditions[0] ?? ""),
    order_by,
    view: state.isDeleted ? "deleted_only" : "active_only",
    columns: [...new Set(columns.flatMap((column) => searchColumn(column.id) ?? []))],
  };
}
