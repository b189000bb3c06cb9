"""What a caller of Kyutai's Rust backend meets, without the backend: HTTPS alone, metadata before a handshake of nine bytes, pages
of two packets with the granules of a clock that is not Opus', words in pieces, and the end of the session for whatever is not
expected: the bytes of a frame of any kind, pings and text too, are a message to it."""

import base64
import hashlib
import json
import socket
import ssl
import struct
import threading
import time

import wire
from wire import AUDIO, HANDSHAKE, METADATA, TEXT

PIECES = ["Hel", "lo!", " Nice", " to meet", "", " you", "."]


class RustBackend:
    def __init__(self, certificate, key, packets):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.packets = self.listener.getsockname()[1], packets + packets[-1:] * 1000    # silence after it
        self.before_handshake, self.unexpected, self.heard, self.request = b"", [], b"", ""
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def end(self):
        self.thread.join(wire.DEADLINE)
        self.listener.close()

    def serve(self):
        plain, _ = self.listener.accept()
        plain.settimeout(wire.DEADLINE)
        self.socket = self.context.wrap_socket(plain, server_side=True)
        self.data = b""
        while b"\r\n\r\n" not in self.data:
            self.data += self.socket.recv(4096)
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        self.request = head.decode()
        key = next(line.split(": ")[1] for line in self.request.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        self.socket.sendall(("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                             f"sec-websocket-accept: {accept}\r\n\r\n").encode())
        self.send(METADATA, json.dumps({"text_temperature": 0.8, "build_info": {"rustc_version": "1"}, "instance_name": "a"}).encode())
        self.socket.settimeout(0.5)                     # the model takes its time
        try:
            self.before_handshake = self.socket.recv(4096)
        except TimeoutError:
            pass
        self.socket.settimeout(wire.DEADLINE)
        self.send(HANDSHAKE, bytes(8))
        threading.Thread(target=self.speak, daemon=True).start()
        self.listen()
        self.socket.close()

    def send(self, kind, payload):
        n = 1 + len(payload)
        head = b"\x82" + (bytes([n]) if n < 126 else struct.pack(">BH", 126, n))
        self.socket.sendall(head + bytes([kind]) + payload)

    def speak(self):
        """Frames of two packets, and a piece of a word with some of them."""
        pages, words = wire.pages(self.packets, granule=lambda n: 1920 * ((n + 1) // 2)), list(PIECES)
        pages[0] = b"".join(wire.headers()) + pages[0]
        try:
            for i in range(0, len(pages), 2):
                self.send(AUDIO, b"".join(pages[i:i + 2]))
                if words and i % 6 == 0:
                    self.send(TEXT, words.pop(0).encode())
                time.sleep(0.02)
        except OSError:
            pass

    def listen(self):
        """Frames until the caller closes."""
        while True:
            try:
                first, second = self.take(2)
                n = second & 127
                n = struct.unpack(">H", self.take(2))[0] if n == 126 else n
                mask, payload = self.take(4), self.take(n)
            except (OSError, EOFError):
                return
            payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
            if first & 15 == 8:
                return
            if first != 0x82 or not payload or payload[0] != AUDIO:
                self.unexpected.append((first, payload[:20]))
            else:
                self.heard += payload[1:]

    def take(self, n):
        while len(self.data) < n:
            piece = self.socket.recv(65536)
            if not piece:
                raise EOFError
            self.data += piece
        taken, self.data = self.data[:n], self.data[n:]
        return taken
