"""test_page.py SERVER CLIENT SOURCE WORK: the web page in a headless Chromium with a WAV for a microphone. Prints TAP.

Needs Debian's chromium, chromium-driver and python3-selenium, and is skipped without them. Screenshots of what
was seen are left in WORK."""

import array
import math
import os
import re
import shutil
import sys
import time
import wave

from harness import SOURCE, TINY, WORK, run_tests, serving, skip_all

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
except ImportError:
    webdriver = None

DEADLINE = 40
WEBRTC = "&transport=webrtc"
LOOPBACK = ("--ice-address", "127.0.0.1")  # and the browser likewise: no other network is needed
MICROPHONE = ("--allow-loopback-in-peer-connection", "--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={WORK}/microphone.wav")


def page_server(*options):
    return serving("--static", SOURCE / "examples/server/web", *options)


class Page:
    """A browser with the page open."""

    def __init__(self, port, query="", options=MICROPHONE, host="127.0.0.1", size=(900, 1100)):
        o = webdriver.ChromeOptions()
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--use-fake-device-for-media-stream",
                         "--autoplay-policy=no-user-gesture-required", f"--window-size={size[0]},{size[1]}", *options):
            o.add_argument(argument)
        o.binary_location = shutil.which("chromium")
        o.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        # A sanitizer that is preloaded is the server's, not the browser's.
        environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
        self.driver = webdriver.Chrome(options=o, service=Service(shutil.which("chromedriver"), env=environment))
        self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(WORK)})
        # A tone or a voice is not to be taken for noise: the browser's processing is off.
        self.driver.get(f"http://{host}:{port}/?processing=off{query}")

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.driver.quit()

    def text(self, name):
        return self.driver.find_element(By.ID, name).get_property("textContent")

    def talk(self):
        self.driver.find_element(By.ID, "talk").click()

    def wait(self, name, pattern):
        """Until the element's text matches."""
        for _ in range(DEADLINE * 10):
            if re.search(pattern, self.text(name)):
                return self.text(name)
            time.sleep(0.1)
        raise AssertionError(f"{name}: no {pattern} in \"{self.text(name)}\"; {self.driver.get_log('browser')}")

    def picture(self, name):
        self.driver.save_screenshot(str(WORK / f"{name}.png"))


def loud_seconds(samples):
    tenths = [samples[i:i + 2400] for i in range(0, len(samples) - 2399, 2400)]
    return sum(math.sqrt(sum(x * x for x in t) / 2400) > 328 for t in tenths) / 10


def number(text):
    return int(re.match(r"\d+", text)[0])


def downloaded(page, kind):
    path = WORK / f"moshi.{kind}"
    path.unlink(missing_ok=True)
    page.driver.execute_script(f"document.querySelector('[data-keep={kind}]').click()")
    for _ in range(DEADLINE * 10):
        if path.exists():
            return path
        time.sleep(0.1)
    raise AssertionError(f"no {path.name} comes")


def converse(query, label):
    """Heard and seen in the page: words, sound and lag; and in the files it keeps."""
    with page_server(*LOOPBACK) as server, Page(server.port, query) as page:
        page.driver.find_element(By.CSS_SELECTOR, "#health summary").click()
        page.talk()
        page.wait("captions", r"Hello!\s*Nice to meet you\.")
        time.sleep(2)  # the end of its voice
        assert page.text("codec") == label, page.text("codec")
        lag, gaps = number(page.text("lag-now")), number(page.text("gaps"))
        print(f"# {label}: lag {lag} ms, buffer {page.text('buffer')}, gaps {gaps}")
        assert 80 <= lag < 5000, lag
        page.picture(f"talk-{query.partition('=')[2]}")
        page.talk()
        page.wait("status", "is over")
        with wave.open(str(downloaded(page, "wav"))) as f:
            assert (f.getnchannels(), f.getframerate()) == (2, 24000)
            both = array.array("h", f.readframes(f.getnframes()))
        you, moshi = loud_seconds(both[0::2]), loud_seconds(both[1::2])
        assert you > 0.3 and moshi > 1, f"{you} s and {moshi} s of voice"
        said = downloaded(page, "txt").read_text()
        assert re.fullmatch(r"\[00:00:\d\d\.\d{3}\] Hello!\n\[00:00:\d\d\.\d{3}\] Nice to meet you\.\n", said), said
        captions = downloaded(page, "vtt").read_text()
        assert captions.startswith("WEBVTT\n\n00:00:") and captions.count(" --> ") == 2, captions


def test_opus():
    converse("&format=opus", "Opus")


def test_uncompressed():
    converse("&format=pcm", "uncompressed")


def test_webrtc():
    converse(WEBRTC, "Opus by WebRTC")


def test_phone_and_keyboard():
    """A narrow screen has everything inside of it; the button answers to the keyboard."""
    with page_server() as server, Page(server.port, size=(500, 900), options=(*MICROPHONE, "--blink-settings=preferredColorScheme=0")) as page:
        wide = page.driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{wide} pixels too wide"
        page.driver.execute_script("document.getElementById('talk').focus()")
        page.driver.switch_to.active_element.send_keys(" ")
        page.wait("status", "listens")
        page.driver.switch_to.active_element.send_keys("\n")
        page.wait("status", "is over")
        page.picture("phone-dark")


def test_no_permission():
    with page_server() as server, Page(server.port, options=("--deny-permission-prompts",)) as page:
        page.talk()
        page.wait("status", "does not let this page use the microphone")
        assert page.text("talk") == "Talk"
        page.picture("no-permission")


def test_no_loudspeaker():
    """The browser's sound never starts, as where there is nothing to play to."""
    with page_server() as server, Page(server.port) as page:
        page.driver.execute_script("""
            AudioContext.prototype.resume = () => new Promise(() => {});
            Object.defineProperty(AudioContext.prototype, "state", { get: () => "suspended" });""")
        page.talk()
        page.wait("status", "cannot play sound")
        assert page.text("talk") == "Talk"


def test_insecure():
    """Neither https nor localhost, though it is this machine by another name."""
    elsewhere = (*MICROPHONE, "--host-resolver-rules=MAP moshi.test 127.0.0.1")
    with page_server() as server, Page(server.port, host="moshi.test", options=elsewhere) as page:
        page.wait("status", "only to a secure page")
        page.talk()
        page.wait("status", "only to a secure page")
        page.picture("insecure")


def test_token():
    with page_server("--token", "sesame") as server, Page(server.port) as page:
        page.talk()
        page.wait("status", "wants an access token")
        page.driver.get(f"http://127.0.0.1:{server.port}/?processing=off&token=sesame")
        page.talk()
        page.wait("status", "listens")


def test_queue_and_full():
    with page_server("--sessions", "1", "--queue", "1") as server, Page(server.port) as first, Page(server.port) as second:
        first.talk()
        first.wait("status", "listens")
        second.talk()
        second.wait("status", "number 1 of 1 in the queue")
        second.picture("queue")
        with Page(server.port) as third:
            third.talk()
            third.wait("status", "server is full")
            third.picture("full")
        first.talk()
        second.wait("status", "listens")


def test_webrtc_lost():
    """Who waits is told so, and has his turn; a server that dies is called again."""
    with page_server("--sessions", "1", *LOOPBACK) as server, Page(server.port, WEBRTC) as first, Page(server.port, WEBRTC) as second:
        first.talk()
        first.wait("status", "listens")
        second.talk()
        second.wait("status", "number 1 of 1 in the queue")
        first.talk()
        second.wait("status", "listens")
        server.kill()
        second.wait("status", "Calling again")
        second.picture("webrtc-lost")


def test_webrtc_token():
    with page_server("--token", "sesame", *LOOPBACK) as server, Page(server.port, WEBRTC) as page:
        page.talk()
        page.wait("status", "wants an access token")


def test_lost_and_found():
    """A dead server is called again; a new one at its place answers."""
    with page_server() as server, Page(server.port) as page:
        page.talk()
        page.wait("status", "listens")
        server.kill()
        page.wait("status", "Calling again")
        page.picture("lost")
        with page_server("--port", str(server.port)):
            page.wait("status", "listens")


def make_microphone():
    """The question, and silence for the answer; the browser plays it again and again."""
    with wave.open(str(TINY / "user_hello.wav")) as f:
        samples = array.array("h", f.readframes(f.getnframes()))
    doubled = array.array("h", [0] * 24000)
    for a, b in zip(samples, samples[1:]):
        doubled.extend((a, (a + b) // 2))
    doubled.extend([0] * 48000 * 30)
    with wave.open(str(WORK / "microphone.wav"), "wb") as f:
        f.setparams((1, 2, 48000, 0, "NONE", ""))
        f.writeframes(doubled.tobytes())


def main():
    if not (webdriver and shutil.which("chromium") and shutil.which("chromedriver")):
        return skip_all("chromium, chromium-driver or python3-selenium is missing")
    os.environ["HOME"] = str(WORK)
    return run_tests(globals(), prepare=make_microphone)


if __name__ == "__main__":
    sys.exit(main())
