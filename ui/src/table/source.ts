/**
 * The runs of one search, loaded a page at a time as they are scrolled to. Rows keep their
 * place: what changes is written into them, new runs are put on top, nothing is re-sorted
 * under the reader's eyes.
 */
import { signal } from "@preact/signals";

import { isAbort } from "../api/client";
import { groupRuns, runsById, searchRuns } from "../api/runs";
import type { Run, RunQuery } from "../api/types";

const FIRST_PAGE = 100;
const PAGE = 1000;

export class RunSource {
  rows: Run[] = [];
  isComplete = false;
  isLoading = false;
  error: Error | undefined;
  /** How many runs match, when the server has said so. */
  total: number | undefined;
  /** Counts up with every change: read it to be drawn again. */
  readonly version = signal(0);

  private token: string | null = null;
  private wanted = 0;
  private readonly abort = new AbortController();
  private isRefreshing = false;

  constructor(
    readonly query: RunQuery,
    private readonly given: { isCounted: boolean } = { isCounted: true },
  ) {
    this.want(FIRST_PAGE);
    if (this.given.isCounted) void this.count();
  }

  /** How many rows there are to scroll through, as far as is known. */
  get length(): number {
    if (this.isComplete) return this.rows.length;
    return Math.max(this.total ?? 0, this.rows.length);
  }

  close() {
    this.abort.abort();
  }

  /** Load until row `count` is there. */
  want(count: number) {
    this.wanted = Math.max(this.wanted, count);
    if (!this.isLoading) void this.load();
  }

  retry() {
    this.error = undefined;
    this.want(this.rows.length + 1);
    if (this.given.isCounted && this.total === undefined) void this.count();
  }

  private async load() {
    this.isLoading = true;
    this.error = undefined;
    this.changed();
    try {
      while (!this.isComplete && this.rows.length < this.wanted) {
        const page = await searchRuns(
          {
            ...this.query,
            max_results: this.rows.length === 0 ? FIRST_PAGE : PAGE,
            page_token: this.token,
          },
          this.abort.signal,
        );
        this.rows.push(...page.runs);
        this.token = page.next_page_token;
        this.isComplete = this.token === null;
        this.changed();
      }
    } catch (error) {
      if (isAbort(error)) return;
      this.error = error as Error;
    }
    this.isLoading = false;
    this.changed();
  }

  private async count() {
    const { experiment_ids, filter, view } = this.query;
    try {
      const page = await groupRuns(
        {
          ...(experiment_ids && { experiment_ids }),
          ...(filter && { filter }),
          ...(view && { view }),
        },
        this.abort.signal,
      );
      this.total = page.runs;
      this.changed();
    } catch {
      // The rows say it all by themselves: the filter's error, or their own number.
    }
  }

  /**
   * Bring what is seen up to date: new runs on top (when the newest stand first), values of
   * the runs between two rows. Answers how many rows were put on top.
   */
  async refresh(from: number, to: number, { isNewestFirst }: { isNewestFirst: boolean }) {
    if (this.isRefreshing || this.error || (this.rows.length === 0 && !this.isComplete)) return 0;
    this.isRefreshing = true;
    try {
      const added = isNewestFirst ? await this.addNew() : 0;
      const seen = this.rows.slice(Math.max(0, from) + added, to + added + 1);
      const moving = seen.filter((run) => run.liveness !== "ended").map((run) => run.run_id);
      this.write(await runsById(moving, this.query.columns, this.abort.signal));
      this.changed();
      return added;
    } catch (error) {
      if (!isAbort(error)) return 0; // the next beat tries again, and the banner tells
      return 0;
    } finally {
      this.isRefreshing = false;
    }
  }

  /** Put newer states of runs in place. */
  write(runs: readonly Run[]) {
    const places = new Map(runs.map((run) => [run.run_id, run]));
    if (places.size === 0) return;
    this.rows = this.rows.map((row) => places.get(row.run_id) ?? row);
    this.changed();
  }

  remove(runIds: ReadonlySet<string>) {
    const before = this.rows.length;
    this.rows = this.rows.filter((row) => !runIds.has(row.run_id));
    if (this.total !== undefined) this.total -= before - this.rows.length;
    this.changed();
  }

  private async addNew(): Promise<number> {
    const page = await searchRuns(
      { ...this.query, max_results: FIRST_PAGE },
      this.abort.signal,
    );
    const known = new Set(this.rows.slice(0, 1000).map((row) => row.run_id));
    const fresh = page.runs.filter((run) => !known.has(run.run_id));
    if (fresh.length > 0) {
      this.rows = [...fresh, ...this.rows];
      if (this.total !== undefined) this.total += fresh.length;
    }
    this.write(page.runs);
    return fresh.length;
  }

  private changed() {
    this.version.value += 1;
  }
}
