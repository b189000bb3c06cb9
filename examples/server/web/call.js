/* One connection to the server: a WebSocket, over which all goes (Chat, docs/server.md
 * has the messages), or on which a WebRTC connection is agreed (webrtc.js). */

const HANDSHAKE = 0, AUDIO = 1, TEXT = 2, METADATA = 4, ERROR = 5;
const TRY_AGAIN_LATER = 1013;
/* The server pings by itself and sends sound all the time. */
const SILENT_FOR = 10000;

/* A WebSocket's refusal does not say why; the same address without upgrade does. */
async function reasonOfRefusal(url) {
  const answer = await fetch(url.replace(/^ws/, "http"), { cache: "no-store" }).catch(() => null);
  if (!answer) return "The server cannot be reached.";
  if (answer.status === 401) return "The server wants an access token: see Settings.";
  if (answer.status === 403) return "The server does not let this page call it.";
  if (answer.status === 501) return "The server has no WebRTC: choose another connection in Settings.";
  return "The connection was refused.";
}

export class Call {
  /* on: ready(settings), queued(position, length), word(text), end(reason, again):
   * again says whether a new try makes sense at once. */
  constructor(path, query, on) {
    const url = new URL(`${path}?${query}`, location.href.replace(/^http/, "ws").replace(/[?#].*/, ""));
    this.on = on;
    this.error = null;
    this.live = false;
    this.heard = performance.now();
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => this.receive(data);
    this.socket.onclose = (event) => this.closed(event, url.href);
    this.watch = setInterval(() => this.check(), 500);
  }

  check() {
    if (this.live && performance.now() - this.heard > SILENT_FOR) {
      this.error = "Nothing came from the server for ten seconds.";
      this.finish(this.error, true);
    }
  }

  async closed({ code, wasClean }, url) {
    if (this.over) return;
    if (this.error) this.finish(this.error, false);
    else if (code === TRY_AGAIN_LATER) this.finish("The server is full: try again later.", false);
    else if (this.live && wasClean && code === 1000) this.finish("The server has ended the conversation.", false);
    else if (this.live) this.finish("The connection was lost.", true);
    else this.finish(await reasonOfRefusal(url), false);
  }

  finish(reason, again) {
    if (this.over) return;
    this.close();
    this.on.end(reason, again);
  }

  close() {
    this.over = true;
    this.live = false;
    clearInterval(this.watch);
    this.socket.close();
  }
}

export class Chat extends Call {
  /* on.audio(bytes), too. */
  constructor(query, on) {
    super("api/chat", query, on);
  }

  receive(data) {
    const message = new Uint8Array(data), payload = message.subarray(1);
    const text = () => new TextDecoder().decode(payload);
    this.heard = performance.now();
    switch (message[0]) {
      case HANDSHAKE:
        this.live = true;
        this.on.ready(this.settings || {});
        break;
      case AUDIO:
        this.on.audio(payload);
        break;
      case TEXT:
        this.on.word(text());
        break;
      case METADATA:
        this.metadata(text());
        break;
      case ERROR:
        this.error = text();
        break;
    }
  }

  metadata(json) {
    let data;
    try {
      data = JSON.parse(json);
    } catch {
      return;
    }
    if (data.queue_position) this.on.queued(data.queue_position, data.queue_length);
    else this.settings = data;
  }

  send(bytes) {
    if (!this.live || this.socket.readyState !== WebSocket.OPEN) return;
    const message = new Uint8Array(bytes.length + 1);
    message[0] = AUDIO;
    message.set(bytes, 1);
    this.socket.send(message);
  }
}
