/** The head of a column of runs: its name, and how the runs are sorted by it. */
import { Icon } from "../../components/icons";
import { listText, setQuery } from "../../state/location";
import { fieldOf, isNumeric, labelOf, orderExpression, type Column } from "../../table/columns";
import type { Lines } from "./lines";
import { orderText, type RunsState } from "./state";

export function RunHeader({
  column,
  state,
  isSortable,
  lines,
  selected,
  onSelect,
}: {
  column: Column;
  state: RunsState;
  isSortable: boolean;
  lines: Lines;
  selected: ReadonlySet<string>;
  onSelect: (ids: Iterable<string>) => void;
}) {
  const sorted = state.order.find((one) => one.id === column.id);
  const expression = isSortable ? orderExpression(column.id) : null;
  const sort = (event: MouseEvent) => {
    if (!expression) return;
    const isNumber = isNumeric(column.id) || column.id.endsWith("time");
    const next = !sorted
      ? { id: column.id, isDescending: isNumber }
      : sorted.isDescending === isNumber
        ? { id: column.id, isDescending: !isNumber }
        : null;
    const others = event.shiftKey ? state.order.filter((one) => one.id !== column.id) : [];
    setQuery({ order: listText(orderText(next ? [...others, next] : others)) });
  };
  const kind = fieldOf(column.id).kind;
  return (
    <>
      {column.id === "name" && (
        <input
          type="checkbox"
          aria-label="Select the loaded runs"
          checked={selected.size > 0}
          onChange={() => onSelect(selected.size > 0 ? [] : lines.runs().slice(0, 100).map((run) => run.run_id))}
        />
      )}
      <button
        type="button"
        class={`head-label${isNumeric(column.id) ? " numeric" : ""}`}
        disabled={!expression}
        title={`${labelOf(column.id)}${expression ? ": sort; with Shift also by it" : ""}`}
        aria-label={`${labelOf(column.id)}${sorted ? (sorted.isDescending ? ", sorted from the greatest" : ", sorted from the least") : ""}`}
        onClick={sort}
      >
        {kind !== "attribute" && <span class={`kind ${kind}`} aria-hidden="true" />}
        <span class="ellipsis">{labelOf(column.id)}</span>
        {sorted && <Icon name={sorted.isDescending ? "down" : "up"} size={13} />}
      </button>
    </>
  );
}
