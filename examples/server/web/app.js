/* The page: one button, and what happens then. */

import { Chat } from "./call.js";
import { Lag, Voices } from "./draw.js";
import { Opus, Pcm } from "./opus.js";
import { Recording } from "./record.js";
import { Sound } from "./sound.js";
import { Rtc } from "./webrtc.js";

const RETRIES = 4;
const $ = (id) => document.getElementById(id);
const form = $("settings");
const voices = new Voices($("voices"));
const lag = new Lag($("lag"));

let recording = new Recording();
let Codec, sound, codec, call; // of the conversation that is on; WebRTC has no Codec
let sent = 0, state = null; // seconds of microphone; the player's last word
let tries = 0, retry = 0, wakeLock = null;

/* ---- what is seen ---- */

function say(text, isProblem = false) {
  $("status").textContent = text;
  $("status").classList.toggle("problem", isProblem);
}

function showButtons(inCall) {
  $("talk").textContent = inCall ? "Hang up" : "Talk";
  $("talk").classList.toggle("in-call", inCall);
  $("mute").disabled = !inCall;
  if (!inCall) setMuted(false);
  for (const button of document.querySelectorAll("[data-keep]")) {
    button.disabled = button.dataset.keep === "wav" ? !recording.count : !recording.lines.length;
  }
}

function showWord(word, time) {
  const captions = $("captions"), count = recording.lines.length;
  const line = recording.addWord(word, time);
  if (recording.lines.length > count) captions.append(document.createElement("p"));
  captions.lastChild.textContent = line.text;
  captions.scrollTop = captions.scrollHeight;
}

async function showHealth() {
  if (!call?.live) return;
  if (!Codec) state = await call.health();
  if (!state || !call?.live) return;
  const behind = Codec ? Math.max(0, sent - state.spent) : state.behind;
  const ms = (s) => `${Math.round(s * 1000)} ms`;
  lag.add(behind);
  $("lag-now").textContent = ms(behind);
  $("buffer").textContent = ms(state.buffered);
  $("gaps").textContent = `${state.gaps}, ${ms(state.dropped)} left out`;
  $("codec").textContent = Codec ? Codec.label : "Opus by WebRTC";
}

/* ---- a conversation ---- */

/* In Settings, else in the page's address. */
const wish = (name) => new FormData(form).get(name) || new URLSearchParams(location.search).get(name);

function query() {
  const values = Object.fromEntries(new FormData(form));
  const q = new URLSearchParams();
  for (const name of ["audio_temperature", "audio_topk", "text_temperature", "text_topk"]) q.set(name, values[name]);
  const seed = values.seed || Math.floor(Math.random() * 1e6);
  q.set("audio_seed", seed);
  q.set("text_seed", seed);
  if (Codec === Pcm) q.set("format", "pcm");
  const token = wish("token");
  if (token) q.set("token", token);
  return q;
}

async function chooseCodec() {
  if (wish("transport") === "webrtc") {
    if (!window.RTCPeerConnection) throw new Error("This browser has no WebRTC: choose another connection in Settings.");
    return null;
  }
  const opus = wish("format") !== "pcm" && await Opus.isSupported();
  if (wish("format") === "opus" && !opus) throw new Error("This browser has no Opus codec for pages: choose another sound in Settings.");
  return opus ? Opus : Pcm;
}

function connect() {
  sent = 0;
  codec?.close();
  const on = {
    queued: (position, length) => say(`All lines are busy. You are number ${position} of ${length} in the queue.`),
    ready: (settings) => {
      tries = 0;
      $("model").textContent = (settings.lm_model_file || "").replace(/^\/.*\//, "");
      say("Moshi listens. Say hello.");
    },
    audio: (bytes) => codec.decode(bytes),
    stream: (stream) => sound.playStream(stream),
    word: (text) => showWord(text, sound.time - recording.began + (state?.buffered || 0)),
    end: (reason, again) => (again && tries < RETRIES ? reconnect(reason) : hangUp(reason, true)),
  };
  if (Codec) {
    codec = new Codec((bytes) => call.send(bytes), (samples) => sound.play(samples), (error) => hangUp(`Opus: ${error.message}`, true));
    call = new Chat(query(), on);
  } else call = new Rtc(query(), sound.stream, on);
}

/* The server has forgotten the conversation; a new one begins. */
function reconnect(reason) {
  const seconds = 2 ** tries++;
  say(`${reason} Calling again in ${seconds} s …`, true);
  retry = setTimeout(() => {
    say("Calling again …");
    connect();
  }, seconds * 1000);
}

async function start() {
  say("Calling …");
  showButtons(true);
  try {
    Codec = await chooseCodec();
    recording = new Recording();
    $("captions").replaceChildren();
    sound = await Sound.open(Codec?.rate || 48000, {
      block: (block) => {
        voices.hear("you", block.reduce((sum, x) => sum + x * x, 0) / block.length);
        if (!call?.live || !codec) return;
        sent += 0.02;
        codec.encode(block);
      },
      player: (s) => {
        if (Codec) state = s;
        voices.hear("moshi", s.power);
      },
      tape: (samples) => recording.addSound(samples),
      microphoneLost: () => hangUp("The microphone is gone.", true),
    });
    recording.began = sound.time;
    connect();
    wakeLock = await navigator.wakeLock?.request("screen").catch(() => null);
  } catch (error) {
    hangUp(error.message, true);
  }
}

function hangUp(reason = "The conversation is over.", isProblem = false) {
  clearTimeout(retry);
  call?.close();
  codec?.close();
  sound?.close();
  wakeLock?.release();
  call = codec = sound = state = wakeLock = null;
  tries = 0;
  say(reason, isProblem);
  showButtons(false);
}

function setMuted(muted) {
  sound?.setMuted(muted);
  $("mute").setAttribute("aria-pressed", muted);
  $("mute").textContent = muted ? "Muted" : "Mute";
}

/* ---- the page ---- */

function keep(kind) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(recording.file(kind));
  link.download = `moshi.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function showValues() {
  for (const input of form.querySelectorAll("input[type=range]")) input.parentElement.querySelector("output").value = input.value;
}

$("talk").onclick = () => ($("talk").classList.contains("in-call") ? hangUp() : start());
$("mute").onclick = () => setMuted($("mute").getAttribute("aria-pressed") !== "true");
for (const button of document.querySelectorAll("[data-keep]")) button.onclick = () => keep(button.dataset.keep);
form.oninput = showValues;
form.onreset = () => setTimeout(showValues);
form.onsubmit = (event) => event.preventDefault();
document.onkeydown = (event) => {
  if (event.target.closest("input, select, summary, button")) return;
  if (event.key === "m" && !$("mute").disabled) $("mute").click();
  if (event.key === "Escape" && sound) hangUp();
};
window.onpagehide = () => call?.close();

showValues();
setInterval(() => voices.advance(), 40);
setInterval(showHealth, 250);
if (!window.isSecureContext) say("Browsers give the microphone only to a secure page: open this one by https, or on localhost.", true);
