// SPDX-License-Identifier: Apache-2.0
// The worker that finds text: pixels of a picture, network, outlines. It asks its own folder for
// the network and its libraries, and sends nothing.
import * as ort from "./onnxruntime.js";

const MAX_PIXELS = 100e6;
const ROWS_AT_ONCE = 256;  // of a picture's pixels, so that few of them are held twice
const MULTIPLE = 32;       // as MULTIPLE, MAX_ENLARGEMENT and MAX_REDUCTION in settings.py
const MAX_ENLARGEMENT = 4, MAX_REDUCTION = 5;

let network = null;  // what the model's card says
let ready = null;    // the core and the session, once both are loaded
let kept = null;     // the picture whose map the core holds
let numRuns = 0;     // of the network
let queue = Promise.resolve();  // one at a time: the core holds one picture

onmessage = ({ data }) => {
  if (data.network) {
    network = data.network;
    ready = load();
    ready.catch(() => {});  // told to whoever asks
  } else {
    queue = queue.then(() => answer(data));
  }
};

async function answer({ id, picture, file, options }) {
  try {
    postMessage({ id, result: await detect(picture, file, options) });
  } catch (error) {
    kept = null;
    postMessage({ id, error: error.message });
  }
}

async function load() {
  const bytes = async (name) => {
    const answer = await fetch(new URL(name, import.meta.url));
    if (!answer.ok) throw new Error(`${name} cannot be loaded: HTTP ${answer.status}; load the page anew`);
    return answer.arrayBuffer();
  };
  const unpack = (packed) =>
    new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  const [core, model, runtime] = await Promise.all([
    bytes("core.wasm").then(start), bytes("model.onnx"), bytes("onnxruntime.bin").then(unpack)]);
  ort.env.wasm.wasmBinary = runtime;
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  return { core, session };
}

async function start(code) {
  const stop = () => { throw new Error("the core stopped"); };
  const { instance } = await WebAssembly.instantiate(code, {
    env: { emscripten_notify_memory_growth() {} }, wasi_snapshot_preview1: { proc_exit: stop } });
  instance.exports._initialize();
  return instance.exports;
}

async function detect(picture, file, options) {
  const { core, session } = await ready;
  if (kept?.picture !== picture || kept.shortSide !== options.short_side) {
    kept = null;
    kept = { picture, shortSide: options.short_side, ...await run(core, session, file, options.short_side) };
  }
  const { image, resized, padded } = kept;
  const count = core.find_text(...resized, padded[1], ...image, options.binary_threshold,
    options.score_threshold, options.unclip_ratio, network.max_candidates, network.min_side, network.logits);
  const found = new Float32Array(core.memory.buffer, core.found_text(), 9 * count);
  const round = (value, factor) => Math.round(value * factor) / factor;
  const quads = [], scores = [];
  for (let i = 0; i < found.length; i += 9) {
    quads.push([0, 2, 4, 6].map((k) => [round(found[i + k], 100), round(found[i + k + 1], 100)]));
    scores.push(round(found[i + 8], 1e4));
  }
  const reduction = Math.max(...image) / Math.max(...resized);
  return { model: network.name, height: image[0], width: image[1], quads, scores, num_runs: numRuns,
    ...(reduction > MAX_REDUCTION && { reduction }) };
}

async function run(core, session, file, shortSide) {  // the network, whose map the core then holds
  const image = await readPixels(core, file);
  const { resized, padded } = plan(...image, shortSide);
  const [height, width] = padded;
  const start = core.make_input(...image, ...resized, ...padded, ...network.multiplier, ...network.offset,
    network.swap_red_blue);
  const input = new Float32Array(core.memory.buffer, start, 3 * height * width);
  const tensor = new ort.Tensor("float32", input.slice(), [1, 3, height, width]);
  const output = (await session.run({ [session.inputNames[0]]: tensor }))[session.outputNames[0]];
  numRuns += 1;
  const map = core.resize_map(height, width);  // may grow the memory, and so detach its buffer
  new Float32Array(core.memory.buffer, map, height * width).set(output.data);
  output.dispose();
  return { image, resized, padded };
}

async function readPixels(core, file) {  // gives (height, width)
  // As stored, without the colour profile: so do the readers of the Python package.
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" })
    .catch(() => { throw new Error("this is not a picture that your browser can read; try JPEG, PNG or WebP"); });
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) {
    throw new Error(`the picture has ${width}x${height} pixels; at most ${MAX_PIXELS / 1e6} million fit into a browser`);
  }
  const start = core.resize_pixels(height, width);
  const rows = new OffscreenCanvas(width, Math.min(height, ROWS_AT_ONCE));
  const pen = rows.getContext("2d", { willReadFrequently: true });
  for (let y = 0; y < height; y += ROWS_AT_ONCE) {
    const count = Math.min(ROWS_AT_ONCE, height - y);
    pen.clearRect(0, 0, width, count);
    pen.drawImage(bitmap, 0, -y);
    const { data } = pen.getImageData(0, 0, width, count);
    new Uint8Array(core.memory.buffer, start + 4 * y * width, data.length).set(data);
  }
  bitmap.close();
  core.to_bgr();
  return [height, width];
}

// Sizes of a picture in the network, (height, width), as SizePolicy.plan has them.
function plan(height, width, shortSide) {
  const long = Math.max(height, width), short = Math.min(height, width);
  let factor = Math.min(shortSide / short, MAX_ENLARGEMENT);
  if (long * factor > network.long_side_limit) factor = network.long_side_limit / long;
  const resized = [height, width].map((side) => Math.max(1, roundToEven(side * factor)));
  return { resized, padded: resized.map((side) => Math.ceil(side / MULTIPLE) * MULTIPLE) };
}

function roundToEven(value) {
  const below = Math.floor(value);
  return value - below === .5 ? below + below % 2 : Math.round(value);
}
