"""A small server with the interface of qx serve, for tests of its web page: what it answers is written down here, so that
the tests can ask for differences, hostile text, errors and answers that never end.

usage: mock_server.py [PORT]    serves the page of src/serve/page until it is stopped
"""
import codecs
import http.server
import json
import math
import pathlib
import sys
import threading

PAGE = pathlib.Path(__file__).resolve().parents[2] / "src" / "serve" / "page"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
MODELS = ["small-q8", "small-q4"]
HOSTILE = ["</div><script>document.title='broken'</script>", "<img src=x onerror=document.title='broken'>", "<!--",
           "&amp;", "[run](javascript:document.title='broken')", "![x](data:text/html,<script>)", "<a href=x>y</a>",
           "[a](https://example.org/\" onmouseover=\"document.title='broken')", "| <b>x</b> | y |", "|---|---|", "\u202eright to left\u202c", "\u05e9\u05dc\u05d5\u05dd", "\x00\x07\x1b[31m", "\u200b\ufeff", "'\"`{{x}}",
           "W" * 3000, "z\u0351\u0321" * 40]


def byte_tokens(text, size):
    data = text.encode("utf-8")
    return [data[i:i + size] for i in range(0, len(data), size)]


# What a model answers to a message, token by token, and how likely each token was.
ANSWERS = {
    "cat": {"small-q8": ["The", " cat", " sat", " on", " the", " mat", "."],
            "small-q4": ["The", " cat", " sat", " at", " home", "."]},
    "same": ["Both", " say", " this", "."],
    "longer": {"small-q8": ["One", " two"], "small-q4": ["One", " two", " three"]},
    "hostile": ["\n".join(HOSTILE)],
    "bytes": byte_tokens("Größe 🙂 漢字!", 1),
    "code": ["Look", ":\n", "`", "``py", "\n", "for x in y", ":\n", "    pass\n", "```", "\n", "Done."],
    "markdown": ["# He", "ading\n", "Some ", "**bo", "ld** and ", "`co", "de` and [a ", "page](https://example.org/p?q=1 \"t\")", ".\n",
                 "\n- one\n", "  1. in", "ner\n- *two*", "\n\n> quo", "ted\n\n", "| a | b |\n|---|", "--:|\n| 1 | ", "2 |\n\n",
                 "---\n", "```py\nif x:\n", "    *y*\n```\nEnd"],
    "bare end": ["hidden", " reasons", "\n", "</think>", "\n", "Shown", "."],
    "weather": ["<tool_call>", '{"name": "get_weather", ', '"arguments": {"city": "Oslo"}}', "</tool_call>"],
    "think": ["<th", "ink>", "\n", "hidden reasons", "\n", "</th", "ink>", "\n\n", "Shown."],
    "reason": ["<think>", "\n", "well", " so", "\n", "</think>", "\n\n", "Shown", "."],
    "thoughts": {"small-q8": ["<think>", " one", "</think>", "Shown"], "small-q4": ["<think>", " two", "</think>", "Shown"]},
    "bare": ["No", " figures", "."],
    "held": {"small-q8": ["a", " b", " c", " d", " e"], "small-q4": ["a", " b", " x", " d", " e"]},
    "long": [f" word{i}" for i in range(400)],
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body, content_type="application/json", headers=()):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, message, headers=()):
        self.reply(status, json.dumps({"error": {"message": message, "type": "x", "code": None}}).encode(), headers=headers)

    def allowed(self):
        key = self.server.key
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        self.refuse(401, "Incorrect API key")
        return False

    def do_GET(self):
        name = "page.html" if self.path == "/" else self.path.lstrip("/")
        if self.path == "/v1/models":
            if self.allowed():
                data = [{"id": name, "object": "model", "chat": name != "base"} for name in self.server.models]
                self.reply(200, json.dumps({"object": "list", "data": data}).encode())
        elif "/" not in name and (PAGE / name).is_file():
            self.reply(200, (PAGE / name).read_bytes(), TYPES[(PAGE / name).suffix])
        else:
            self.refuse(404, "no such path")

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, request))
        chat = self.path == "/v1/chat/completions"
        text = request["messages"][-1]["content"] if chat else request["prompt"]
        if not self.allowed():
            return
        if text == "busy":
            self.refuse(429, "The queue is full.", [("Retry-After", "7")])
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            self.stream(text, request["model"], chat)
        except OSError:
            self.server.gone.set()

    def stream(self, text, model, chat):
        called = text == "weather" or (text == "weather of one" and model == MODELS[0])
        if text == "weather of one":
            text = "weather" if called else "same"
        self.bare = text == "bare"  # without the probabilities that were asked for
        answer = ANSWERS.get(text, [f"You said {text}", "."])
        tokens = answer[model] if isinstance(answer, dict) else answer
        decoder = codecs.getincrementaldecoder("utf-8")()
        for i, token in enumerate(tokens):
            data = token if isinstance(token, bytes) else token.encode("utf-8")
            name = "content"
            if text == "reason":  # as qx serve: the marks and the white space beside them are in no text
                name = "reasoning_content" if i < tokens.index("</think>") else "content"
                shown = "" if token in ("<think>", "</think>", "\n", "\n\n") else token
            else:
                shown = "" if called else decoder.decode(data)  # as qx serve: a call is in no text
            logprob = -0.05 - 0.3 * i - (0.1 if model == MODELS[1] else 0)
            self.event(self.chunk(chat, {name: shown}, data, logprob))
            if called and i == len(tokens) - 1:
                # OpenAI's own streams bring a call in parts.
                for part in ({"index": 0, "id": "call_1", "type": "function",
                              "function": {"name": "get_weather", "arguments": '{"city": '}},
                             {"index": 0, "function": {"arguments": '"Oslo <b>"}'}}):
                    self.event({"choices": [{"index": 0, "delta": {"tool_calls": [part]}, "finish_reason": None}]})
            if text in ("long", "held") and i == 3 and self.server.hold.is_set():
                # Goes on until the client goes away: comments are not events.
                while not self.server.released.wait(0.05):
                    self.wfile.write(b": still here\n\n")
                    self.wfile.flush()
        if text == "fail":
            self.event({"error": {"message": "The model ran out of <memory>."}})
            return
        if text == "break":
            return
        end = {"choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": "stop"}]}
        self.event(end)
        self.event({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": len(tokens),
                                            "prompt_tokens_details": {"cached_tokens": 0 if text == "hello" else 9}}})
        self.wfile.write(b"data: [DONE]\n\n")

    def chunk(self, chat, delta, data, logprob):
        try:
            name = data.decode("utf-8")
        except UnicodeDecodeError:
            name = "bytes:" + "".join(f"\\x{b:02x}" for b in data)
        others = [(name, logprob), ("other", math.log(0.02)), (" <b>", math.log(0.01))]
        if self.bare:
            choice = {"delta": delta}
        elif chat:
            token = {"token": name, "bytes": list(data), "logprob": logprob}
            token["top_logprobs"] = [{"token": t, "bytes": list(t.encode()) if t != name else list(data), "logprob": p}
                                     for t, p in others]
            choice = {"delta": delta, "logprobs": {"content": [token]}}
        else:
            choice = {"text": delta["content"], "logprobs": {"tokens": [name], "token_logprobs": [logprob],
                                                 "top_logprobs": [dict(others)], "text_offset": [0]}}
        return {"choices": [{"index": 0, "finish_reason": None} | choice]}

    def event(self, data):
        body = f"data: {json.dumps(data)}\n\n".encode()
        # In two writes, so that events and characters arrive in parts.
        self.wfile.write(body[:len(body) // 2])
        self.wfile.flush()
        self.wfile.write(body[len(body) // 2:])
        self.wfile.flush()


class MockServer(http.server.ThreadingHTTPServer):
    """requests: (path, body) of every POST. hold: answers to "long" and "held" stop after four tokens until the client goes, which
    sets gone, or until released."""
    daemon_threads = True

    def __init__(self, port=0, models=MODELS, key=None):
        super().__init__(("127.0.0.1", port), Handler)
        self.models, self.key, self.requests = models, key, []
        self.hold, self.gone, self.released = threading.Event(), threading.Event(), threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.released.set()
        self.shutdown()
        self.server_close()


if __name__ == "__main__":
    server = MockServer(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(server.url, flush=True)
    server.thread.join()
