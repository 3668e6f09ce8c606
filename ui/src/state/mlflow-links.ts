/**
 * The addresses that MLflow's clients print, `/#/experiments/1/runs/abc` and the like, as
 * addresses of these pages.
 */
import { decoded } from "./decoded";

export function fromMlflowLink(hash: string): string | null {
  if (!hash.startsWith("#/")) return null;
  const [route = "", search = ""] = hash.slice(2).split("?");
  const [first, one, second, two, ...rest] = route.split("/").map(decoded);
  if (first === "experiments" && one && second === "runs" && two) return runLink(two, rest);
  if (first === "experiments" && one && second === "models" && two) return modelLink(two);
  if (first === "experiments" && one) return `/?exp=${encodeURIComponent(one)}`;
  if (first === "experiments") return "/experiments";
  if (first === "runs" && one) return runLink(one, []);
  if (first === "compare-runs") return compareLink(new URLSearchParams(search));
  return null;
}

function runLink(runId: string, rest: readonly string[]): string {
  const link = `/runs/${encodeURIComponent(runId)}`;
  const [tab, ...path] = rest;
  if (tab === "artifacts" || tab === "artifactPath") {
    const file = path.length > 0 ? `&file=${encodeURIComponent(path.join("/"))}` : "";
    return `${link}?tab=artifacts${file}`;
  }
  return tab === "model-metrics" || tab === "system-metrics" ? `${link}?tab=charts` : link;
}

function modelLink(modelId: string): string {
  return `/models/${encodeURIComponent(modelId)}`;
}

/** `runs` and `experiments` are lists in JSON. */
function compareLink(given: URLSearchParams): string {
  const runs = listed(given.get("runs"));
  const experiments = listed(given.get("experiments"));
  const query = new URLSearchParams({ view: "compare" });
  if (runs.length > 0) query.set("sel", runs.join(","));
  if (experiments.length > 0) query.set("exp", experiments.join(","));
  return `/?${query}`;
}

function listed(text: string | null): string[] {
  try {
    const items: unknown = JSON.parse(text ?? "[]");
    return Array.isArray(items) ? items.filter((one) => typeof one === "string") : [];
  } catch {
    return [];
  }
}
