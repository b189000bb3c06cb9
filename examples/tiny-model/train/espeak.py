"""espeak-ng through ctypes, with the times at which each word and each phoneme starts."""

import ctypes
import ctypes.util
import re

import numpy as np
from scipy.signal import resample_poly

from config import SAMPLE_RATE


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint),
                ("text_position", ctypes.c_int), ("length", ctypes.c_int),
                ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
                ("user_data", ctypes.c_void_p), ("id", _EventId)]


class Espeak:
    """Synchronous; an instance is a process's only one, as libespeak-ng keeps its state in
    globals. Constants are those of espeak-ng/speak_lib.h."""

    WORD, PHONEME = 1, 7  # event types; 0 ends the list
    AUDIO_OUTPUT_SYNCHRONOUS, PHONEME_EVENTS = 2, 1
    RATE, PITCH = 1, 3

    def __init__(self):
        name = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
        self.lib = ctypes.CDLL(name)
        rate = self.lib.espeak_Initialize(self.AUDIO_OUTPUT_SYNCHRONOUS, 0, None, self.PHONEME_EVENTS)
        if rate != 22050:
            raise RuntimeError(f"espeak-ng: sample rate {rate} instead of 22050")
        cb_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int,
                                   ctypes.POINTER(_Event))
        self._cb = cb_type(self._callback)
        self.lib.espeak_SetSynthCallback(self._cb)
        self._pcm, self._words, self._phones = [], [], []

    def _callback(self, wav, n, events):
        if wav and n > 0:
            self._pcm.append(np.ctypeslib.as_array(wav, shape=(n,)).copy())
        i = 0
        while events[i].type != 0:
            e = events[i]
            if e.type == self.WORD:
                self._words.append((e.audio_position / 1000, e.text_position, e.length))
            elif e.type == self.PHONEME:
                self._phones.append((e.audio_position / 1000, e.id.string.decode("latin1")))
            i += 1
        return 0

    def __call__(self, text: str, voice: str, wpm: int = 150, pitch: int = 50):
        """Returns (pcm float32 at 24 kHz trimmed of surrounding silence,
        [(start_s, character position of the word)], [(start_s, phoneme)])."""
        self._pcm, self._words, self._phones = [], [], []
        if self.lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")
        self.lib.espeak_SetParameter(self.RATE, wpm, 0)
        self.lib.espeak_SetParameter(self.PITCH, pitch, 0)
        data = text.encode()
        self.lib.espeak_Synth(data, len(data) + 1, 0, 1, 0, 1, None, None)
        pcm = np.concatenate(self._pcm).astype(np.float32) / 32768
        # 22050 Hz to 24000 Hz
        pcm = resample_poly(pcm, 160, 147).astype(np.float32)
        loud = np.nonzero(np.abs(pcm) > 0.003)[0]
        start, end = max(0, loud[0] - 120), min(len(pcm), loud[-1] + 480)
        pcm = pcm[start:end]
        t0 = start / SAMPLE_RATE
        words = [(max(0.0, t - t0), p - 1) for t, p, n in self._words]
        phones = [(max(0.0, t - t0), ph) for t, ph in self._phones]
        return pcm, words, phones


def phoneme_class(name: str) -> str:
    """Espeak phoneme mnemonic -> coarse class name (stress and length marks removed)."""
    return re.sub(r"[^A-Za-z@#]", "", name)[:2] or "_"


def normalize(pcm: np.ndarray, peak: float) -> np.ndarray:
    return pcm * (peak / max(1e-4, float(np.abs(pcm).max())))
