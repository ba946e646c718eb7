import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const page = (name: string) => fileURLToPath(new URL(`./${name}.html`, import.meta.url));

/** Where `helio serve` listens; the development server passes what it does not have to it. */
const backend = process.env.HELIO_SERVER ?? "http://127.0.0.1:8080";

export default defineConfig({
  base: "/",
  build: {
    outDir: "../src/heliograph/web/static",
    emptyOutDir: true,
    assetsDir: "assets",
    target: "es2022",
    // Fonts and data: URLs would need a wider content security policy.
    assetsInlineLimit: 0,
    rollupOptions: {
      input: {
        index: page("index"),
        watch: page("watch"),
        live: page("live"),
        notFound: page("404"),
      },
    },
  },
  plugins: [
    {
      name: "page-routes",
      configureServer(server) {
        server.middlewares.use((request, _response, next) => {
          if (request.url?.startsWith("/watch/")) request.url = "/watch.html";
          if (/^\/live(\/|$)/.test(request.url ?? "")) request.url = "/live.html";
          next();
        });
      },
    },
  ],
  server: {
    proxy: {
      "/api": backend,
      "/whip": backend,
      "/whep": backend,
      "/chat": { target: backend, ws: true },
      "/ws": { target: backend, ws: true },
    },
  },
  test: { include: ["test/**/*.test.ts"], environment: "node" },
});
