"""A client of the explorer that sends what it is told to, and no more."""

import http.client
import json
import re
import time
from urllib.parse import urlencode

from embedkit.explorer.doors import WRITING


class Client:
    """A page's connection: its address was opened, so it has the cookie and the start."""

    def __init__(self, served):
        self.port = served.port
        self.host = f"127.0.0.1:{served.port}"
        self.cookie = ""
        status, headers, body = self.send("GET", served.address.partition(self.host)[2])
        assert status == 200
        self.cookie = headers["set-cookie"].partition(";")[0]
        found = re.search(
            r'<script type="application/json" id="data">(.*?)</script>', body.decode()
        )
        self.start = json.loads(found[1])
        self.at = f"/at/{self.start['stamp']}/"

    def send(self, method, path, body=None, headers=None):
        """Send one request; return status, headers, body."""
        given = {"Host": self.host} | ({"Cookie": self.cookie} if self.cookie else {})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, given | (headers or {}))
            response = connection.getresponse()
            return (
                response.status,
                {k.lower(): v for k, v in response.getheaders()},
                response.read(),
            )
        finally:
            connection.close()

    def get(self, path, **asked):
        """Ask for JSON; return status and document."""
        status, _, body = self.send(
            "GET", self.at + path + (f"?{urlencode(asked)}" if asked else "")
        )
        return status, json.loads(body)

    def post(self, path, body, **headers):
        """Send something from the page; return status and document."""
        own = {WRITING: self.start["writing"]} | headers
        status, _, answer = self.send("POST", self.at + path, body, own)
        return status, json.loads(answer)

    def tick(self, name, number, answer):
        """Tick one thing."""
        return self.post(f"tick/{name}/{number}", json.dumps({"answer": answer}))

    def wait_for(self, path):
        """Ask until what takes long is there."""
        until = time.monotonic() + 120
        while time.monotonic() < until:
            status, document = self.get(path)
            if status != 202:
                return status, document
            assert document["seconds"] >= 0
            time.sleep(0.05)
        raise AssertionError(f"{path} is not there after two minutes")
