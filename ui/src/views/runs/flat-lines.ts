import type { Run, RunQuery } from "../../api/types";
import { RunSource } from "../../table/source";
import type { Line, Lines } from "./lines";

/** The search as it is: line n is run n. */
export class FlatLines implements Lines {
  private readonly source: RunSource;
  constructor(query: RunQuery) {
    this.source = new RunSource(query);
  }
  get version() {
    return this.source.version;
  }
  get length() {
    return this.source.length;
  }
  get total() {
    return this.source.isComplete ? this.source.rows.length : this.source.total;
  }
  get isLoading() {
    return this.source.isLoading;
  }
  get isReady() {
    return this.source.rows.length > 0 || this.source.isComplete || this.source.error !== undefined;
  }
  get error() {
    return this.source.error;
  }
  line(index: number): Line {
    const run = this.source.rows[index];
    if (!run) return { kind: "waiting", key: `waiting-${index}`, depth: 0 };
    return { kind: "run", run, depth: 0, children: 0, isOpen: false };
  }
  runs() {
    return this.source.rows;
  }
  see(_from: number, to: number) {
    this.source.want(to + 100);
  }
  refresh(from: number, to: number, isNewestFirst: boolean) {
    return this.source.refresh(from, to, { isNewestFirst });
  }
  toggle() {}
  write(runs: readonly Run[]) {
    this.source.write(runs);
  }
  remove(ids: ReadonlySet<string>) {
    this.source.remove(ids);
  }
  retry() {
    this.source.retry();
  }
  close() {
    this.source.close();
  }
}
