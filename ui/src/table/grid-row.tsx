/** A row of the grid, or the pinned half of one. It is drawn again only when it must be. */
import { Component, type ComponentChildren } from "preact";

import type { Column } from "./columns";
import { ROW_HEIGHT, type Placed } from "./viewport";

/** What a cell shows. Plain text costs one text node, so most cells should be that. */
export interface CellView {
  content: ComponentChildren;
  className?: string;
}

export interface RowProps {
  index: number;
  parts: readonly unknown[];
  className: string;
  isSelected: boolean;
  isActive: boolean;
  isHovered: boolean;
  isFixed: boolean;
  placed: readonly Placed[];
  width: number;
  /** Always the newest way to draw a cell; the same object for the grid's whole life. */
  drawn: { cell: (index: number, column: Column) => CellView };
}

const COMPARED = [
  "index", "className", "isSelected", "isActive", "isHovered", "placed", "width",
] as const;

export class Row extends Component<RowProps> {
  override shouldComponentUpdate(next: RowProps): boolean {
    const { parts } = this.props;
    return (
      COMPARED.some((name) => this.props[name] !== next[name]) ||
      parts.length !== next.parts.length ||
      parts.some((part, place) => part !== next.parts[place])
    );
  }

  override render() {
    const { index, className, isSelected, isActive, isHovered, isFixed, placed, width, drawn } = this.props;
    const marks =
      (isFixed ? " fixed" : "") +
      (isSelected ? " selected" : "") +
      (isActive ? " active" : "") +
      (isHovered ? " hover" : "");
    return (
      <div
        id={isFixed ? `row-${index}` : undefined}
        role="row"
        aria-rowindex={index + 2}
        aria-selected={isSelected}
        data-index={index}
        class={`grid-row ${className}${marks}`}
        style={`transform:translateY(${index * ROW_HEIGHT}px);width:${width}px`}
      >
        {placed.map(({ column, style }) => {
          const view = drawn.cell(index, column);
          return (
            <div
              key={column.id}
              role="gridcell"
              data-column={column.id}
              class={view.className ? `cell ${view.className}` : "cell"}
              style={style}
            >
              {view.content}
            </div>
          );
        })}
      </div>
    );
  }
}
