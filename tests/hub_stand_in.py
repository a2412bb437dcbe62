"""A stand-in for the Hugging Face hub: the few endpoints that `huggingface_hub` uses, on this machine, in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

LARGE = (".safetensors", ".parquet", ".png")  # what goes the way of large files
Files = dict[str, bytes]
API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/(revision|tree|preupload|commit|branch)/([^/?]+)(/.*)?")
RESOLVE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
BATCH = re.compile(r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch")


@dataclass
class Repository:
    """Commits by their names, and where the branches are."""

    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: Files) -> str:
        """Make a commit; returns its name."""
        about = f"{len(self.commits)} {sorted((path, sha(data)) for path, data in files.items())}"
        name = hashlib.sha1(about.encode()).hexdigest()
        self.commits[name] = files
        self.branches[branch] = name
        return name

    def find(self, revision: str) -> str | None:
        """The commit of a branch or commit."""
        name = self.branches.get(revision, revision)
        return name if name in self.commits else None


def sha(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Hub:
    """What the stand-in knows, and how it misbehaves.

    Attributes:
        repositories: by kind and name.
        uploads: contents of large files by their checksum.
        cut: path of a file whose next transfer breaks off in the middle.
        swapped: path of a file of which other bytes are sent, of the same length, that often.
        requests: method, path and range of every request.
    """

    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    uploads: Files = field(default_factory=dict)
    cut: str | None = None
    swapped: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)

    def model(self, name: str) -> Repository:
        """A repository of a model."""
        return self.repositories["model", name]


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.0"  # a connection for each request: none outlives the server
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def missing(self, code: str) -> None:
        self.answer(404, {"error": code}, X_Error_Code=code)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def path_only(self) -> str:
        path = unquote(urlparse(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        return path

    # ---- reading -----------------------------------------------------------------------------------------------------

    def do_HEAD(self) -> None:
        self.file(self.path_only(), with_body=False)

    def do_GET(self) -> None:
        path = self.path_only()
        if not (found := API.fullmatch(path)):
            self.file(path, with_body=True)
            return
        kind, name, verb, revision, _ = found.groups()
        repository = self.hub.repositories.get((kind[:-1], name))
        commit = repository.find(revision) if repository else None
        if repository is None:
            self.missing("RepoNotFound")
        elif commit is None:
            self.missing("RevisionNotFound")
        elif verb == "revision":
            files = [{"rfilename": path} for path in repository.commits[commit]]
            self.answer(200, {"_id": "0", "id": name, "sha": commit, "private": False, "tags": [], "siblings": files})
        else:
            self.answer(200, [entry(path, data) for path, data in repository.commits[commit].items()])

    def file(self, path: str, with_body: bool) -> None:
        found = RESOLVE.fullmatch(path)
        if not found:
            self.missing("EntryNotFound")
            return
        datasets, name, revision, file = found.groups()
        repository = self.hub.repositories.get(("dataset" if datasets else "model", name))
        commit = repository.find(revision) if repository else None
        if repository is None or commit is None or file not in repository.commits[commit]:
            self.missing("EntryNotFound" if commit else "RevisionNotFound" if repository else "RepoNotFound")
            return
        data = repository.commits[commit][file]
        headers = {"ETag": f'"{sha(data)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        begin = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        if not with_body:
            return
        if self.hub.swapped.get(file):
            self.hub.swapped[file] -= 1
            data = bytes(byte ^ 1 for byte in data)
        if self.hub.cut == file:
            self.hub.cut = None
            self.wfile.write(data[begin : (begin + len(data)) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(data[begin:])

    # ---- writing -----------------------------------------------------------------------------------------------------

    def do_PUT(self) -> None:
        oid = self.path_only().rpartition("/")[2]
        data = self.body()
        assert sha(data) == oid
        self.hub.uploads[oid] = data
        self.answer(200)

    def do_POST(self) -> None:
        path = self.path_only()
        body = self.body()
        if self.headers.get("Authorization") is None:
            self.answer(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            self.create(json.loads(body))
        elif path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif BATCH.fullmatch(path):
            self.batch(json.loads(body))
        elif found := API.fullmatch(path):
            kind, name, verb, revision, _ = found.groups()
            repository = self.hub.repositories[kind[:-1], name]
            answers = {"preupload": self.preupload, "commit": self.commit, "branch": self.branch}
            answers[verb](repository, revision, body)
        else:
            self.missing("EntryNotFound")

    def create(self, about: dict[str, Any]) -> None:
        name = f"{about['organization']}/{about['name']}"
        key = (about.get("type") or "model", name)
        if key in self.hub.repositories:
            self.answer(409, {"error": "You already created this repo", "url": self.address(*key)})
            return
        self.hub.repositories[key] = Repository()
        self.hub.repositories[key].commit("main", {})
        self.answer(200, {"url": self.address(*key), "name": name, "id": "0"})

    def address(self, kind: str, name: str) -> str:
        return f"http://{self.headers['Host']}/{'datasets/' * (kind == 'dataset')}{name}"

    def preupload(self, repository: Repository, revision: str, body: bytes) -> None:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        self.answer(200, {"files": files})

    def batch(self, asked: dict[str, Any]) -> None:
        objects = []
        for item in asked["objects"]:
            about = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.uploads:
                about["actions"] = {"upload": {"href": f"http://{self.headers['Host']}/upload/{item['oid']}"}}
            objects.append(about)
        self.answer(200, {"transfer": "basic", "objects": objects})

    def commit(self, repository: Repository, revision: str, body: bytes) -> None:
        files = dict(repository.commits[repository.branches[revision]])
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
        name = repository.commit(revision, files)
        self.answer(200, {"success": True, "commitOid": name, "commitUrl": f"http://{self.headers['Host']}/c/{name}"})

    def branch(self, repository: Repository, revision: str, body: bytes) -> None:
        if revision in repository.branches:
            self.answer(409, {"error": "Reference already exists"})
            return
        repository.branches[revision] = repository.branches["main"]
        self.answer(200, {})


def entry(path: str, data: bytes) -> dict[str, Any]:
    """A file in a listing."""
    about: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
    if path.endswith(LARGE):
        about["lfs"] = {"oid": sha(data), "size": len(data), "pointerSize": 100}
    return about


class StandIn:
    """The server, for as long as it runs."""

    def __init__(self) -> None:
        self.hub = Hub()
        handler = type("HandlerOfThisHub", (Handler,), {"hub": self.hub})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def stop(self) -> None:
        """End it: nobody answers any more."""
        self.server.shutdown()
        self.server.server_close()
