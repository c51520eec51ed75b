# SPDX-License-Identifier: Apache-2.0
"""RapidOCR's detector behind LitServe, as its documentation shows it; `serve_peers.py` starts it.

python benchmarks/serve_litserve.py PORT, in an environment with litserve and rapidocr

LitServe reads the annotation of `decode_request`, so that annotations are no texts here.
"""

import sys
from typing import Any

import litserve
from fastapi import Request
from rapidocr import RapidOCR


class DetectApi(litserve.LitAPI):  # type: ignore[misc]  # not installed where types are checked
    """Detection of one image."""

    def setup(self, device: str) -> None:
        """Load the model, once in each worker."""
        self.ocr = RapidOCR(params={"Global.log_level": "error"})

    def decode_request(self, request: Request) -> Any:
        """Take the bytes of the part "file"."""
        return request["file"].file.read()

    def predict(self, data: bytes) -> Any:
        """Find the text."""
        return self.ocr(data, use_det=True, use_cls=False, use_rec=False)

    def encode_response(self, found: Any) -> dict[str, Any]:
        """Return boxes and scores."""
        boxes = [] if found.boxes is None else found.boxes.tolist()
        return {"boxes": boxes, "scores": list(map(float, found.scores or ()))}


if __name__ == "__main__":
    server = litserve.LitServer(DetectApi(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
