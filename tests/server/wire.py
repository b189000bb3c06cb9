"""What a caller needs, from nothing but the standard library: a WebSocket, Ogg pages, and Opus packets
that GStreamer makes. Everything of it can be done wrong on purpose."""

import base64
import os
import socket
import ssl
import struct
import subprocess
import time

HANDSHAKE, AUDIO, TEXT, CONTROL, METADATA, ERROR = range(6)
DEADLINE = 60


class Closed(Exception):
    """The connection is closed; code is the WebSocket's, None without a closing handshake."""

    def __init__(self, code=None, reason=""):
        super().__init__(f"closed: {code} {reason}")
        self.code, self.reason = code, reason


class Refused(Exception):
    def __init__(self, status, headers):
        super().__init__(f"HTTP {status}")
        self.status, self.headers = status, headers


def connect(port, tls=False, buffer=None):
    s = socket.socket()
    if buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    s.settimeout(DEADLINE)
    s.connect(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        s = context.wrap_socket(s)
    return s


def http(port, path, headers=(), method="GET", tls=False):
    """(status, headers, body)"""
    s = connect(port, tls)
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]
    s.sendall("\r\n".join(lines).encode())
    data = b""
    while piece := s.recv(65536):
        data += piece
    s.close()
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    if "chunked" in head.decode().lower():
        body = b"".join(body.split(b"\r\n")[1::2])
    return int(lines[0].split()[1]), dict(line.lower().split(": ", 1) for line in lines[1:]), body


class Caller:
    """A WebSocket of /api/chat."""

    def __init__(self, port, query="", headers=(), tls=False, buffer=None, path="/api/chat"):
        self.socket, self.data = connect(port, tls, buffer), b""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path}{'?' + query if query else ''} HTTP/1.1", f"Host: localhost:{port}", "Upgrade: websocket",
                 "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *headers, "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        while b"\r\n\r\n" not in self.data:
            self.fill()
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        if int(lines[0].split()[1]) != 101:
            raise Refused(int(lines[0].split()[1]), dict(line.lower().split(": ", 1) for line in lines[1:]))

    def fill(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise Closed
        self.data += piece

    def take(self, n):
        while len(self.data) < n:
            self.fill()
        taken, self.data = self.data[:n], self.data[n:]
        return taken

    def send_frame(self, payload, opcode=2, fin=True):
        n = len(payload)
        mask = os.urandom(4)
        head = bytes([fin << 7 | opcode])
        head += bytes([128 | n]) if n < 126 else struct.pack(">BH", 254, n) if n < 65536 else struct.pack(">BQ", 255, n)
        key = (mask * (n // 4 + 1))[:n]
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(n, "big") if n else b""
        self.socket.sendall(head + mask + masked)

    def send(self, kind, payload=b""):
        self.send_frame(bytes([kind]) + payload)

    def frame(self):
        """(opcode, payload) of the next frame."""
        first, second = self.take(2)
        n = second & 127
        if n == 126:
            n, = struct.unpack(">H", self.take(2))
        elif n == 127:
            n, = struct.unpack(">Q", self.take(8))
        return first & 15, self.take(n)

    def receive(self, timeout=DEADLINE):
        """(kind, payload) of the next message; pings are answered."""
        end = time.monotonic() + timeout
        while True:
            self.socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                opcode, payload = self.frame()
            except (ConnectionError, ssl.SSLError) as e:
                if isinstance(e, ssl.SSLError) and "timed out" in str(e):
                    raise TimeoutError from None
                raise Closed from None
            if opcode == 8:
                code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else None
                self.send_frame(payload[:2], 8)
                raise Closed(code, payload[2:].decode())
            if opcode == 9:
                self.send_frame(payload, 10)
            elif opcode == 2:
                return payload[0], payload[1:]

    def wait_for(self, kind, timeout=DEADLINE):
        while True:
            got, payload = self.receive(timeout)
            if got == kind:
                return payload

    def close(self):
        try:
            self.send_frame(struct.pack(">H", 1000), 8)
            while True:
                self.receive(5)
        except (Closed, OSError):
            pass
        self.socket.close()


# ---------------------------------------------------------------- Ogg

def crc(data):
    value = 0
    for byte in data:
        value = (value << 8 & 0xffffffff) ^ CRC[value >> 24 ^ byte]
    return value


def _crc_row(n):
    n <<= 24
    for _ in range(8):
        n = (n << 1 & 0xffffffff) ^ (0x04c11db7 if n & 0x80000000 else 0)
    return n


CRC = [_crc_row(n) for n in range(256)]


def page(body, lacing, granule=0, flags=0, serial=42, sequence=0):
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, serial, sequence, 0, len(lacing)) + bytes(lacing)
    return head[:22] + struct.pack("<I", crc(head + body)) + head[26:] + body


def lace(size):
    return [255] * (size // 255) + [size % 255]


def headers(serial=42):
    head = struct.pack("<8sBBHIhB", b"OpusHead", 1, 1, 3840, 48000, 0, 0)
    tags = struct.pack("<8sI", b"OpusTags", 11) + b"KyutaiMoshi" + bytes(4)
    return [page(head, lace(len(head)), flags=2, serial=serial), page(tags, lace(len(tags)), serial=serial, sequence=1)]


def pages(packets, per_page=1, granule=lambda n: 0, serial=42):
    """One page for every per_page packets; granule gets the number of packets so far."""
    out = []
    for i in range(0, len(packets), per_page):
        some = packets[i:i + per_page]
        out.append(page(b"".join(some), sum((lace(len(p)) for p in some), []), granule(i + len(some)), serial=serial,
                        sequence=2 + len(out)))
    return out


def split_pages(data):
    """[(sequence, granule, flags, lacing, body)] of a stream, CRCs checked; a packet ends in a segment below 255."""
    out, at = [], 0
    while at < len(data):
        magic, version, flags, granule, _serial, sequence, check, n = struct.unpack_from("<4sBBqIIIB", data, at)
        lacing = data[at + 27:at + 27 + n]
        end = at + 27 + n + sum(lacing)
        whole = bytearray(data[at:end])
        whole[22:26] = bytes(4)
        assert magic == b"OggS" and version == 0 and crc(whole) == check, "a broken page"
        out.append((sequence, granule, flags, lacing, data[at + 27 + n:end]))
        at = end
    return out


def packets_of(data):
    """The packets of a stream, without the headers."""
    packets, current = [], b""
    for *_, lacing, body in split_pages(data):
        for n in lacing:
            current, body = current + body[:n], body[n:]
            if n < 255:
                packets.append(current)
                current = b""
    return packets[2:]


# ---------------------------------------------------------------- Opus

def launch(*parts):
    subprocess.run(["gst-launch-1.0", "-q", *" ".join(map(str, parts)).split()], check=True, timeout=DEADLINE)


def encode(wav, work, milliseconds=40, silence=4):
    """The packets of a file, and of some seconds of silence after it."""
    out = work / f"{wav.stem}-{milliseconds}.ogg"
    size = min(milliseconds, 60)
    if milliseconds == 80:
        size = 40
    if not out.exists():
        launch("concat name=c ! audio/x-raw,rate=24000 ! audioconvert ! opusenc bitrate=32000 audio-type=voice "
               f"frame-size={size} ! oggmux ! filesink location={out} filesrc location={wav} ! wavparse ! audioconvert ! "
               "audioresample ! audio/x-raw,format=F32LE,rate=24000,channels=1,layout=interleaved ! c. "
               f"audiotestsrc wave=silence samplesperbuffer=1200 num-buffers={silence * 20} ! "
               "audio/x-raw,format=F32LE,rate=24000,channels=1,layout=interleaved ! c.")
    packets = packets_of(out.read_bytes())
    if milliseconds == 80:
        packets = [two_in_one(a, b) for a, b in zip(packets[::2], packets[1::2])]
    return packets


def two_in_one(a, b):
    """A packet with the frames of two (RFC 6716, code 2), which must be of one configuration."""
    if a[0] & 3 or b[0] & 3 or (a[0] ^ b[0]) & 0xfc:
        raise ValueError("packets of two kinds")
    n = len(a) - 1
    return bytes([a[0] & 0xfc | 2]) + (bytes([n]) if n < 252 else bytes([252 + (n & 3), n - 252 - (n & 3) >> 2])) + a[1:] + b[1:]


def decode(ogg, work, name):
    """24 kHz S16 samples of a stream as a file name."""
    source, out = work / f"{name}.ogg", work / f"{name}.raw"
    source.write_bytes(ogg)
    launch(f"filesrc location={source} ! oggdemux ! opusdec ! audioconvert ! audioresample ! "
           f"audio/x-raw,format=S16LE,rate=24000,channels=1 ! filesink location={out}")
    return out
