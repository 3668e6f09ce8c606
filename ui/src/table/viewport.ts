/** Which rows and columns of a grid are in sight: its scroller's place, in whole steps. */
import type { RefObject } from "preact";
import { useCallback, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";

import type { Column } from "./columns";

export const ROW_HEIGHT = 32;
export const HEADER_HEIGHT = 34;
const ROWS_AROUND = 4;
const COLUMN_STEP_PX = 64;
const COLUMN_SLACK_PX = 200;
// On a phone the pinned columns leave room for at least one other.
const PINNED_SHARE = 0.55;
const NARROW_PX = 560;

export interface Viewport {
  top: number;
  left: number;
  width: number;
  height: number;
}

export interface Placed {
  column: Column;
  /** How its cells stand in a row, as the text of a style. */
  style: string;
}

export interface Layout {
  pinned: Placed[];
  free: (Placed & { left: number; right: number })[];
  pinnedWidth: number;
  totalWidth: number;
}

/** The scroller's size and place; a place between two steps draws nothing anew. */
export function useViewport(scroller: RefObject<HTMLElement | null>): [Viewport, () => void] {
  const [view, setView] = useState<Viewport>({ top: 0, left: 0, width: 1200, height: 600 });
  const frame = useRef(0);
  const measure = useCallback(() => {
    frame.current = 0;
    const element = scroller.current;
    if (!element) return;
    const next = {
      top: stepped(element.scrollTop, ROW_HEIGHT),
      left: stepped(element.scrollLeft, COLUMN_STEP_PX),
      width: element.clientWidth,
      height: element.clientHeight,
    };
    setView((old) => (isSame(old, next) ? old : next));
  }, []);
  useLayoutEffect(() => {
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(scroller.current!);
    return () => observer.disconnect();
  }, []);
  const onScroll = useCallback(() => {
    frame.current ||= requestAnimationFrame(measure);
  }, []);
  return [view, onScroll];
}

function stepped(value: number, step: number): number {
  return Math.floor(Math.max(0, value) / step) * step;
}

function isSame(a: Viewport, b: Viewport): boolean {
  return a.top === b.top && a.left === b.left && a.width === b.width && a.height === b.height;
}

/** Where each column stands; made anew only when the columns or the grid's width change. */
export function useLayout(columns: readonly Column[], width: number): Layout {
  return useMemo(() => layoutOf(columns, width), [columns, width]);
}

export function layoutOf(columns: readonly Column[], width: number): Layout {
  const given = columns.filter((column) => column.isPinned);
  const wanted = given.reduce((sum, column) => sum + column.width, 0);
  const shrink = width < NARROW_PX ? Math.min(1, (width * PINNED_SHARE) / wanted) : 1;
  let at = 0;
  const pinned = given.map((column) => {
    const size = Math.round(column.width * shrink);
    const style = `left:${at}px;width:${size}px`;
    at += size;
    return { column, style };
  });
  const pinnedWidth = at;
  const free = columns
    .filter((column) => !column.isPinned)
    .map((column) => {
      const left = at;
      at += column.width;
      return { column, left, right: at, style: `left:${left}px;width:${column.width}px` };
    });
  return { pinned, free, pinnedWidth, totalWidth: at };
}

/** The columns in sight: the same array while they are the same. */
export function useSeenColumns(layout: Layout, view: Viewport): Placed[] {
  const from = view.left + layout.pinnedWidth - COLUMN_SLACK_PX;
  const to = view.left + view.width + COLUMN_STEP_PX + COLUMN_SLACK_PX;
  const first = layout.free.findIndex((one) => one.right > from);
  const after = layout.free.findIndex((one) => one.left >= to);
  return useMemo(
    () => (first < 0 ? [] : layout.free.slice(first, after < 0 ? undefined : after)),
    [layout, first, after],
  );
}

/** The rows in sight and a few around them. */
export function seenRows(view: Viewport, rowCount: number): { first: number; last: number; pool: number } {
  const shown = Math.ceil((view.height - HEADER_HEIGHT) / ROW_HEIGHT) + 1;
  return {
    first: Math.max(0, view.top / ROW_HEIGHT - ROWS_AROUND),
    last: Math.min(rowCount - 1, view.top / ROW_HEIGHT + shown + ROWS_AROUND),
    pool: shown + 2 * ROWS_AROUND + 1,
  };
}
