// The files of an export: fetched once, compared with the checksums of the manifest, kept for the next visit.

export const FORMAT = "doom-dream-export";
export const FORMAT_VERSION = 2;
const CACHE = "dream-files-v1";

/** What is wrong with the files, said for people; `file` names the one it is about. */
export class FileProblem extends Error {
  constructor(message, file = "") {
    super(message);
    this.file = file;
  }
}

async function openCache() {
  try {
    return await caches.open(CACHE);
  } catch {
    return null; // no storage, or none for this page: everything works but offline
  }
}

/** May files be kept? */
export async function canKeep() {
  return (await openCache()) !== null;
}

async function digest(data) {
  if (!globalThis.crypto?.subtle) return null; // a page that was not loaded securely may not compute checksums
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function download(url, name, onBytes, cache = "default") {
  let response;
  try {
    response = await fetch(url, { cache });
  } catch {
    throw new FileProblem(`${name} could not be fetched: there is no connection, and it was not kept.`, name);
  }
  if (!response.ok) throw new FileProblem(`${name} could not be fetched: the server answers ${response.status}.`, name);
  const parts = [];
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    onBytes(part.value.byteLength);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Where a file is: the checksum is part of the address, so that a new export is never taken for an old one. */
export function address(entry, base) {
  const url = new URL(entry.file, base);
  url.searchParams.set("sha256", entry.sha256);
  return url.href;
}

/**
 * The bytes of one file of the manifest, from what was kept or from the server.
 * Throws `FileProblem` if it cannot be had or its checksum is wrong, after a second try past all caches.
 */
export async function load(entry, base, onBytes = () => {}) {
  const url = address(entry, base);
  const cache = await openCache();
  const kept = await cache?.match(url);
  if (kept) {
    const data = new Uint8Array(await kept.arrayBuffer());
    const found = await digest(data);
    if (found === null || found === entry.sha256) {
      onBytes(data.byteLength);
      return data;
    }
    await cache.delete(url);
  }
  for (const mode of ["default", "reload"]) {
    const data = await download(url, entry.file, mode === "default" ? onBytes : () => {}, mode);
    const found = await digest(data);
    if (found === null || found === entry.sha256) {
      try {
        await cache?.put(url, new Response(data, { headers: { "Content-Type": "application/octet-stream" } }));
      } catch {
        // The storage is full: the file is fetched again next time.
      }
      return data;
    }
  }
  throw new FileProblem(`${entry.file} is damaged: its checksum is not the one in the manifest.`, entry.file);
}

/** The manifest of an export. Throws `FileProblem` if it is missing, damaged or of another version. */
export async function loadManifest(base) {
  const data = await download(new URL("manifest.json", base).href, "manifest.json", () => {}, "no-cache");
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder().decode(data));
  } catch {
    throw new FileProblem("manifest.json is damaged: it is not JSON. Export the folder again.", "manifest.json");
  }
  if (manifest?.format !== FORMAT) {
    throw new FileProblem("manifest.json is not that of an exported dream. Export the folder again.", "manifest.json");
  }
  if (manifest.format_version !== FORMAT_VERSION) {
    throw new FileProblem(
      `This folder has export format ${manifest.format_version}, this page reads ${FORMAT_VERSION}. ` +
        "Export it again with the release that the page is from.",
      "manifest.json",
    );
  }
  return manifest;
}

/** Forget kept files that no longer belong to the manifest. */
export async function forgetOthers(manifest, base) {
  const cache = await openCache();
  if (!cache) return;
  const text = JSON.stringify(manifest);
  for (const request of await cache.keys()) {
    const checksum = new URL(request.url).searchParams.get("sha256");
    if (request.url.startsWith(new URL(".", base).href) && checksum && !text.includes(checksum)) await cache.delete(request);
  }
}

const TYPES = { F32: Float32Array, I64: BigInt64Array };

/** The tensors of a safetensors file, by name: `{data, shape}`. */
export function readTensors(bytes) {
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const size = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, size)));
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    tensors[name] = { data: new TYPES[dtype](buffer.slice(8 + size + from, 8 + size + to)), shape };
  }
  return tensors;
}
