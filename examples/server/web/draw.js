/* The two pictures: voices, and the lag of the last minute. */

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

/* A canvas with as many pixels as the screen has. */
function prepare(canvas) {
  const scale = window.devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  const g = canvas.getContext("2d");
  g.setTransform(scale, 0, 0, scale, 0, 0);
  g.clearRect(0, 0, width, height);
  return { g, width, height };
}

/* Bars that move to the left: Moshi's upwards, yours downwards. */
export class Voices {
  constructor(canvas) {
    this.canvas = canvas;
    this.bars = [];
    this.levels = { moshi: 0, you: 0 };
  }

  /* power: mean square of a few milliseconds. */
  hear(who, power) {
    const level = Math.min(1, Math.max(0, (10 * Math.log10(power + 1e-9) + 55) / 45));
    this.levels[who] = Math.max(this.levels[who], level);
  }

  /* Every 40 ms. */
  advance() {
    this.bars.push(this.levels);
    this.levels = { moshi: 0, you: 0 };
    if (this.bars.length > 600) this.bars.shift();
    this.draw();
  }

  draw() {
    const { g, width, height } = prepare(this.canvas);
    const step = 5, middle = height / 2, most = middle - 4, [moshi, you] = [colour("--moshi"), colour("--you")];
    g.lineCap = "round";
    g.lineWidth = 3;
    for (let i = 0, x = width - 4; x > 4; i++, x -= step) {
      const bar = this.bars[this.bars.length - 1 - i] || { moshi: 0, you: 0 };
      g.globalAlpha = 0.25 + 0.75 * x / width;
      for (const [level, towards, paint] of [[bar.moshi, -1, moshi], [bar.you, 1, you]]) {
        g.strokeStyle = paint;
        g.beginPath();
        g.moveTo(x, middle + 2.5 * towards);
        g.lineTo(x, middle + (2.6 + level * (most - 3)) * towards);
        g.stroke();
      }
    }
    g.globalAlpha = 1;
  }
}

export class Lag {
  constructor(canvas) {
    this.canvas = canvas;
    this.values = []; // seconds, four a second
  }

  add(seconds) {
    this.values.push(seconds);
    if (this.values.length > 240) this.values.shift();
    this.draw();
  }

  draw() {
    const { g, width, height } = prepare(this.canvas);
    const top = Math.max(0.5, ...this.values) * 1.15, y = (s) => height - 4 - s / top * (height - 18);
    g.font = "11px system-ui, sans-serif";
    g.fillStyle = colour("--quiet");
    g.strokeStyle = colour("--line");
    for (const mark of [0, 0.25, 0.5, 1, 2, 5].filter((s) => s < top)) {
      g.beginPath();
      g.moveTo(0, y(mark));
      g.lineTo(width, y(mark));
      g.stroke();
      g.fillText(`${mark * 1000} ms`, 2, y(mark) - 3);
    }
    g.strokeStyle = colour("--moshi");
    g.lineWidth = 2;
    g.beginPath();
    this.values.forEach((s, i) => g.lineTo(width - (this.values.length - 1 - i) * width / 239, y(s)));
    g.stroke();
  }
}
