# SPDX-License-Identifier: Apache-2.0
"""A server of chat completions that misbehaves: server.py LOG MODE. Writes its port to LOG.port, a line to LOG for each request.
flaky: the first requests get, in turn, 429, 500, a closed connection, no JSON, an answer that comes too late; then it answers.
dying: answers five requests, then only 503. refusing: 401. Answers "a + b" rightly for even seeds, wrongly for odd ones."""
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

log, mode = sys.argv[1], sys.argv[2]
lock = threading.Lock()
count = 0


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def reply(self, status, body, headers=()):
        data = body.encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        global count
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with lock:
            number, count = count, count + 1
            with open(log, "a") as file:
                file.write(json.dumps({"path": self.path, "key": self.headers.get("Authorization"),
                                       "roles": [m["role"] for m in asked["messages"]]}) + "\n")
        if mode == "refusing":
            return self.reply(401, '{"error": "no such key"}')
        if mode == "dying" and number >= 5:
            return self.reply(503, "over")
        if mode == "flaky" and number < 5:
            if number == 0:
                return self.reply(429, "slowly", [("Retry-After", "0.05")])
            if number == 1:
                return self.reply(500, "oh")
            if number == 2:
                self.close_connection = True
                return self.connection.close()
            if number == 3:
                return self.reply(200, '{"choices": [')
            time.sleep(2)  # longer than the asker waits
        a, b = map(int, re.search(r"(\d+) \+ (\d+)", asked["messages"][-1]["content"]).groups())
        text = f"It is {a + b}." if asked["seed"] % 2 == 0 else f"It is {a - b - 1}."
        self.reply(200, json.dumps({
            "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"completion_tokens": 4}}))


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(log + ".part", "w") as file:
    file.write(str(server.server_address[1]))
import os  # noqa: E402
os.rename(log + ".part", log + ".port")
server.serve_forever()
