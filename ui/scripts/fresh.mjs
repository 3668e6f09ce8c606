// Builds into a folder of its own and compares it with the committed build, byte for byte.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const COMMITTED = "../ingest/ui/assets";
const made = mkdtempSync(join(tmpdir(), "tracker-ui-"));
execFileSync("npx", ["vite", "build", "--logLevel", "warn"], {
  env: { ...process.env, UI_OUT: made },
  stdio: "inherit",
});
const names = new Set([...readdirSync(made), ...readdirSync(COMMITTED)]);
const different = [...names].filter((name) => {
  try {
    return !readFileSync(join(made, name)).equals(readFileSync(join(COMMITTED, name)));
  } catch {
    return true; // in one of the two only
  }
});
rmSync(made, { recursive: true });
if (different.length > 0) {
  console.error(`${COMMITTED} is not the build of these sources: ${different.join(", ")}; run: make ui`);
  process.exit(1);
}
console.log("the committed build is that of the sources");
