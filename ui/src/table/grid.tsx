/**
 * A table that draws only what is seen: rows and columns are windowed, pinned columns stay.
 * It scrolls by itself and is walked by keyboard; what a cell shows is its caller's affair.
 *
 * All pinned halves of the rows stand in one pane. Were each row to hold its own, a browser
 * would keep a layer per row and lay them all anew with every frame of scrolling.
 */
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";

import type { Column } from "./columns";
import { HeaderCell } from "./grid-header";
import { Row, type CellView } from "./grid-row";
import {
  HEADER_HEIGHT,
  ROW_HEIGHT,
  seenRows,
  useLayout,
  useSeenColumns,
  useViewport,
  type Placed,
} from "./viewport";

export interface GridProps {
  label: string;
  /** What the rows come from: another one is told anew what is seen. */
  source: object;
  columns: readonly Column[];
  rowCount: number;
  /** What a row is drawn from: it is drawn again only when one of these has changed. */
  rowParts: (index: number) => readonly unknown[];
  rowClass: (index: number) => string;
  isSelected: (index: number) => boolean;
  cell: (index: number, column: Column) => CellView;
  /** What a cell says when pointed at; its own text when there is no more to say. */
  hint: (index: number, columnId: string) => string | undefined;
  header: (column: Column) => ComponentChildren;
  onSeen: (from: number, to: number) => void;
  onOpen: (index: number) => void;
  onToggle: (index: number, isRange: boolean) => void;
  onColumns: (columns: Column[]) => void;
  /** Gets the scrolling element, to keep its place when rows are put on top. */
  onScroller: (element: HTMLElement) => void;
}

export function Grid(props: GridProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const [view, onScroll] = useViewport(scroller);
  const [active, setActive] = useState(-1);
  const [hovered, setHovered] = useState(-1);
  const [resized, setResized] = useState<{ id: string; width: number } | null>(null);
  useLayoutEffect(() => props.onScroller(scroller.current!), []);

  const columns = useMemo(
    () =>
      props.columns.map((column) =>
        resized?.id === column.id ? { ...column, width: resized.width } : column,
      ),
    [props.columns, resized],
  );
  const layout = useLayout(columns, view.width);
  const seen = useSeenColumns(layout, view);
  const { first, last, pool } = seenRows(view, props.rowCount);
  useEffect(() => {
    if (last >= first) props.onSeen(first, last);
  }, [first, last, props.rowCount, props.columns, props.source]);

  const move = (index: number) => {
    const to = Math.max(0, Math.min(props.rowCount - 1, index));
    setActive(to);
    reveal(scroller.current!, to);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.target !== scroller.current) return;
    const page = Math.max(1, Math.floor(view.height / ROW_HEIGHT) - 2);
    const steps: Record<string, number> = {
      ArrowDown: active + 1,
      ArrowUp: active - 1,
      PageDown: active + page,
      PageUp: active - page,
      Home: 0,
      End: props.rowCount - 1,
    };
    const to = steps[event.key];
    if (to !== undefined) move(to);
    else if (event.key === "Enter" && active >= 0) props.onOpen(active);
    else if (event.key === " " && active >= 0) props.onToggle(active, event.shiftKey);
    else return;
    event.preventDefault();
  };
  const onPointerOver = (event: PointerEvent) => {
    const target = event.target as Element;
    const index = indexOf(target);
    setHovered(index);
    const cell = target.closest<HTMLElement>(".cell");
    if (!cell || index < 0) return;
    cell.title = props.hint(index, cell.dataset.column ?? "") ?? cell.textContent ?? "";
  };

  const drawn = useRef({ cell: props.cell });
  drawn.current.cell = props.cell;
  const rows = (placed: readonly Placed[], width: number, isFixed: boolean) => {
    const list = [];
    for (let index = first; index <= last; index += 1) {
      list.push(
        <Row
          // Elements are used again for the row that comes into sight when theirs has left it.
          key={index % pool}
          index={index}
          parts={props.rowParts(index)}
          className={props.rowClass(index)}
          isSelected={props.isSelected(index)}
          isActive={index === active}
          isHovered={index === hovered}
          isFixed={isFixed}
          placed={placed}
          width={width}
          drawn={drawn.current}
        />,
      );
    }
    return list;
  };
  const heads = (placed: readonly Placed[]) =>
    placed.map(({ column, style }) => (
      <HeaderCell
        key={column.id}
        column={column}
        style={style}
        columns={columns}
        onColumns={props.onColumns}
        onResizing={setResized}
      >
        {props.header(column)}
      </HeaderCell>
    ));

  const width = Math.max(layout.totalWidth, view.width);
  const height = props.rowCount * ROW_HEIGHT;
  return (
    <div
      ref={scroller}
      class="grid"
      role="grid"
      tabIndex={0}
      aria-label={props.label}
      aria-rowcount={props.rowCount + 1}
      aria-colcount={columns.length}
      aria-activedescendant={active >= first && active <= last ? `row-${active}` : undefined}
      onScroll={onScroll}
      onKeyDown={onKeyDown}
      onClick={(event) => setActive(indexOf(event.target as Element))}
      onPointerOver={onPointerOver}
      onPointerLeave={() => setHovered(-1)}
    >
      <div class="grid-head" role="row" style={`width:${width}px`}>
        <div class="grid-fixed" role="presentation" style={`width:${layout.pinnedWidth}px`}>
          {heads(layout.pinned)}
        </div>
        {heads(seen)}
      </div>
      <div class="grid-body" role="rowgroup" style={`height:${height}px;width:${width}px`}>
        <div class="grid-fixed" role="presentation" style={`width:${layout.pinnedWidth}px`}>
          {rows(layout.pinned, layout.pinnedWidth, true)}
        </div>
        {rows(seen, width, false)}
      </div>
    </div>
  );
}

/** The row that an element stands in; -1 for none. */
function indexOf(element: Element): number {
  const row = element.closest<HTMLElement>(".grid-row");
  return row ? Number(row.dataset.index) : -1;
}

function reveal(element: HTMLElement, index: number) {
  const top = index * ROW_HEIGHT;
  const room = element.clientHeight - HEADER_HEIGHT - ROW_HEIGHT;
  if (top < element.scrollTop) element.scrollTop = top;
  else if (top > element.scrollTop + room) element.scrollTop = top - room;
}
