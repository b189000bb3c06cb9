"""livekit_agent.py URL QUESTION.wav REPLY.wav: an agent of LiveKit Agents whose model is the PersonaPlex plugin, both as they
come from PyPI (livekit-plugins-nvidia[personaplex]). In the place of a room it hears the question, at the speed of speech, and
its voice goes to a file; what it says is printed, a generation a line."""

import asyncio
import logging
import sys
import time
import wave

import aiohttp
from livekit import rtc
from livekit.agents import Agent, AgentSession
from livekit.agents.voice import io
from livekit.plugins.nvidia.experimental.realtime import RealtimeModel

PIECE, RATE = 480, 48000                                # 10 ms, as a room has them


class Ears(io.AudioInput):
    """A file of 24 kHz at twice its rate, and silence after it."""

    def __init__(self, path, seconds):
        super().__init__(label="ears")
        with wave.open(path) as f:
            samples = f.readframes(f.getnframes())
        doubled = b"".join(samples[i:i + 2] * 2 for i in range(0, len(samples), 2))
        self.samples, self.at, self.began, self.end = doubled, 0, time.monotonic(), int(seconds * RATE)

    async def __anext__(self):
        if self.at >= self.end:
            raise StopAsyncIteration
        await asyncio.sleep(max(0, self.began + self.at / RATE - time.monotonic()))
        piece = self.samples[self.at * 2:(self.at + PIECE) * 2].ljust(PIECE * 2, b"\0")
        self.at += PIECE
        return rtc.AudioFrame(piece, RATE, 1, PIECE)


class Mouth(io.AudioOutput):
    """What arrives, with the pauses left out."""

    def __init__(self, path):
        super().__init__(label="mouth", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=24000)
        self.file, self.seconds = wave.open(path, "wb"), 0
        self.file.setparams((1, 2, 24000, 0, "NONE", ""))

    async def capture_frame(self, frame):
        await super().capture_frame(frame)
        self.file.writeframes(bytes(frame.data))
        self.seconds += frame.duration

    def flush(self):
        super().flush()
        if self.seconds:
            self.on_playback_finished(playback_position=self.seconds, interrupted=False)
        self.seconds = 0

    def clear_buffer(self):
        self.flush()


async def main(url, question, reply):
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    async with aiohttp.ClientSession() as http:
        model = RealtimeModel(base_url=url, text_prompt="You enjoy having a good conversation.", seed=7, http_session=http)
        session = AgentSession(llm=model)
        ears, mouth = Ears(question, 12), Mouth(reply)
        session.input.audio, session.output.audio = ears, mouth
        session.on("conversation_item_added", lambda e: print(f"{e.item.role}: {e.item.text_content}", flush=True))
        await session.start(Agent(instructions="You enjoy having a good conversation."))
        while ears.at < ears.end:
            await asyncio.sleep(0.1)
        await session.aclose()
        mouth.file.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
