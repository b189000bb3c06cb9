/* A conversation by WebRTC: docs/webrtc.md has the messages. The browser does the
 * rest: codec, jitter buffer, concealment of what is lost. */

import { Call } from "./call.js";

export class Rtc extends Call {
  /* microphone: a MediaStream; on.stream(MediaStream): Moshi's voice. */
  constructor(query, microphone, on) {
    super("api/webrtc", query, on);
    this.microphone = microphone;
    this.lag = 0; // of the server, seconds
    this.last = { delay: 0, emitted: 0 };
    this.candidates = [];
  }

  async receive(data) {
    const message = JSON.parse(data);
    switch (message.type) {
      case "queue":
        this.on.queued(message.queue_position, message.queue_length);
        break;
      case "ready":
        this.settings = message.settings;
        this.connect(message.ice_servers);
        break;
      case "offer":
        await this.answer(message.sdp).catch((error) => this.finish(`WebRTC: ${error.message}`, false));
        break;
      case "candidate":
        if (this.candidates) this.candidates.push(message);
        else this.addCandidate(message);
        break;
      case "error":
        this.error = this.live ? message.message : `${message.message}. Another connection can be chosen in Settings.`;
        break;
    }
  }

  connect(iceServers) {
    this.peer = new RTCPeerConnection({ iceServers });
    this.peer.ontrack = ({ track }) => this.on.stream(new MediaStream([track]));
    this.peer.ondatachannel = ({ channel }) => this.listen(channel);
    this.peer.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) this.send({ type: "candidate", candidate: candidate.candidate, sdpMLineIndex: candidate.sdpMLineIndex });
    };
    this.peer.onconnectionstatechange = () => {
      if (this.peer.connectionState === "failed") this.finish("The connection was lost.", this.live);
    };
  }

  async answer(sdp) {
    await this.peer.setRemoteDescription({ type: "offer", sdp });
    for (const track of this.microphone.getAudioTracks()) this.peer.addTrack(track, this.microphone);
    await this.peer.setLocalDescription();
    this.send({ type: "answer", sdp: this.peer.localDescription.sdp });
    this.candidates.forEach((message) => this.addCandidate(message));
    this.candidates = null;
  }

  /* One that this browser does not know is none to it. */
  addCandidate({ candidate, sdpMLineIndex }) {
    this.peer.addIceCandidate({ candidate, sdpMLineIndex }).catch(() => {});
  }

  listen(channel) {
    channel.onopen = () => {
      this.live = true;
      this.heard = performance.now();
      this.on.ready(this.settings || {});
    };
    channel.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      this.heard = performance.now();
      if (message.text) this.on.word(message.text);
      if (message.lag !== undefined) this.lag = message.lag / 1000;
    };
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  /* Seconds, as the browser counts them; null before there is a voice. */
  async health() {
    let sound = null, trip = 0;
    for (const report of (await this.peer.getStats()).values()) {
      if (report.type === "inbound-rtp" && report.kind === "audio") sound = report;
      if (report.type === "candidate-pair" && report.nominated) trip = report.currentRoundTripTime || 0;
    }
    if (!sound?.jitterBufferEmittedCount) return null;
    const { delay, emitted } = this.last;
    const buffered = (sound.jitterBufferDelay - delay) / Math.max(1, sound.jitterBufferEmittedCount - emitted);
    this.last = { delay: sound.jitterBufferDelay, emitted: sound.jitterBufferEmittedCount };
    return {
      behind: this.lag + trip + buffered, buffered, gaps: sound.concealmentEvents,
      dropped: (sound.removedSamplesForAcceleration || 0) / 48000,
    };
  }

  close() {
    super.close();
    this.peer?.close();
  }
}
