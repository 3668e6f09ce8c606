// Builds into ingest/ui/assets: fixed file names, so that git can merge the output, and
// relative imports, so that the server may serve it all below a folder named by its hash.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type Plugin } from "vite";

const SERVER = process.env.TRACKER_URI ?? "http://127.0.0.1:5000";
// What the build is made from. tests/integration/test_ui_assets.py computes the same.
const SOURCES = ["index.html", "package-lock.json", "package.json", "public", "src", "vite.config.ts"];

function filesBelow(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path).flatMap((name) => filesBelow(join(path, name)));
}

/** SHA-256 over "path\0sha256\n" of every source, in the order of their paths' bytes. */
function fingerprint(): string {
  const whole = createHash("sha256");
  for (const path of SOURCES.flatMap(filesBelow).sort()) {
    const digest = createHash("sha256").update(readFileSync(path)).digest("hex");
    whole.update(`${path}\0${digest}\n`);
  }
  return whole.digest("hex");
}

/** build.json says which sources a build is of, so that a stale one is found without Node. */
function sayWhatItIsOf(): Plugin {
  return {
    name: "build-json",
    generateBundle() {
      const source = `${JSON.stringify({ sources: fingerprint() })}\n`;
      this.emitFile({ type: "asset", fileName: "build.json", source });
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [sayWhatItIsOf()],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: process.env.UI_OUT ?? "../ingest/ui/assets",
    emptyOutDir: true,
    target: "es2022",
    cssCodeSplit: false,
    modulePreload: false,
    sourcemap: false,
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    rollupOptions: {
      output: {
        entryFileNames: "[name].js",
        chunkFileNames: "[name].js",
        assetFileNames: "[name][extname]",
        manualChunks: (id) => {
          if (/node_modules\/(hyparquet|fzstd|fflate)\//.test(id)) return "parquet";
          if (/node_modules\/(preact|@preact|uplot)\//.test(id)) return "vendor";
          return undefined;
        },
      },
    },
  },
  server: {
    proxy: Object.fromEntries(
      ["/api", "/version", "/ready"].map((path) => [path, { target: SERVER, changeOrigin: true }]),
    ),
  },
});
