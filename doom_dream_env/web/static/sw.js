// Keeps the page for when there is no connection, and gives it the headers that threads need where a server does not.
//
// The large files (graphs, worlds) are kept by files.js under addresses with their checksum; here they are only found
// again. Everything else comes from the server while that answers, and from what was kept otherwise.

const PAGE = "dream-page-v1";

self.addEventListener("install", (event) => {
  event.waitUntil(keepPage().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

async function keepPage() {
  const cache = await caches.open(PAGE);
  const manifest = await (await fetch("manifest.json", { cache: "no-cache" })).clone().json();
  // The packed runtime is one of the large files.
  const files = manifest.page.map(({ file }) => file).filter((file) => !file.endsWith(".bin") && file !== "sw.js");
  await cache.addAll(["./", "manifest.json", ...files].map((file) => new Request(file, { cache: "no-cache" })));
}

/** Threads need shared memory, which browsers give only to a page that says it is isolated (COOP and COEP). */
function isolated(response) {
  if (response.type === "opaque" || response.status === 0) return response;
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

/** An address without its options: `?seed=1` is the same page. */
const bare = (url) => url.split("?")[0];

async function answer(request) {
  if (new URL(request.url).searchParams.has("sha256")) {
    const kept = request.cache === "reload" ? null : await caches.match(request);
    if (kept) return isolated(kept);
    const response = await fetch(request);
    // The pictures of the worlds are asked for by the page itself, so nobody else keeps them.
    if (response.ok && request.destination === "image") await (await caches.open(PAGE)).put(request, response.clone());
    return isolated(response);
  }
  const cache = await caches.open(PAGE);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(bare(request.url), response.clone());
    return isolated(response);
  } catch (error) {
    const kept = await cache.match(bare(request.url));
    if (kept) return isolated(kept);
    throw error;
  }
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && request.url.startsWith(self.registration.scope)) event.respondWith(answer(request));
});
