/**
 * A table that draws only what is seen: rows and columns are windowed, pinned columns stay.
 * It scrolls by itself and is walked by keyboard; what a cell shows is its caller's affair.
 */
import { Component, type ComponentChildren } from "preact";
import {
  useCallback,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "preact/hooks";

import { WIDTH_MAX, WIDTH_MIN, type Column } from "./columns";

export const ROW_HEIGHT = 32;
const HEADER_HEIGHT = 34;
const ROWS_AROUND = 6;
const COLUMN_SLACK_PX = 200;

export interface GridProps {
  label: string;
  /** What the rows come from: another one is told anew what is seen. */
  source: object;
  columns: readonly Column[];
  rowCount: number;
  /** What a row is drawn from: it is drawn again only when one of these has changed. */
  rowParts: (index: number) => readonly unknown[];
  rowClass?: (index: number) => string;
  isSelected?: (index: number) => boolean;
  cell: (index: number, column: Column) => ComponentChildren;
  header: (column: Column) => ComponentChildren;
  onSeen: (from: number, to: number) => void;
  onOpen?: (index: number) => void;
  onToggle?: (index: number, isRange: boolean) => void;
  onColumns: (columns: Column[]) => void;
  /** Gets the scrolling element, to keep its place when rows are put on top. */
  onScroller?: (element: HTMLElement) => void;
}

export function Grid(props: GridProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, left: 0, width: 1200, height: 600 });
  const [active, setActive] = useState(-1);
  const [resized, setResized] = useState<{ id: string; width: number } | null>(null);

  useLayoutEffect(() => {
    const element = scroller.current!;
    props.onScroller?.(element);
    const measure = () =>
      setView((old) => ({ ...old, width: element.clientWidth, height: element.clientHeight }));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  const frame = useRef(0);
  const onScroll = useCallback(() => {
    if (frame.current) return;
    frame.current = requestAnimationFrame(() => {
      frame.current = 0;
      const element = scroller.current;
      if (!element) return;
      setView((old) => ({ ...old, top: element.scrollTop, left: element.scrollLeft }));
    });
  }, []);

  const columns = props.columns.map((column) =>
    resized?.id === column.id ? { ...column, width: resized.width } : column,
  );
  const pinned = columns.filter((column) => column.isPinned);
  const free = columns.filter((column) => !column.isPinned);
  const pinnedWidth = pinned.reduce((sum, column) => sum + column.width, 0);
  const totalWidth = pinnedWidth + free.reduce((sum, column) => sum + column.width, 0);
  const columnsText = columns.map((column) => `${column.id}~${column.width}~${column.isPinned}`).join();
  const window = seenColumns(free, pinnedWidth, view.left, view.width);
  // The same arrays while the same columns are in sight: rows that stay are not drawn again.
  const fixed = useMemo(() => pinned, [columnsText]);
  const placed = useMemo(
    () => window.map(({ column, left }) => ({ column, left })),
    [columnsText, window[0]?.column.id, window.length],
  );

  const first = Math.max(0, Math.floor(view.top / ROW_HEIGHT) - ROWS_AROUND);
  const last = Math.min(
    props.rowCount - 1,
    Math.ceil((view.top + view.height - HEADER_HEIGHT) / ROW_HEIGHT) + ROWS_AROUND,
  );
  useEffect(() => {
    if (last >= first) props.onSeen(first, last);
  }, [first, last, props.rowCount, props.columns, props.source]);

  const reveal = (index: number) => {
    const element = scroller.current!;
    const top = index * ROW_HEIGHT;
    const room = element.clientHeight - HEADER_HEIGHT - ROW_HEIGHT;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top > element.scrollTop + room) element.scrollTop = top - room;
  };
  const move = (index: number) => {
    const to = Math.max(0, Math.min(props.rowCount - 1, index));
    setActive(to);
    reveal(to);
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
    else if (event.key === "Enter" && active >= 0) props.onOpen?.(active);
    else if (event.key === " " && active >= 0) props.onToggle?.(active, event.shiftKey);
    else return;
    event.preventDefault();
  };

  const drawn = useRef({ cell: props.cell, activate: setActive });
  drawn.current.cell = props.cell;
  // Elements are used again for the row that comes into sight when theirs has left it.
  const pool = Math.ceil(view.height / ROW_HEIGHT) + 2 * ROWS_AROUND + 2;
  const rows = [];
  for (let index = first; index <= last; index += 1) {
    rows.push(
      <Row
        key={index % pool}
        index={index}
        parts={props.rowParts(index)}
        className={props.rowClass?.(index) ?? ""}
        isSelected={props.isSelected?.(index) ?? false}
        isActive={index === active}
        fixed={fixed}
        placed={placed}
        pinnedWidth={pinnedWidth}
        totalWidth={totalWidth}
        drawn={drawn.current}
      />,
    );
  }

  const headers = { ...props, resize: setResized, columns };
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
    >
      <div class="grid-head" role="row" style={{ width: `${Math.max(totalWidth, view.width)}px` }}>
        <div class="pinned" style={{ width: `${pinnedWidth}px` }}>
          {pinned.map((column) => (
            <HeaderCell key={column.id} column={column} {...headers} />
          ))}
        </div>
        {placed.map(({ column, left }) => (
          <HeaderCell key={column.id} column={column} left={left} {...headers} />
        ))}
      </div>
      <div
        class="grid-body"
        style={{ height: `${props.rowCount * ROW_HEIGHT}px`, width: `${totalWidth}px` }}
      >
        {rows}
      </div>
    </div>
  );
}

interface RowProps {
  index: number;
  parts: readonly unknown[];
  className: string;
  isSelected: boolean;
  isActive: boolean;
  fixed: readonly Column[];
  placed: readonly { column: Column; left: number }[];
  pinnedWidth: number;
  totalWidth: number;
  /** Always the newest way to draw a cell; the same object for the grid's whole life. */
  drawn: { cell: GridProps["cell"]; activate: (index: number) => void };
}

const COMPARED = [
  "index", "className", "isSelected", "isActive", "fixed", "placed", "pinnedWidth", "totalWidth",
] as const;

class Row extends Component<RowProps> {
  override shouldComponentUpdate(next: RowProps): boolean {
    const { parts } = this.props;
    return (
      COMPARED.some((name) => this.props[name] !== next[name]) ||
      parts.length !== next.parts.length ||
      parts.some((part, place) => part !== next.parts[place])
    );
  }

  override render() {
    const { index, className, isSelected, isActive, fixed, placed, drawn } = this.props;
    const marks = `${isSelected ? " selected" : ""}${isActive ? " active" : ""}`;
    return (
      <div
        id={`row-${index}`}
        role="row"
        aria-rowindex={index + 2}
        aria-selected={isSelected}
        class={`grid-row ${className}${marks}`}
        style={{
          transform: `translateY(${index * ROW_HEIGHT}px)`,
          width: `${this.props.totalWidth}px`,
        }}
        onClick={() => drawn.activate(index)}
      >
        <div class="pinned" style={{ width: `${this.props.pinnedWidth}px` }}>
          {fixed.map((column) => (
            <Cell key={column.id} column={column}>
              {drawn.cell(index, column)}
            </Cell>
          ))}
        </div>
        {placed.map(({ column, left }) => (
          <Cell key={column.id} column={column} left={left}>
            {drawn.cell(index, column)}
          </Cell>
        ))}
      </div>
    );
  }
}

/** The columns in sight, each with its place from the left. */
function seenColumns(free: Column[], start: number, left: number, width: number) {
  const placed: { column: Column; left: number }[] = [];
  let at = start;
  for (const column of free) {
    const isSeen =
      at + column.width > left + start - COLUMN_SLACK_PX && at < left + width + COLUMN_SLACK_PX;
    if (isSeen) placed.push({ column, left: at });
    at += column.width;
  }
  return placed;
}

function Cell({
  column,
  left,
  children,
}: {
  column: Column;
  left?: number;
  children: ComponentChildren;
}) {
  const place = left === undefined ? {} : { left: `${left}px`, position: "absolute" as const };
  return (
    <div role="gridcell" class="cell" style={{ ...place, width: `${column.width}px` }}>
      {children}
    </div>
  );
}

function HeaderCell({
  column,
  left,
  columns,
  header,
  onColumns,
  resize,
}: {
  column: Column;
  left?: number;
  columns: Column[];
  header: GridProps["header"];
  onColumns: GridProps["onColumns"];
  resize: (size: { id: string; width: number } | null) => void;
}) {
  const [isOver, setOver] = useState(false);
  const place = left === undefined ? {} : { left: `${left}px`, position: "absolute" as const };
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
      resize({ id: column.id, width });
    };
    const onUp = () => {
      removeEventListener("pointermove", onMove);
      resize(null);
      onColumns(columns.map((one) => (one.id === column.id ? { ...one, width } : one)));
    };
    addEventListener("pointermove", onMove);
    addEventListener("pointerup", onUp, { once: true });
  };
  return (
    <div
      role="columnheader"
      class={`head-cell${isOver ? " over" : ""}`}
      style={{ ...place, width: `${column.width}px` }}
      draggable
      onDragStart={(event) => event.dataTransfer?.setData("text/column", column.id)}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      {header(column)}
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
