/**
 * The lines of the table, whatever makes them: the runs of a search, groups that open into
 * their runs, or roots that open into their children. The grid asks for line n.
 */
import type { ReadonlySignal } from "@preact/signals";

import type { Group, Run } from "../../api/types";

export type Line =
  | { kind: "run"; run: Run; depth: number; children: number; isOpen: boolean }
  | { kind: "group"; group: Group; key: string; isOpen: boolean }
  | { kind: "waiting"; key: string; depth: number };

export interface Lines {
  readonly version: ReadonlySignal<number>;
  readonly length: number;
  readonly total: number | undefined;
  readonly isLoading: boolean;
  readonly isReady: boolean;
  readonly error: Error | undefined;
  line(index: number): Line;
  /** The runs among the lines, in order, as far as they are loaded. */
  runs(): Run[];
  see(from: number, to: number): void;
  refresh(from: number, to: number, isNewestFirst: boolean): Promise<number>;
  toggle(key: string): void;
  write(runs: readonly Run[]): void;
  remove(ids: ReadonlySet<string>): void;
  retry(): void;
  close(): void;
}
