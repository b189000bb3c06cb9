"""Callers at the speed of speech, many of them in one thread: they say the question again and again, and note when each
frame of the reply comes."""

import selectors
import struct
import time

import wire
from callers import begin, usual_messages
from harness import ANSWER
from wire import AUDIO, TEXT, Caller, Closed

FRAME = 0.08
ROUND = 87                                              # frames: the question, and time for the answer


class Talker:
    def __init__(self, port):
        self.caller = Caller(port)
        begin(self.caller)
        self.began = None                               # monotonic time
        self.sent, self.messages = 0, usual_messages()
        self.data, self.text, self.ogg, self.arrivals, self.packets = self.caller.data, b"", b"", [], 0

    def due(self):
        return self.began + self.sent * FRAME

    def say(self):
        message = self.messages[self.sent % ROUND]
        if self.sent and self.sent % ROUND == 0:        # the headers are not said again
            message = message[sum(map(len, wire.headers())):]
        self.caller.send(AUDIO, message)
        self.sent += 1

    def hear(self):
        """What has come; a message is two bytes, and more when it is long, and its payload."""
        piece = self.caller.socket.recv(65536)
        if not piece:
            raise Closed
        now, self.data = time.monotonic(), self.data + piece
        while len(self.data) >= 2:
            opcode, n, at = self.data[0] & 15, self.data[1] & 127, 2
            if n == 126 and len(self.data) >= 4:
                (n,), at = struct.unpack_from(">H", self.data, 2), 4
            if n == 126 and at == 2 or len(self.data) < at + n:
                return
            payload, self.data = self.data[at:at + n], self.data[at + n:]
            if opcode == 9:
                self.caller.send_frame(payload, 10)
            elif opcode == 2:
                self.take(payload[0], payload[1:], now)
            elif opcode == 8:
                raise Closed(int.from_bytes(payload[:2], "big"), payload[2:].decode())

    def take(self, kind, payload, now):
        if kind == TEXT:
            self.text += payload
        elif kind == AUDIO:
            self.ogg += payload
            for _ in range(payload.count(b"OggS") - 2 * (self.packets == 0)):
                if self.packets % 2:                    # a frame is two packets
                    self.arrivals.append(now - self.began - len(self.arrivals) * FRAME)
                self.packets += 1

    def lateness(self):
        """s of each frame, after the time at which it would have come had all taken as long as the fastest."""
        return [a - min(self.arrivals) for a in self.arrivals]

    def answers(self):
        return self.text.decode().count(ANSWER)


def talk(talkers, seconds):
    """For some time, one after the other within a frame."""
    selector, end = selectors.DefaultSelector(), time.monotonic() + seconds
    for i, t in enumerate(talkers):
        t.began = time.monotonic() + FRAME * i / len(talkers)
        selector.register(t.caller.socket, selectors.EVENT_READ, t)
    while (now := time.monotonic()) < end:
        for t in talkers:
            if t.due() <= now:
                t.say()
        wait = min(t.due() for t in talkers) - time.monotonic()
        for key, _events in selector.select(max(0, wait)):
            key.data.hear()
    selector.close()


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
