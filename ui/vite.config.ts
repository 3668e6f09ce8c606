// Builds into ingest/ui/assets: fixed file names, so that git can merge the output, and
// relative imports, so that the server may serve it all below a folder named by its hash.
import { defineConfig } from "vite";

const SERVER = process.env.TRACKER_URI ?? "http://127.0.0.1:5000";

export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../ingest/ui/assets",
    emptyOutDir: true,
    target: "es2022",
    cssCodeSplit: false,
    modulePreload: false,
    sourcemap: false,
    assetsInlineLimit: 0,
    rollupOptions: {
      output: {
        entryFileNames: "[name].js",
        chunkFileNames: "[name].js",
        assetFileNames: "[name][extname]",
        manualChunks: (id) => {
          if (id.includes("hyparquet-compressors")) return "parquet-codecs";
          if (/hyparquet/.test(id)) return "parquet";
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
