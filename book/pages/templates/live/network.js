// NiN28 at 56 pixels, forward: the convolutions of the section as plain loops over
// numbers, row by row, so that whoever calls may rest between rows.
live.network = (() => {
  "use strict";
  const STORED = 28, SIZE = 56;
  // Convolutions, and max pools, which have no output channels of their own.
  const one = (out) => ({ out, kernel: 1, stride: 1, padding: 0 });
  const pooled = (kernel, stride) => ({ kernel, stride, padding: 0 });
  const block = (out, kernel, stride, padding) => [
    { out, kernel, stride, padding }, one(out), one(out),
  ];
  const LAYERS = [
    ...block(24, 3, 1, 0), pooled(2, 1),
    ...block(64, 3, 2, 2), pooled(2, 1),
    ...block(96, 4, 2, 1), pooled(3, 2),
    ...block(10, 3, 1, 1),
  ];

  // Two bytes as the number that they are in float16.
  function half(bits) {
    const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, part = bits & 1023;
    if (exponent === 0) return (sign * part) / 2 ** 24;
    return sign * (1 + part / 1024) * 2 ** (exponent - 15);
  }
  const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

  // The layers with their weights and biases. The axes of a convolution's weights are
  // output channel (padded to a multiple of 4), kernel row, kernel column, input channel.
  function load(base64) {
    const raw = new DataView(bytes(base64).buffer);
    let at = 0, channels = 1;
    const next = () => half(raw.getUint16(2 * at++, true));
    return LAYERS.map((layer) => {
      if (!layer.out) return { ...layer, out: channels, pool: true };
      const { out, kernel } = layer, K = kernel * kernel * channels;
      const rows = Math.ceil(out / 4) * 4;
      const weight = new Float64Array(rows * K), bias = new Float64Array(rows);
      for (let o = 0; o < out; o++)
        for (let c = 0; c < channels; c++)
          for (let k = 0; k < kernel * kernel; k++) weight[o * K + k * channels + c] = next();
      for (let o = 0; o < out; o++) bias[o] = next();
      channels = out;
      return { ...layer, weight, bias };
    });
  }

  // The pixels of a map that a kernel covers at one place; 0 for those outside the map.
  function patch(X, { kernel, padding }, top, left, found) {
    const { side, channels, values } = X;
    let n = 0;
    for (let i = top - padding; i < top - padding + kernel; i++)
      for (let j = left - padding; j < left - padding + kernel; j++) {
        const inside = i >= 0 && j >= 0 && i < side && j < side;
        const from = (i * side + j) * channels;
        for (let c = 0; c < channels; c++) found[n++] = inside ? values[from + c] : 0;
      }
  }

  // What a layer makes of the pixels found under its kernel, from values[to] on: a
  // convolution with the ReLU behind it, four channels at a time, or a max pool.
  function convolve(found, { out, weight, bias }, values, to) {
    const K = found.length;
    for (let o = 0; o < out; o += 4) {
      let a = bias[o], b = bias[o + 1], c = bias[o + 2], d = bias[o + 3];
      const w = o * K;
      for (let k = 0; k < K; k++) {
        const x = found[k];
        a += weight[w + k] * x;
        b += weight[w + K + k] * x;
        c += weight[w + 2 * K + k] * x;
        d += weight[w + 3 * K + k] * x;
      }
      const sums = [a, b, c, d];
      for (let i = 0; i < 4 && o + i < out; i++) values[to + o + i] = Math.max(sums[i], 0);
    }
  }
  function pool(found, { out }, values, to) {
    for (let c = 0; c < out; c++) {
      let most = -Infinity;
      for (let k = c; k < found.length; k += out) most = Math.max(most, found[k]);
      values[to + c] = most;
    }
  }

  // A pass through the layers, a generator that rests after each row: ten maps, the
  // logits, which are their means, and the largest number in the maps.
  function* forward(layers, pixels) {
    let X = { side: SIZE, channels: 1, values: pixels };
    for (const layer of layers) {
      const { kernel, stride, padding, out } = layer, run = layer.pool ? pool : convolve;
      const side = Math.floor((X.side + 2 * padding - kernel) / stride) + 1;
      const Y = { side, channels: out, values: new Float32Array(side * side * out) };
      const found = new Float64Array(kernel * kernel * X.channels);
      for (let row = 0; row < side; row++) {
        for (let col = 0; col < side; col++) {
          patch(X, layer, row * stride, col * stride, found);
          run(found, layer, Y.values, (row * side + col) * out);
        }
        yield;
      }
      X = Y;
    }
    const cells = X.side * X.side;
    const maps = Array.from({ length: X.channels }, (_, c) =>
      Float32Array.from({ length: cells }, (_, i) => X.values[i * X.channels + c]),
    );
    const logits = maps.map((m) => m.reduce((a, b) => a + b, 0) / cells);
    return { maps, logits, most: Math.max(...X.values) || 1 };
  }

  // Bytes of 28x28 pixels as 56x56 numbers from 0 to 1: bilinear, the centres of pixels
  // at their halves, the border clamped.
  const R = Array.from({ length: SIZE }, (_, i) => {
    const centre = ((i + 0.5) * STORED) / SIZE - 0.5;
    const row = Array.from({ length: STORED }, (_, j) => Math.max(0, 1 - Math.abs(centre - j)));
    const all = row.reduce((a, b) => a + b);
    return row.map((w) => w / all);
  });
  // Columns of 28 numbers, each made a row of 56.
  function stretch(X, columns) {
    const made = new Float64Array(columns * SIZE);
    for (let x = 0; x < columns; x++)
      for (let i = 0; i < SIZE; i++)
        for (let j = 0; j < STORED; j++) made[x * SIZE + i] += R[i][j] * X[j * columns + x];
    return made;
  }
  const resize = (image) =>
    stretch(stretch(Float64Array.from(image, (v) => v / 255), STORED), SIZE);

  // The first and last pixel, along one axis, that cell i of the last maps looks at;
  // they may lie outside of the image.
  function field(i) {
    let from = i, to = i;
    for (const { kernel, stride, padding } of [...LAYERS].reverse()) {
      from = from * stride - padding;
      to = to * stride - padding + kernel - 1;
    }
    return [from, to];
  }
  return { load, bytes, resize, forward, field };
})();
