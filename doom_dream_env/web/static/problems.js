// What can be wrong with a browser or a host: each says what it is, and what works all the same.

/** Show a problem. */
export function problem(text, works) {
  const list = document.getElementById("problems");
  const said = `${text} ${works}`.trim();
  if ([...list.children].some((one) => one.textContent === said)) return;
  list.append(Object.assign(document.createElement("p"), { textContent: said }));
}

const LOOK = "The pictures of the worlds can be looked at; to play, use a current Chrome, Edge, Firefox or Safari.";

/** Can the dream be computed here at all? */
export function checkBrowser() {
  if (typeof WebAssembly !== "object") {
    problem("This browser has no WebAssembly, or it is switched off: the dream cannot be computed.", LOOK);
    return false;
  }
  if (!globalThis.Worker || !globalThis.DecompressionStream || !globalThis.BigInt64Array) {
    problem("This browser is too old for the dream: it lacks module workers or DecompressionStream.", LOOK);
    return false;
  }
  return true;
}

const RELOADED = "dream-doom-reloaded";

function once() {
  try {
    if (sessionStorage.getItem(RELOADED)) return false;
    sessionStorage.setItem(RELOADED, "yes");
    return true;
  } catch {
    return false; // there is no storage to remember it in
  }
}

/**
 * Keep the page for when there is no connection. Where the server does not send the headers that threads need, the service
 * worker adds them, and the page is loaded once more. Returns false if that happens.
 */
export async function keepPage() {
  const why = !globalThis.isSecureContext
    ? "the page was not loaded over https, nor from this machine"
    : !navigator.serviceWorker
      ? "the browser allows no service worker"
      : "";
  if (!why) {
    try {
      await navigator.serviceWorker.register("sw.js");
      if (globalThis.crossOriginIsolated) return true;
      await navigator.serviceWorker.ready;
      if (once()) {
        location.reload();
        return false;
      }
    } catch (error) {
      problem(`The page cannot be kept (${error.message}).`, "It can be played while there is a connection.");
      return true;
    }
  }
  if (!globalThis.crossOriginIsolated) {
    problem(`There are no threads here: ${why || "the page is not isolated"}.`, "Everything works on one thread, more slowly.");
  }
  return true;
}
