import { isAbort } from "../../api/client";
import { groupRuns } from "../../api/runs";
import type { Group, RunQuery } from "../../api/types";
import { fieldOf, quoted } from "../../table/columns";
import type { Line } from "./lines";
import { OpeningLines } from "./opening-lines";

/** One line per group of equal values; opened, its runs below it. */
export class GroupLines extends OpeningLines {
  private groups: Group[] = [];
  private runCount: number | undefined;
  isReduced = false;

  constructor(
    private readonly base: RunQuery,
    private readonly fields: readonly string[],
    private readonly metrics: readonly string[],
  ) {
    super();
    void this.load();
  }
  get total() {
    return this.runCount;
  }
  get groupCount() {
    return this.groups.length;
  }
  retry() {
    void this.load();
  }
  override async refresh(from: number, to: number, isNewestFirst: boolean) {
    await this.load();
    return super.refresh(from, to, isNewestFirst);
  }
  private async load() {
    try {
      const page = await groupRuns(
        {
          experiment_ids: this.base.experiment_ids ?? [],
          filter: this.base.filter ?? "",
          view: this.base.view ?? "active_only",
          group_by: this.fields.map(groupField),
          metrics: [...this.metrics].slice(0, 100),
        },
        this.abort.signal,
      );
      this.groups = page.groups;
      this.runCount = page.runs;
      this.isReduced = page.is_reduced;
      this.error = undefined;
    } catch (error) {
      if (isAbort(error)) return;
      this.error = error as Error;
    }
    this.isLoading = false;
    this.changed();
  }
  protected query(key: string): RunQuery {
    const group = this.groups.find((one) => keyOf(one) === key);
    const tests = this.fields.map((field, index) => test(field, group?.values[index] ?? null));
    const filter = [this.base.filter ?? "", ...tests].filter((one) => one !== "");
    return { ...this.base, filter: filter.map((one) => `(${one})`).join(" AND ") };
  }
  protected flatten(): Line[] {
    return this.groups.flatMap((group): Line[] => {
      const key = keyOf(group);
      return [{ kind: "group", group, key, isOpen: this.open.has(key) }, ...this.below(key, 1)];
    });
  }
}

function keyOf(group: Group): string {
  return JSON.stringify(group.values);
}

/** A column's id as the server groups by it. */
function groupField(id: string): string {
  return { user: "user_id", experiment: "experiment_id", parent: "parent_run_id", name: "run_name" }[id] ?? id;
}

function test(id: string, value: string | null): string {
  const field = fieldOf(id);
  const left = field.kind === "attribute" ? groupField(id) : quoted(field.kind, field.key);
  return value === null ? `${left} IS NULL` : `${left} = '${value.replaceAll("'", "''")}'`;
}
