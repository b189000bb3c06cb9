/* What runs in the browser's audio thread: the microphone's blocks, the jitter
 * buffer of Moshi's voice, and a tape of both. */

const gcd = (a, b) => (b ? gcd(b, a % b) : a);

/* From one sample rate to another, piece by piece: a windowed sinc, its phases
 * computed once. */
class Resampler {
  constructor(from, to) {
    const unit = gcd(from, to);
    this.up = to / unit;
    this.down = from / unit;
    if (this.up === this.down) return;
    const cutoff = Math.min(1, to / from) * 0.95;
    this.half = Math.ceil(16 / cutoff);
    this.phases = Array.from({ length: this.up }, (_, phase) => this.kernel(phase / this.up, cutoff));
    this.past = new Float32Array(2 * this.half);
    this.phase = 0;
  }

  kernel(offset, cutoff) {
    const taps = new Float32Array(2 * this.half);
    for (let i = 0; i < taps.length; i++) {
      const t = i + 1 - this.half - offset;
      const x = Math.PI * cutoff * t;
      taps[i] = cutoff * (x ? Math.sin(x) / x : 1) * (0.5 + 0.5 * Math.cos(Math.PI * t / (this.half + 1)));
    }
    return taps;
  }

  push(samples) {
    if (this.up === this.down) return samples;
    const all = new Float32Array(this.past.length + samples.length);
    const out = [];
    all.set(this.past);
    all.set(samples, this.past.length);
    let at = 0;
    while (at + 2 * this.half <= all.length) {
      const taps = this.phases[this.phase];
      let sum = 0;
      for (let i = 0; i < taps.length; i++) sum += taps[i] * all[at + i];
      out.push(sum);
      this.phase += this.down;
      at += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    this.past = all.slice(at);
    return Float32Array.from(out);
  }
}

/* Collects samples, gives blocks of one size. */
class Blocks {
  constructor(size, give) {
    this.block = new Float32Array(size);
    this.filled = 0;
    this.give = give;
  }

  push(samples) {
    for (let at = 0; at < samples.length;) {
      const n = Math.min(samples.length - at, this.block.length - this.filled);
      this.block.set(samples.subarray(at, at + n), this.filled);
      this.filled += n;
      at += n;
      if (this.filled === this.block.length) {
        this.give(this.block.slice());
        this.filled = 0;
      }
    }
  }
}

const power = (samples) => samples.reduce((sum, x) => sum + x * x, 0) / samples.length;

/* Posts the microphone as Float32Array blocks of 20 ms at the rate asked for. */
class Microphone extends AudioWorkletProcessor {
  constructor({ processorOptions: { rate } }) {
    super();
    this.resampler = new Resampler(sampleRate, rate);
    this.blocks = new Blocks(rate / 50, (block) => this.port.postMessage(block, [block.buffer]));
    this.silence = new Float32Array(128);
  }

  process([[channel]]) {
    this.blocks.push(this.resampler.push(channel || this.silence));
    return true;
  }
}

/* An adaptive jitter buffer. It starts when 80 ms are there and waits a little
 * (partial) for jitter; when more than that and a margin has gathered, the oldest
 * is left out and the margin grows; when it runs dry, it fades out, and the next
 * start waits longer. */
class Player extends AudioWorkletProcessor {
  constructor({ processorOptions: { rate } }) {
    super();
    const ms = (n) => Math.round(n * sampleRate / 1000);
    this.resampler = new Resampler(rate, sampleRate);
    this.step = ms(5);
    this.limit = ms(80);
    this.initial = ms(80);
    this.partial = ms(10);
    this.margin = ms(10);
    this.queue = [];
    this.buffered = this.head = 0;
    this.waiting = 0; // samples of silence before the first sound
    this.playing = this.fadeIn = false;
    this.spent = this.gaps = this.dropped = 0; // samples played or left out; times; samples
    this.power = 0;
    this.quanta = 0;
    this.port.onmessage = ({ data }) => this.arrive(this.resampler.push(data));
  }

  arrive(samples) {
    if (!samples.length) return;
    this.queue.push(samples);
    this.buffered += samples.length;
    if (!this.playing && this.buffered >= this.initial) {
      this.playing = this.fadeIn = true;
      this.waiting = this.partial;
    }
    if (this.buffered >= this.initial + this.partial + this.margin) {
      const surplus = this.buffered - this.initial - this.partial;
      this.take(new Float32Array(surplus));
      this.dropped += surplus;
      this.margin = Math.min(this.margin + this.step, this.limit);
    }
  }

  /* Fills out from the queue; returns how much there was. */
  take(out) {
    let n = 0;
    while (n < out.length && this.queue.length) {
      const piece = this.queue[0].subarray(this.head, this.head + out.length - n);
      out.set(piece, n);
      n += piece.length;
      this.head += piece.length;
      if (this.head === this.queue[0].length) {
        this.queue.shift();
        this.head = 0;
      }
    }
    this.buffered -= n;
    this.spent += n;
    return n;
  }

  play(out) {
    if (this.waiting > 0) {
      this.waiting -= out.length;
      return;
    }
    const n = this.take(out);
    if (this.fadeIn) {
      for (let i = 0; i < n; i++) out[i] *= (i + 1) / n;
      this.fadeIn = false;
    }
    if (n < out.length) {
      for (let i = 0; i < n; i++) out[i] *= 1 - (i + 1) / n;
      this.playing = false;
      this.gaps++;
      this.partial = Math.min(this.partial + this.step, this.limit);
    }
  }

  /* What comes in is played elsewhere; here it is only measured. */
  process([[stream]], [[out]]) {
    if (this.playing) this.play(out);
    this.power = Math.max(this.power, power(stream || out));
    if (++this.quanta % 16 === 0) {
      this.port.postMessage({
        buffered: this.buffered / sampleRate, spent: this.spent / sampleRate, gaps: this.gaps,
        dropped: this.dropped / sampleRate, power: this.power,
      });
      this.power = 0;
    }
    return true;
  }
}

/* Both voices on one clock, as interleaved 16-bit samples of 24 kHz: input 0 on
 * the left, input 1 on the right. */
class Tape extends AudioWorkletProcessor {
  constructor() {
    super();
    this.sides = [0, 1].map(() => new Resampler(sampleRate, 24000));
    this.waiting = [];
    this.count = 0;
    this.silence = new Float32Array(128);
  }

  process(inputs) {
    const [left, right] = this.sides.map((side, i) => side.push(inputs[i][0] || this.silence));
    const frames = new Int16Array(2 * left.length);
    for (let i = 0; i < left.length; i++) {
      frames[2 * i] = Math.max(-1, Math.min(1, left[i])) * 32767;
      frames[2 * i + 1] = Math.max(-1, Math.min(1, right[i])) * 32767;
    }
    this.waiting.push(frames);
    this.count += frames.length;
    if (this.count >= 24000) {
      const piece = new Int16Array(this.count);
      let at = 0;
      for (const part of this.waiting) {
        piece.set(part, at);
        at += part.length;
      }
      this.port.postMessage(piece, [piece.buffer]);
      this.waiting = [];
      this.count = 0;
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
registerProcessor("player", Player);
registerProcessor("tape", Tape);
