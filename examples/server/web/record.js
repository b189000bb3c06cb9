/* The conversation as files: sound of both, and words with their times. */

const RATE = 24000;
const LONGEST = 60 * 60 * 2 * RATE; // numbers, an hour of two voices

const clock = (s) => new Date(Math.round(s * 1000)).toISOString().slice(11, 23);

function wav(pieces, count) {
  const header = new DataView(new ArrayBuffer(44));
  const text = (at, s) => [...s].forEach((c, i) => header.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  header.setUint32(4, 36 + 2 * count, true);
  text(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true);
  header.setUint16(22, 2, true);
  header.setUint32(24, RATE, true);
  header.setUint32(28, 4 * RATE, true);
  header.setUint16(32, 4, true);
  header.setUint16(34, 16, true);
  text(36, "data");
  header.setUint32(40, 2 * count, true);
  return new Blob([header, ...pieces], { type: "audio/wav" });
}

export class Recording {
  constructor() {
    this.pieces = [];
    this.count = 0;
    this.lines = []; // { start, end, text }
  }

  addSound(samples) {
    if (this.count + samples.length > LONGEST) return;
    this.pieces.push(samples);
    this.count += samples.length;
  }

  /* A pause or the end of a sentence begins a new line; returns the line. */
  addWord(word, time) {
    let line = this.lines.at(-1);
    if (!line || time - line.end > 1.5 || /[.?!]$/.test(line.text)) {
      line = { start: time, end: time, text: "" };
      this.lines.push(line);
    }
    line.text = (line.text + word).trimStart();
    line.end = time + 0.4;
    return line;
  }

  file(kind) {
    const times = ({ start, end }) => `${clock(start)} --> ${clock(Math.max(end, start + 0.8))}`;
    switch (kind) {
      case "wav":
        return wav(this.pieces, this.count);
      case "txt":
        return new Blob(this.lines.map((line) => `[${clock(line.start)}] ${line.text}\n`), { type: "text/plain" });
      default:
        return new Blob(["WEBVTT\n\n", ...this.lines.map((line) => `${times(line)}\n${line.text}\n\n`)], { type: "text/vtt" });
    }
  }
}
