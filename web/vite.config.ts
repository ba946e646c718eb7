import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Where `helio serve` listens; the development server passes what it does not have to it. */
const backend = process.env.HELIO_SERVER ?? "http://127.0.0.1:8080";

/** Pages whose address is not their file's name. */
const routes: readonly (readonly [RegExp, string])[] = [
  [/^\/watch\//, "/watch.html"],
  [/^\/live(\/|$)/, "/live.html"],
  [/^\/admin\/(contents|reports|storage)(\?|$)/, "/$1.html"],
  [/^\/(sign-in|setup|mine|admin|cluster)(\?|$)/, "/$1.html"],
];

/** The script for pages of other sites, whose name must not change. */
const EMBED = "helio-player";

/** In each page's element until its scripts have made it: what to do if they never come. */
const UNLOADED = `<p class="unloaded">This page did not load completely. Please reload it.</p>`;

export default defineConfig({
  base: "/",
  experimental: {
    // Scripts find each other beside themselves: a page of another site may have loaded them.
    renderBuiltUrl: (_name, { hostType }) => (hostType === "js" ? { relative: true } : undefined),
  },
  build: {
    outDir: "../src/heliograph/web/static",
    emptyOutDir: true,
    assetsDir: "assets",
    target: "es2022",
    // Fonts and data: URLs would need a wider content security policy.
    assetsInlineLimit: 0,
    rollupOptions: {
      input: {
        index: file("index.html"),
        watch: file("watch.html"),
        live: file("live.html"),
        mine: file("mine.html"),
        admin: file("admin.html"),
        cluster: file("cluster.html"),
        contents: file("contents.html"),
        reports: file("reports.html"),
        storage: file("storage.html"),
        signIn: file("sign-in.html"),
        setup: file("setup.html"),
        notFound: file("404.html"),
        [EMBED]: file("src/embed/helio-player.ts"),
      },
      output: {
        entryFileNames: ({ name, facadeModuleId }) =>
          name === EMBED && facadeModuleId?.includes("/embed/")
            ? "embed/[name].js"
            : "assets/[name]-[hash].js",
      },
    },
  },
  plugins: [
    {
      name: "unloaded-pages",
      transformIndexHtml: (page) => page.replace(/(<helio-[a-z-]+>)(?=<)/, `$1${UNLOADED}`),
    },
    {
      // A page's script that imports another one later wants it at hand by then.
      name: "preload-later",
      transformIndexHtml: {
        order: "post",
        handler: (page, { bundle, chunk }) => {
          const needed = new Set(chunk?.dynamicImports);
          for (const name of needed) {
            const found = bundle?.[name];
            for (const one of found?.type === "chunk" ? found.imports : []) needed.add(one);
          }
          return [...needed]
            .map((name) => `/${name}`)
            .filter((href) => !page.includes(`"${href}"`))
            .map((href) => ({
              tag: "link",
              injectTo: "head",
              attrs: { rel: "modulepreload", crossorigin: true, href },
            }));
        },
      },
    },
    {
      name: "page-routes",
      configureServer(server) {
        server.middlewares.use((request, _response, next) => {
          const { url = "" } = request;
          const route = routes.find(([address]) => address.test(url));
          if (route) request.url = route[1].replace("$1", route[0].exec(url)?.[1] ?? "");
          next();
        });
      },
    },
  ],
  server: {
    proxy: {
      "/api": backend,
      "/titles": backend,
      "/hls": backend,
      "/whip": backend,
      "/whep": backend,
      "/chat": { target: backend, ws: true },
      "/ws": { target: backend, ws: true },
    },
  },
  test: { include: ["test/**/*.test.ts"], environment: "node" },
});
