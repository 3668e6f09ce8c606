/** Which axes are logarithmic: as the address says, or as their values suggest. */
import { listText, query, queryList, setQuery } from "../../state/location";
import type { Run } from "../../api/types";
import { rawValue } from "./axes";

const NONE = "-";
const WIDE = 50;

export interface LogAxes {
  has: (id: string) => boolean;
  toggle: (id: string) => void;
  text: string;
}

/** Params over orders of magnitude, such as a learning rate, are so until somebody chooses. */
export function logAxes(ids: readonly string[], runs: readonly Run[]): LogAxes {
  const given = query.value.has("log") ? queryList("log") : ids.filter((id) => isWide(id, runs));
  const chosen = given.filter((id) => id !== NONE);
  return {
    has: (id) => chosen.includes(id),
    toggle: (id) => {
      const next = chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id];
      setQuery({ log: listText(next.length > 0 ? next : [NONE]) });
    },
    text: listText(chosen),
  };
}

function isWide(id: string, runs: readonly Run[]): boolean {
  if (!id.startsWith("params.")) return false;
  const values = runs.map((run) => rawValue(run, id)).filter((value) => value !== undefined);
  const numbers = values.map(Number);
  if (numbers.length === 0 || !numbers.every((one) => Number.isFinite(one) && one > 0)) return false;
  return numbers.reduce((a, b) => Math.max(a, b)) / numbers.reduce((a, b) => Math.min(a, b)) >= WIDE;
}
