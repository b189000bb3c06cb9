"""Callers of moshi-server, good and bad. They say what they have to say at once, and the server answers as fast as it
computes, so nothing here depends on how fast the machine is."""

import contextlib
import json
import os
import socket
import struct
import time

import wire
from harness import ANSWER, TINY, WORK
from wire import AUDIO, ERROR, HANDSHAKE, METADATA, TEXT, Caller, Closed

TRY_AGAIN_LATER, POLICY_VIOLATION, GOING_AWAY = 1013, 1008, 1001


def question(milliseconds=40):
    return wire.encode(TINY / "user_hello.wav", WORK, milliseconds)


def usual_messages():
    """As Kyutai's own client sends them."""
    pages = wire.headers() + wire.pages(question(), granule=lambda n: n * 1920)
    return [b"".join(pages[:4])] + [b"".join(pages[i:i + 2]) for i in range(4, len(pages), 2)]


def begin(caller):
    """Until the handshake; returns the metadata."""
    metadata = json.loads(caller.wait_for(METADATA))
    while "lm_model_file" not in metadata:
        metadata = json.loads(caller.wait_for(METADATA))
    got = caller.receive()
    assert got == (HANDSHAKE, bytes(8)), got
    return metadata


def listen(caller, seconds=6.5):
    """(text, bytes of Ogg) of the reply's first seconds."""
    text, ogg, packets = b"", b"", 0
    while packets < seconds / 0.04:
        kind, payload = caller.receive()
        if kind == AUDIO:
            packets += len(payload.split(b"OggS")) - 1
            ogg += payload
        elif kind == TEXT:
            payload.decode()
            text += payload
        else:
            raise AssertionError(f"kind {kind}: {payload}")
    return text.decode(), ogg


def converse(server, messages=None, **connection):
    caller = Caller(server.port, tls=server.tls, **connection)
    begin(caller)
    for message in messages or usual_messages():
        caller.send(AUDIO, message)
    text, ogg = listen(caller)
    caller.close()
    return text, ogg


def expect(text, wanted=ANSWER):
    """Words come with a space before them."""
    assert text == f" {wanted}", f"it says {text!r}"


def expect_close(caller, code, error=None):
    """Whatever comes before the end is of no interest, but for the error message."""
    said = None
    try:
        while True:
            kind, payload = caller.receive()
            if kind == ERROR:
                said = payload.decode()
    except Closed as e:
        assert e.code == code, f"close code {e.code}, not {code}"
    assert error is None or (said and error in said), f"it says {said}"
    caller.socket.close()


# ---------------------------------------------------------------- who misbehaves

def flood_fragments(port):
    """A message without an end, as fast as it goes."""
    caller = Caller(port)
    caller.send_frame(b"\x01", fin=False)
    piece = bytes(60000)
    try:
        while True:
            caller.send_frame(piece, 0, False)
    except OSError:
        caller.socket.close()


def flood_pings(port):
    caller = Caller(port)
    try:
        while True:
            caller.socket.sendall(b"\x89\x80\0\0\0\0" * 10000)
    except OSError:
        caller.socket.close()


def too_fast(port):
    caller = Caller(port)
    begin(caller)
    caller.send(AUDIO, b"".join(wire.headers()))
    with contextlib.suppress(OSError):
        caller.send(AUDIO, b"".join(wire.pages([b"\x5b\x02"] * 300, 100)))      # 120 ms in two bytes
    expect_close(caller, POLICY_VIOLATION, "faster")


def too_big(port):
    caller = Caller(port)
    with contextlib.suppress(OSError):
        caller.send(AUDIO, bytes(3 << 20))
    with contextlib.suppress(Closed, OSError):
        while True:
            caller.receive()


def never_reads(port):
    caller = Caller(port, "format=pcm", buffer=2048)
    for _ in range(1000):
        try:
            caller.send(AUDIO, bytes(48000 // 25))
        except OSError:
            break
        time.sleep(0.01)
    caller.socket.close()


def garbage(port):
    caller = Caller(port)
    begin(caller)
    noise = os.urandom(2000)
    for kind in range(256):
        caller.send(kind, noise[kind:kind * 3])
    caller.send_frame(b"")
    caller.send_frame(b"text", 1)
    for n in range(20):
        caller.send(AUDIO, wire.page(noise[n:n + 200], [n] * (200 // (n + 1)), sequence=n))
    caller.send(AUDIO, b"".join(wire.headers() + wire.pages([noise[i:i + 60] for i in range(0, 1200, 60)])))
    caller.close()


def killed(port):
    caller = Caller(port)
    begin(caller)
    for message in usual_messages()[:3]:
        caller.send(AUDIO, message)
    caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.socket.close()


def broken_frames(port):
    for frame in [b"\x82\x05hello", b"\xf2\x80\0\0\0\0", b"\x83\x80\0\0\0\0", b"\x80\x81\0\0\0\0x",
                  b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", b"\x88\xff" + bytes(8), b"GET / HTTP/1.1\r\n\r\n"]:
        caller = Caller(port)
        with contextlib.suppress(OSError):
            caller.socket.sendall(frame)
            caller.socket.settimeout(0.2)
            while caller.socket.recv(1000):
                pass
        caller.socket.close()
