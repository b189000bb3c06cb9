/* Microphone and loudspeaker: one AudioContext, three worklets (worklets.js). */

/* What a user can do about it, by the browser's name of the error. */
const microphoneProblems = {
  NotAllowedError: "The browser does not let this page use the microphone. Allow it in the address bar, then try again.",
  SecurityError: "The browser does not let this page use the microphone. Allow it in the address bar, then try again.",
  NotFoundError: "There is no microphone. Plug one in, then try again.",
  NotReadableError: "The microphone is in use by another program.",
  AbortError: "The microphone does not start.",
};

async function openMicrophone() {
  if (!window.isSecureContext || !navigator.mediaDevices) {
    throw new Error("Browsers give the microphone only to a secure page: open this one by https, or on localhost.");
  }
  const wants = new URLSearchParams(location.search).get("processing") !== "off";
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: wants, noiseSuppression: wants, autoGainControl: wants },
    });
  } catch (error) {
    throw new Error(microphoneProblems[error.name] || `The microphone cannot be used: ${error.message}`);
  }
}

/* Where there is nothing to play to, Firefox waits for ever. */
async function start(context) {
  await Promise.race([context.resume(), new Promise((done) => setTimeout(done, 5000))]);
  if (context.state !== "running") {
    throw new Error("The browser cannot play sound. Plug in a loudspeaker or a headset, then try again.");
  }
}

export class Sound {
  /* on.block(Float32Array): 20 ms of microphone at `rate`; on.player(state);
   * on.tape(Int16Array); on.microphoneLost(). */
  static async open(rate, on) {
    const self = new Sound();
    self.context = new AudioContext({ latencyHint: "interactive" });
    try {
      self.stream = await openMicrophone();
      await start(self.context);
      await self.context.audioWorklet.addModule("worklets.js");
      self.connect(rate, on);
    } catch (error) {
      self.close();
      throw error;
    }
    return self;
  }

  connect(rate, on) {
    const node = (name, options) => new AudioWorkletNode(this.context, name,
      { channelCount: 1, channelCountMode: "explicit", processorOptions: { rate }, ...options });
    const source = this.context.createMediaStreamSource(this.stream);
    const microphone = node("microphone");
    const tape = node("tape", { numberOfInputs: 2 });
    this.player = node("player", { outputChannelCount: [1] });

    microphone.port.onmessage = ({ data }) => on.block(data);
    this.player.port.onmessage = ({ data }) => on.player(data);
    tape.port.onmessage = ({ data }) => on.tape(data);
    this.stream.getAudioTracks()[0].onended = on.microphoneLost;

    source.connect(microphone).connect(this.context.destination);
    source.connect(tape, 0, 0);
    this.player.connect(tape, 0, 1);
    this.tape = tape;
    tape.connect(this.context.destination);
    this.player.connect(this.context.destination);
  }

  /* Samples of `rate`. */
  play(samples) {
    this.player.port.postMessage(samples, [samples.buffer]);
  }

  /* A stream of WebRTC comes through an element, which keeps to its time, and goes
   * to the tape and the meter beside it. */
  playStream(stream) {
    this.element?.pause();
    this.remote?.disconnect();
    this.element = new Audio();
    this.element.srcObject = stream;
    this.element.play().catch(() => {});
    this.remote = this.context.createMediaStreamSource(stream);
    this.remote.connect(this.player);
    this.remote.connect(this.tape, 0, 1);
  }

  setMuted(muted) {
    for (const track of this.stream.getAudioTracks()) track.enabled = !muted;
  }

  get time() {
    return this.context.currentTime;
  }

  close() {
    if (this.stream) this.stream.getTracks().forEach((track) => track.stop());
    this.element?.pause();
    this.context.close();
  }
}
