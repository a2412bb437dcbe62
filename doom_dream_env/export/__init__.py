"""A dream outside Python: ONNX graphs, initial states and a manifest, for any ONNX runtime and for the page."""
