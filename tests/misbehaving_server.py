"""A chat server on this machine that does what servers do on a bad night; what it was asked is on record."""

import json
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class MisbehavingServer(ThreadingHTTPServer):
    """Answers `요약: <the dialogue's last line>` unless the script says otherwise.

    Attributes:
        script: faults by a word of the dialogue: a list of them, one for each try. After the last one it behaves,
            unless that is `always`, which repeats the one before it. "" is the word of every dialogue.
        asked: the bodies of all requests, with the time and the headers of each.
        busiest: the most requests that were under way at once.
        delay: seconds that an answer takes.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: dict[str, list[str]] = {}
        self.asked: list[dict] = []
        self.delay = 0.0
        self.running = self.busiest = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def dialogues(self) -> Counter[str]:
        """How often each dialogue was asked about, by its last line."""
        return Counter(_dialogue(request["body"]) for request in self.asked)

    def fault(self, dialogue: str) -> str:
        """What goes wrong this time."""
        for word, faults in self.script.items():
            if word in dialogue and faults:
                if faults[-1] == "always" and len(faults) == 2:
                    return faults[0]
                return faults.pop(0)
        return ""

    def handle_error(self, *arguments: object) -> None:
        """A client that hung up is no news."""


@contextmanager
def misbehaving_server(**script: list[str]):
    """A server until the context is left; keyword arguments are its script, `_` standing for every dialogue."""
    with MisbehavingServer() as server:
        server.script = {"" if word == "_" else word: faults for word, faults in script.items()}
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


def _dialogue(body: dict) -> str:
    return body["messages"][-1]["content"].strip().rpartition("\n")[2]


class _Handler(BaseHTTPRequestHandler):
    server: MisbehavingServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append({"body": body, "time": time.monotonic(), "headers": dict(self.headers)})
            fault = self.server.fault(body["messages"][-1]["content"])
            self.server.running += 1
            self.server.busiest = max(self.server.busiest, self.server.running)
        try:
            self.server.closing.wait(self.server.delay)
            self._misbehave(fault, body)
        finally:
            with self.server.lock:
                self.server.running -= 1

    def _misbehave(self, fault: str, body: dict) -> None:
        kind, _, detail = fault.partition(":")
        text = f"요약: {_dialogue(body)}"
        match kind:
            case "":
                self._answer(text, body)
            case "stalled":
                self.server.closing.wait(30)
            case "dripping":  # a byte now and then, and never an end
                self._start(200, 100)
                while not self.server.closing.wait(0.05):
                    self.wfile.write(b" ")
                    self.wfile.flush()
            case "truncated":
                self._send(200, _completion(text, body)[:-20])
            case "hung-up":
                self.close_connection = True
            case "html":
                self._send(200, b"<html>welcome</html>")
            case "no-choices":
                self._send(200, json.dumps({"choices": [], "model": body["model"]}).encode())
            case "length":
                self._answer(text[:-1] + "\ufffd", body, finish_reason="length")
            case "thought":
                self._answer(f"<think>음, {text}</think>\n{text}", body)
            case "thought-alone":
                self._answer(None, body, finish_reason="length")
            case "renamed":
                self._answer(text, body | {"model": detail})
            case "wrong-model":
                self._refuse(404, f"The model `{body['model']}` does not exist.")
            case "key":
                self._refuse(401, f"Incorrect API key provided: {self.headers['Authorization']}")
            case _:  # a status, and what Retry-After says
                self._refuse(int(kind), "on purpose", {"Retry-After": unquote(detail)} if detail else {})

    def _answer(self, text: str | None, body: dict, **changes: str) -> None:
        self._send(200, _completion(text, body, **changes))

    def _refuse(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps({"error": {"message": message}}).encode(), headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self._start(status, len(content), headers)
        self.wfile.write(content)

    def _start(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(length),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing on the terminal."""


def _completion(text: str | None, body: dict, finish_reason: str = "stop") -> bytes:
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    return json.dumps({"id": "1", "model": body["model"], "choices": [choice], "usage": usage}).encode()


def main() -> None:
    """Serve until standard input ends, then print how often each dialogue was asked about: for clients to be killed."""
    with misbehaving_server() as server:
        server.delay = float(sys.argv[1])
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        sys.stdin.read()
        sys.stdout.write(json.dumps(Counter(request["body"]["messages"][-1]["content"] for request in server.asked)))


if __name__ == "__main__":
    main()
