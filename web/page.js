// SPDX-License-Identifier: Apache-2.0
// What the page without a server does otherwise than the server's page, which is all the rest.
"use strict";
Object.assign(LANGUAGES.en, {
  hint: "Drop one here, paste it, or take one with the camera. Your browser outlines every text that it finds.",
  kept: "Pictures stay on this machine: there is no server, and nothing is sent.", reference: "Documentation",
  took: "# ms in this browser",
  shrunk: "The picture was shrunk # times, and small text may be lost: choose a larger short side, or use the Python package, which looks at such pictures in tiles.",
});
Object.assign(LANGUAGES.de, {
  hint: "Bild hierher ziehen, einfügen oder mit der Kamera aufnehmen. Der Browser umrandet jeden Text, den er findet.",
  kept: "Bilder bleiben auf diesem Gerät: Es gibt keinen Server, und nichts wird gesendet.", reference: "Dokumentation",
  took: "# ms in diesem Browser",
  shrunk: "Das Bild wurde #-fach verkleinert, kleiner Text kann fehlen: eine größere kurze Seite wählen oder das Python-Paket verwenden, das solche Bilder in Kacheln ansieht.",
});

const detector = new Worker("detector.js", { type: "module" });
const asked = new Map();  // what waits for an answer, by number
let numAsked = 0, numPictures = 0, numbered = null;
detector.postMessage({ network: settings.network });
detector.addEventListener("message", ({ data }) => {
  const { resolve, reject } = asked.get(data.id);
  asked.delete(data.id);
  data.error ? reject(new Error(data.error)) : resolve(data.result);
});
detector.addEventListener("error", () => {
  for (const { reject } of asked.values()) reject(new Error("The detector cannot be started in this browser."));
  asked.clear();
});

findText = async (signal) => {
  if (numbered !== file) [numbered, numPictures] = [file, numPictures + 1];
  const options = { score_threshold: 0, binary_threshold: Number($("binary").value),
    unclip_ratio: Number($("unclip").value), short_side: Number($("side").value) || settings.short_side };
  const id = numAsked++;
  const answer = new Promise((resolve, reject) => {
    asked.set(id, { resolve, reject });
    signal.addEventListener("abort", () => reject(signal.reason));
  });
  detector.postMessage({ id, picture: numPictures, file: file.data, options });
  const result = await answer;
  if (result.reduction) result.note = say("shrunk", result.reduction.toFixed(1));
  return result;
};

// Another map is not needed for these: they work while they move.
for (const id of ["binary", "unclip"]) {
  $(id).removeEventListener("change", detect);
  $(id).addEventListener("input", detect);
}
$("polygons").closest("label").hidden = true;  // the package's Python code finds them
document.querySelector("[data-text=reference]").href = "../";
speak($("language").value);
