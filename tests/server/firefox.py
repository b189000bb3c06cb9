"""A headless Firefox, by its own remote protocol (Marionette: JSON with its length before it, over TCP)."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import time

BROWSER = shutil.which("firefox-esr") or shutil.which("firefox")


class Firefox:
    def __init__(self, folder, preferences):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        preferences = {"marionette.port": port, **preferences}
        (folder / "user.js").write_text("".join(f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in preferences.items()))
        # A sanitizer that is preloaded is the server's, not the browser's.
        environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"} | {"HOME": str(folder)}
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen([BROWSER, "--headless", "--marionette", "--no-remote", "--profile", folder],
                                            env=environment, stdout=log, stderr=subprocess.STDOUT)
        self.connection = self.connect(port)
        self.answers = self.connection.makefile("rb")
        self.sent = 0
        self.read()
        self.call("WebDriver:NewSession")

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.connection.close()
        self.process.terminate()
        self.process.wait()

    def connect(self, port):
        for _ in range(600):
            try:
                return socket.create_connection(("127.0.0.1", port), 60)
            except OSError:
                assert self.process.poll() is None, "Firefox has ended"
                time.sleep(0.1)
        raise AssertionError("Firefox does not answer")

    def read(self):
        length = b""
        while (digit := self.answers.read(1)) != b":":
            assert digit, "Firefox has hung up"
            length += digit
        return json.loads(self.answers.read(int(length)))

    def call(self, command, **parameters):
        self.sent += 1
        message = json.dumps([0, self.sent, command, parameters]).encode()
        self.connection.sendall(b"%d:%s" % (len(message), message))
        _, _, error, result = self.read()
        assert not error, f"{command}: {error['message']}"
        return result

    def open(self, url):
        self.call("WebDriver:Navigate", url=url)

    def click(self, name):
        element = self.call("WebDriver:FindElement", using="css selector", value=f"#{name}")["value"]
        self.call("WebDriver:ElementClick", id=next(iter(element.values())))

    def text(self, name):
        return self.call("WebDriver:ExecuteScript", script=f"return document.getElementById('{name}').textContent", args=[])["value"]

    def wait(self, name, pattern, patience=40):
        """Until the element's text matches."""
        for _ in range(patience * 10):
            if re.search(pattern, text := self.text(name)):
                return text
            time.sleep(0.1)
        raise AssertionError(f"{name}: no {pattern} in \"{text}\"")

    def picture(self, path):
        path.write_bytes(base64.b64decode(self.call("WebDriver:TakeScreenshot", full=False)["value"]))
