import { isAbort } from "../../api/client";
import { groupRuns } from "../../api/runs";
import type { Run, RunQuery } from "../../api/types";
import { RunSource } from "../../table/source";
import type { Line } from "./lines";
import { OpeningLines } from "./opening-lines";

// A filter that names more would grow too long.
const ROOTS_AT_ONCE = 500;

/** Runs without a parent; opened, their children below them, and so on down. */
export class TreeLines extends OpeningLines {
  private readonly roots: RunSource;
  private readonly children = new Map<string, number>();
  private asked = new Set<string>();

  constructor(
    rootQuery: RunQuery,
    private readonly childQuery: (runId: string) => RunQuery,
  ) {
    super();
    this.roots = this.watch(new RunSource(rootQuery));
  }
  get total() {
    return this.roots.isComplete ? this.roots.rows.length : this.roots.total;
  }
  retry() {
    this.roots.retry();
  }
  override see(from: number, to: number) {
    const line = this.lines[Math.min(to, this.lines.length - 1)];
    const root = line?.kind === "run" ? this.roots.rows.indexOf(line.run) : -1;
    this.roots.want(Math.max(root, to >= this.lines.length - 1 ? this.roots.rows.length : 0) + 100);
    super.see(from, to);
  }
  override async refresh(from: number, to: number, isNewestFirst: boolean) {
    await this.roots.refresh(0, this.roots.rows.length, { isNewestFirst });
    this.asked = new Set();
    await this.countChildren();
    return super.refresh(from, to, isNewestFirst);
  }
  override write(runs: readonly Run[]) {
    this.roots.write(runs);
    super.write(runs);
  }
  override remove(ids: ReadonlySet<string>) {
    this.roots.remove(ids);
    super.remove(ids);
  }
  override get isReady() {
    return this.roots.rows.length > 0 || this.roots.isComplete || this.roots.error !== undefined;
  }
  override close() {
    this.roots.close();
    super.close();
  }
  protected override changed() {
    super.changed();
    if (this.roots) void this.countChildren();
  }
  private async countChildren() {
    const loaded = [this.roots, ...this.open.values()].flatMap((source) => source.rows);
    const unasked = loaded.map((run) => run.run_id).filter((id) => !this.asked.has(id));
    const ids = unasked.slice(0, ROOTS_AT_ONCE);
    if (ids.length === 0) return;
    for (const id of ids) this.asked.add(id);
    try {
      const page = await groupRuns(
        {
          filter: `parent_run_id IN (${ids.map((id) => `'${id}'`).join(", ")})`,
          group_by: ["parent_run_id"],
          max_results: ids.length + 1,
        },
        this.abort.signal,
      );
      for (const group of page.groups) {
        if (group.values[0]) this.children.set(group.values[0], group.count);
      }
      this.changed();
    } catch (error) {
      // Without the counts no row opens; the next beat asks again.
      if (!isAbort(error)) this.error ??= error as Error;
    }
  }
  protected query(key: string): RunQuery {
    return this.childQuery(key);
  }
  protected flatten(): Line[] {
    // The first look comes from the constructor, before the fields are there.
    if (!this.roots) return [];
    this.isLoading = this.roots.isLoading;
    this.error = this.roots.error;
    const lines = this.roots.rows.flatMap((run) => this.withChildren(run, 0));
    if (!this.roots.isComplete) lines.push({ kind: "waiting", key: "more", depth: 0 });
    return lines;
  }

  private withChildren(run: Run, depth: number): Line[] {
    const children = this.children.get(run.run_id) ?? 0;
    const isOpen = this.open.has(run.run_id);
    const line: Line = { kind: "run", run, depth, children, isOpen };
    return [line, ...this.below(run.run_id, depth + 1, (child, at) => this.withChildren(child, at))];
  }
}
