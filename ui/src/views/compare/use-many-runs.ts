/** Many runs at once, for pictures of a whole search: as many as a page of them may show. */
import { searchRuns } from "../../api/runs";
import type { Run } from "../../api/types";
import { queryList } from "../../state/location";
import { useResource } from "../../state/resource";
import { runQuery, type RunsState } from "../runs/state";

export const MANY_RUNS = 5000;

export interface ManyRuns {
  runs: Run[];
  isReduced: boolean;
}

/** The runs of the search; or only the selected ones when `only` is in the address. */
export function useManyRuns(state: RunsState) {
  const { columns: _columns, ...search } = runQuery(state, []);
  const isOnly = queryList("only").length > 0 && state.selected.length > 0;
  const ids = isOnly ? state.selected.map((id) => `'${id}'`).join(", ") : "";
  const filter = isOnly
    ? [search.filter && `(${search.filter})`, `run_id IN (${ids})`].filter(Boolean).join(" AND ")
    : (search.filter ?? "");
  return useResource<ManyRuns>(
    async (signal) => {
      const runs: Run[] = [];
      let page_token: string | null = null;
      do {
        const page = await searchRuns({ ...search, filter, max_results: 1000, page_token }, signal);
        runs.push(...page.runs);
        page_token = page.next_page_token;
      } while (page_token && runs.length < MANY_RUNS);
      return { runs, isReduced: page_token !== null };
    },
    [JSON.stringify([search, filter])],
  );
}
