"""A dream outside Python: ONNX graphs, initial states and a manifest, for any ONNX runtime and for the page of `web`.

`write_export` writes such a folder; `dream-doom export` and `dream-doom web` call it.
"""

from doom_dream_env.export.bundle import ExportConfig, write_export

__all__ = ["ExportConfig", "write_export"]
