/* The two ways in which sound travels: Opus in Ogg, by the browser's own codec
 * (WebCodecs), or plain 16-bit samples where there is none. Each has the rate of
 * its samples, a label, encode(block) → calls `send` with bytes, decode(bytes) → calls
 * `play` with samples. */

const OPUS = { codec: "opus", sampleRate: 48000, numberOfChannels: 1 };
const ENCODER = { ...OPUS, bitrate: 32000, opus: { application: "voip", frameDuration: 20000 } };

const crcTable = Uint32Array.from({ length: 256 }, (_, i) => {
  let r = i << 24;
  for (let k = 0; k < 8; k++) r = r & 0x80000000 ? (r << 1) ^ 0x04c11db7 : r << 1;
  return r >>> 0;
});

function crc(bytes) {
  let r = 0;
  for (const byte of bytes) r = ((r << 8) ^ crcTable[(r >>> 24) ^ byte]) >>> 0;
  return r;
}

/* RFC 3533, a packet on each page: none waits for another. */
class OggWriter {
  constructor() {
    this.serial = Math.floor(Math.random() * 0x100000000);
    this.pages = 0;
  }

  page(packet, granule, flags) {
    const segments = Math.floor(packet.length / 255) + 1;
    const page = new Uint8Array(27 + segments + packet.length);
    const view = new DataView(page.buffer);
    page.set([0x4f, 0x67, 0x67, 0x53, 0, flags]);
    view.setBigUint64(6, BigInt(granule), true);
    view.setUint32(14, this.serial, true);
    view.setUint32(18, this.pages++, true);
    page[26] = segments;
    page.fill(255, 27, 27 + segments - 1);
    page[27 + segments - 1] = packet.length % 255;
    page.set(packet, 27 + segments);
    view.setUint32(22, crc(page), true);
    return page;
  }

  /* RFC 7845: the stream's two headers. */
  headers() {
    const head = new Uint8Array(19);
    const view = new DataView(head.buffer);
    head.set(new TextEncoder().encode("OpusHead"));
    head.set([1, 1], 8);
    view.setUint16(10, 312, true);
    view.setUint32(12, OPUS.sampleRate, true);
    const vendor = new TextEncoder().encode("gst-moshi");
    const tags = new Uint8Array(8 + 4 + vendor.length + 4);
    tags.set(new TextEncoder().encode("OpusTags"));
    new DataView(tags.buffer).setUint32(8, vendor.length, true);
    tags.set(vendor, 12);
    return [this.page(head, 0, 2), this.page(tags, 0, 0)];
  }
}

/* Packets out of bytes that arrive in any pieces. */
class OggReader {
  constructor(give) {
    this.bytes = new Uint8Array(0);
    this.packet = [];
    this.give = give;
  }

  push(bytes) {
    const all = new Uint8Array(this.bytes.length + bytes.length);
    all.set(this.bytes);
    all.set(bytes, this.bytes.length);
    let at = 0;
    for (;;) {
      const start = this.findPage(all, at);
      if (start < 0) break;
      const end = this.pageEnd(all, start);
      if (end > all.length) {
        at = start;
        break;
      }
      this.readPage(all.subarray(start, end));
      at = end;
    }
    this.bytes = all.slice(at);
  }

  findPage(all, at) {
    for (; at + 27 <= all.length; at++) {
      if (all[at] === 0x4f && all[at + 1] === 0x67 && all[at + 2] === 0x67 && all[at + 3] === 0x53) return at;
    }
    return -1;
  }

  pageEnd(all, start) {
    const segments = all[start + 26];
    if (start + 27 + segments > all.length) return Infinity;
    let size = 27 + segments;
    for (let i = 0; i < segments; i++) size += all[start + 27 + i];
    return start + size;
  }

  readPage(page) {
    let at = 27 + page[26];
    for (let i = 0; i < page[26]; i++) {
      const size = page[27 + i];
      this.packet.push(...page.subarray(at, at + size));
      at += size;
      if (size < 255) {
        const packet = Uint8Array.from(this.packet);
        this.packet = [];
        if (String.fromCharCode(...packet.subarray(0, 4)) !== "Opus") this.give(packet);
      }
    }
  }
}

export class Opus {
  static rate = OPUS.sampleRate;
  static label = "Opus";

  static async isSupported() {
    if (!window.AudioEncoder || !window.AudioDecoder) return false;
    const answers = await Promise.all([AudioEncoder.isConfigSupported(ENCODER), AudioDecoder.isConfigSupported(OPUS)])
      .catch(() => [{}]);
    return answers.every((answer) => answer.supported);
  }

  constructor(send, play, fail) {
    const writer = new OggWriter();
    let granule = 0;
    this.time = this.decoded = 0; // microseconds
    this.encoder = new AudioEncoder({
      output: (chunk) => {
        const packet = new Uint8Array(chunk.byteLength);
        chunk.copyTo(packet);
        granule += Math.round((chunk.duration || 20000) * OPUS.sampleRate / 1e6);
        if (writer.pages === 0) writer.headers().forEach(send);
        send(writer.page(packet, granule, 0));
      },
      error: fail,
    });
    this.encoder.configure(ENCODER);
    this.decoder = new AudioDecoder({
      output: (data) => {
        const samples = new Float32Array(data.numberOfFrames);
        data.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
        data.close();
        play(samples);
      },
      error: fail,
    });
    this.decoder.configure(OPUS);
    this.reader = new OggReader((packet) => {
      this.decoder.decode(new EncodedAudioChunk({ type: "key", timestamp: this.decoded, data: packet }));
      this.decoded += 20000;
    });
  }

  encode(block) {
    const data = new AudioData({
      format: "f32-planar", sampleRate: OPUS.sampleRate, numberOfFrames: block.length, numberOfChannels: 1,
      timestamp: this.time, data: block,
    });
    this.time += 20000;
    this.encoder.encode(data);
    data.close();
  }

  decode(bytes) {
    this.reader.push(bytes);
  }

  close() {
    for (const codec of [this.encoder, this.decoder]) if (codec.state !== "closed") codec.close();
  }
}

export class Pcm {
  static rate = 24000;
  static label = "uncompressed";

  constructor(send, play) {
    this.send = send;
    this.play = play;
  }

  encode(block) {
    const samples = Int16Array.from(block, (x) => Math.max(-1, Math.min(1, x)) * 32767);
    this.send(new Uint8Array(samples.buffer));
  }

  decode(bytes) {
    const samples = new Int16Array(bytes.slice(0, bytes.length & ~1).buffer);
    this.play(Float32Array.from(samples, (x) => x / 32768));
  }

  close() {}
}
