import { expect, test } from "vitest";

import { fromMlflowLink } from "../src/state/mlflow-links";

test.each([
  ["#/experiments/7/runs/abc", "/runs/abc"],
  ["#/experiments/7/runs/abc/artifacts", "/runs/abc?tab=artifacts"],
  ["#/experiments/7/runs/abc/artifacts/model/MLmodel", "/runs/abc?tab=artifacts&file=model%2FMLmodel"],
  ["#/experiments/7/runs/abc/model-metrics", "/runs/abc?tab=charts"],
  ["#/experiments/7", "/?exp=7"],
  ["#/experiments/7?searchFilter=x", "/?exp=7"],
  ["#/experiments/7/models/m-1", "/models/m-1"],
  ["#/experiments", "/experiments"],
  ['#/compare-runs?runs=["a","b"]&experiments=["7"]', "/?view=compare&sel=a%2Cb&exp=7"],
])("the link %s that MLflow's clients print opens %s", (hash, to) => {
  expect(fromMlflowLink(hash)).toBe(to);
});

test.each(["", "#main", "#/", "#/nonsense", "#/experiments/%E0%A4%A/runs"])(
  "an anchor like %j does not break the page",
  (hash) => {
    expect(() => fromMlflowLink(hash)).not.toThrow();
  },
);
