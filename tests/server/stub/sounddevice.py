"""In the place of the package sounddevice: the microphone is the file FAKE_IN (24 kHz mono S16, silence after its end),
the loudspeaker the file FAKE_OUT; both at the speed of the clock."""

import os
import threading
import time
import wave

import numpy as np


class _Stream:
    def __init__(self, samplerate, channels, blocksize, callback):
        self.rate, self.channels, self.size, self.callback = samplerate, channels, blocksize, callback
        self.stop = threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def run(self):
        began, blocks = time.monotonic(), 0
        while not self.stop.is_set():
            self.block()
            blocks += 1
            time.sleep(max(0, began + blocks * self.size / self.rate - time.monotonic()))


class InputStream(_Stream):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        with wave.open(os.environ["FAKE_IN"]) as f:
            self.samples = np.frombuffer(f.readframes(f.getnframes()), "<i2").astype(np.float32)[:, None] / 32768
        self.at = 0

    def block(self):
        block = np.zeros((self.size, 1), np.float32)
        some = self.samples[self.at:self.at + self.size]
        block[:len(some)] = some
        self.at += self.size
        self.callback(block, self.size, None, None)


class OutputStream(_Stream):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.file = open(os.environ["FAKE_OUT"], "wb", buffering=0)

    def block(self):
        block = np.zeros((self.size, self.channels), np.float32)
        self.callback(block, self.size, None, None)
        self.file.write((np.clip(block[:, 0], -1, 1) * 32767).astype("<i2").tobytes())
