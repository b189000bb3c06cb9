#!/usr/bin/python3
"""A voice bot: Moshi talks, the program listens to its words and acts on them.

    voicebot.py [--in FILE] [--out FILE] [--captions FILE.srt]

Without --in it uses the microphone and the loudspeaker (a headset: there is no
echo cancelling here, see talk.c). Each word is printed with its time, captions
go to a file, and the conversation ends when Moshi has said goodbye.

Needs Debian's python3-gi and python3-gst-1.0.
"""

import argparse
import signal
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
from gi.repository import GLib, Gst, GstApp  # noqa: E402, F401


def description(args):
    """The pipeline: ears, Moshi, voice; its words to us, its lines to a file."""
    ears = "filesrc name=in ! decodebin" if args.input else "autoaudiosrc ! queue"
    voice = ("audioconvert dithering=none ! audio/x-raw,format=S16LE ! wavenc ! filesink name=out" if args.input
             else "audioconvert ! audioresample ! queue ! autoaudiosink")
    return (f"{ears} ! audioconvert ! audioresample ! mimienc ! moshilm name=moshi ! mimidec ! {voice} "
            "moshi.text_src ! queue ! appsink name=words emit-signals=true async=false "
            f"sync={'false' if args.input else 'true'}")


def clock(ns):
    """Subtitle time: 00:00:01,600."""
    ms = ns // Gst.MSECOND
    return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"


class Captions:
    """Sentences, written as subtitles when they end."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="utf-8") if path else None
        self.words, self.start, self.number = [], 0, 0

    def add(self, word, start, end):
        self.start = self.start if self.words else start
        self.words.append(word)
        if word[-1] in ".?!":
            self.number += 1
            if self.file:
                self.file.write(f"{self.number}\n{clock(self.start)} --> {clock(end)}\n{' '.join(self.words)}\n\n")
                self.file.flush()
            self.words = []

    def close(self):
        if self.file:
            self.file.close()


class Bot:
    def __init__(self, args):
        self.captions = Captions(args.captions)
        self.loop = GLib.MainLoop()
        self.failed = self.leaving = False
        self.pipeline = Gst.parse_launch(description(args))
        if args.input:
            self.pipeline.get_by_name("in").set_property("location", args.input)
            self.pipeline.get_by_name("out").set_property("location", args.output)
        self.pipeline.get_by_name("words").connect("new-sample", self.on_word)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message)

    def on_word(self, sink):
        """Called by a thread of the pipeline: no more here than must be."""
        buffer = sink.emit("pull-sample").get_buffer()
        word = buffer.extract_dup(0, buffer.get_size()).decode()
        GLib.idle_add(self.hear, word, buffer.pts, buffer.pts + buffer.duration)
        return Gst.FlowReturn.OK

    def hear(self, word, start, end):
        print(f"{start / Gst.SECOND:7.2f} s  {word}", flush=True)
        self.captions.add(word, start, end)
        if word.startswith("Goodbye"):
            self.leave()
        return GLib.SOURCE_REMOVE

    def leave(self):
        """No more questions; Moshi finishes what it is saying."""
        if not self.leaving:
            self.leaving = True
            self.pipeline.send_event(Gst.Event.new_eos())
        return GLib.SOURCE_CONTINUE

    def on_message(self, _bus, message):
        if message.type == Gst.MessageType.ERROR:
            error, _debug = message.parse_error()
            print(f"{message.src.get_name()}: {error.message}", file=sys.stderr)
            self.failed = True
        if message.type in (Gst.MessageType.ERROR, Gst.MessageType.EOS):
            # After the words that are still on their way to hear().
            GLib.idle_add(self.loop.quit, priority=GLib.PRIORITY_LOW)

    def run(self):
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGINT, self.leave)
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)
        self.captions.close()
        return self.failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in", dest="input", metavar="FILE", help="a question instead of the microphone")
    parser.add_argument("--out", dest="output", metavar="FILE", default="reply.wav", help="the reply to it")
    parser.add_argument("--captions", metavar="FILE", help="subtitles of what Moshi says")
    args = parser.parse_args()
    Gst.init(None)
    try:
        return Bot(args).run()
    except GLib.Error as error:
        print(error.message, file=sys.stderr)
        return True


if __name__ == "__main__":
    sys.exit(main())
