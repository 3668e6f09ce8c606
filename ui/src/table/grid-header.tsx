/** The head of a grid's column: dragged to another place, its edge dragged to another width. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

import { WIDTH_MAX, WIDTH_MIN, type Column } from "./columns";

export interface HeaderCellProps {
  column: Column;
  style: string;
  columns: readonly Column[];
  children: ComponentChildren;
  onColumns: (columns: Column[]) => void;
  /** While an edge is dragged: the width so far; null when it was let go. */
  onResizing: (size: { id: string; width: number } | null) => void;
}

export function HeaderCell({ column, style, columns, children, onColumns, onResizing }: HeaderCellProps) {
  const [isOver, setOver] = useState(false);
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    const id = event.dataTransfer?.getData("text/column");
    if (id) onColumns(moved(columns, id, column.id));
  };
  const widen = (event: PointerEvent) => {
    event.preventDefault();
    event.stopPropagation();
    const from = event.clientX;
    let width = column.width;
    const onMove = (to: PointerEvent) => {
      width = Math.min(WIDTH_MAX, Math.max(WIDTH_MIN, column.width + to.clientX - from));
      onResizing({ id: column.id, width });
    };
    const onUp = () => {
      removeEventListener("pointermove", onMove);
      onResizing(null);
      onColumns(columns.map((one) => (one.id === column.id ? { ...one, width } : one)));
    };
    addEventListener("pointermove", onMove);
    addEventListener("pointerup", onUp, { once: true });
  };
  return (
    <div
      role="columnheader"
      class={`head-cell${isOver ? " over" : ""}`}
      style={style}
      draggable
      onDragStart={(event) => event.dataTransfer?.setData("text/column", column.id)}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      {children}
      <span class="resizer" onPointerDown={widen} aria-hidden="true" />
    </div>
  );
}

/** `id` put where `target` stands; it is pinned if the target is. */
export function moved(columns: readonly Column[], id: string, target: string): Column[] {
  const dragged = columns.find((column) => column.id === id);
  const place = columns.find((column) => column.id === target);
  if (!dragged || !place || id === target) return [...columns];
  const isAfter = columns.indexOf(dragged) < columns.indexOf(place);
  const rest = columns.filter((column) => column.id !== id);
  const index = rest.indexOf(place) + (isAfter ? 1 : 0);
  return rest.toSpliced(index, 0, { ...dragged, isPinned: place.isPinned });
}
