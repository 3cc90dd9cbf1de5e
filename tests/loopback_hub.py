"""A model hub on this machine: what `huggingface_hub` asks of the real one, answered from folders, faults included."""

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Repository:
    """One repository: its commits by their hash, the one that `main` is, and what goes wrong with it.

    Attributes:
        api_error: HTTP status and `X-Error-Code` of every answer.
        file_error: the same for the files alone: so does the real hub with a gated repository.
        breaks: transfers of this file end in the middle and never come to an end.
        moves_to: the commit that `main` becomes once somebody has listed the files of the one before.
        tells_sizes: whether file sizes are told before the download.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    main: str = ""
    api_error: tuple[int, str] | None = None
    file_error: tuple[int, str] | None = None
    breaks: str = ""
    moves_to: str = ""
    tells_sizes: bool = True

    def push(self, files: dict[str, bytes]) -> str:
        """Add a commit and let `main` be it; returns its hash."""
        commit = hashlib.sha1(b"".join(name.encode() + content for name, content in sorted(files.items()))).hexdigest()
        self.commits[commit] = files
        self.main = commit
        return commit

    def push_folder(self, folder: Path, **changed: bytes | None) -> str:
        """Add a folder's files as a commit; `changed` by stem replaces one, or leaves it out."""
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        for stem, content in changed.items():
            name = next(name for name in files if name.startswith(stem))
            del files[name]
            if content is not None:
                files[name] = content
        return self.push(files)


class LoopbackHub(ThreadingHTTPServer):
    """Serves repositories by their ids; `asked` lists the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.asked: list[str] = []

    def add(self, repo_id: str, **faults) -> Repository:
        return self.repositories.setdefault(repo_id, Repository(**faults))

    def environment(self, home: Path) -> dict[str, str]:
        """The variables under which a program uses this hub, with its cache in `home`."""
        return {
            "HF_ENDPOINT": f"http://127.0.0.1:{self.server_port}",
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }


@contextmanager
def loopback_hub():
    """A hub that serves until the context is left."""
    with LoopbackHub() as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        self.server.asked.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?/?", path):
            self._api(found[1], found[2], found[3] or "main", "blobs" in query)
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(*found.groups())
        else:
            self._refuse(404, "")

    def _commit(self, repo_id: str, revision: str, *, file: bool) -> tuple[Repository, str] | None:
        repository = self.server.repositories.get(repo_id)
        if repository is None:
            self._refuse(401, "RepoNotFound")  # so does the real hub, to those without a token
        elif error := repository.api_error or (repository.file_error if file else None):
            self._refuse(*error)
        elif (commit := repository.main if revision == "main" else revision) not in repository.commits:
            self._refuse(404, "RevisionNotFound")
        else:
            return repository, commit
        return None

    def _api(self, repo_id: str, what: str | None, revision: str, sizes: bool) -> None:
        if not (found := self._commit(repo_id, revision, file=False)):
            return
        repository, commit = found
        files = repository.commits[commit]
        if what == "tree":
            content = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in files.items()
            ]
            repository.main = repository.moves_to or repository.main
        else:
            sizes = sizes and repository.tells_sizes
            siblings = [{"rfilename": name, **({"size": len(data)} if sizes else {})} for name, data in files.items()]
            content = {"id": repo_id, "modelId": repo_id, "sha": commit, "private": False, "siblings": siblings}
        self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _file(self, repo_id: str, revision: str, name: str) -> None:
        if not (found := self._commit(repo_id, revision, file=True)):
            return
        repository, commit = found
        data = repository.commits[commit].get(name)
        if data is None:
            self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
            return
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        start = int(re.search(r"\d+", self.headers.get("Range", "0"))[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        sent = max(len(data) // 2 - start, 0) if name == repository.breaks else None
        self._answer(206 if start else 200, data[start:], headers, sent)

    def _answer(self, status: int, body: bytes, headers: dict[str, str], sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])
            self.close_connection = self.close_connection or sent is not None

    def _refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        more = {"X-Error-Code": code, "X-Error-Message": "refused"} if code else {}
        self._answer(status, b"", {**more, **(headers or {})})

    def log_message(self, *arguments: object) -> None:
        """Stay quiet."""
