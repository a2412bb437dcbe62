"""Shows files of the repository on the documentation site that do not live in docs/: pictures, the log, the model card.

Pages link to them as they lie in the repository, so that the links work on a code host and in an editor too. Here the
files are added to the site, and those links are changed to where they are there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
# A file or folder of the repository, and where it is on the site.
MOVED = {
    "examples/pictures/": "pictures/",
    "doom_dream_env/weights/nano/": "weights/",
    "training/EXPERIMENTS.md": "experiments.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "docs/": "",
}
SHOWN = (".md", ".png", ".gif")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files to the site."""
    for source, destination in MOVED.items():
        if source == "docs/":
            continue
        path = ROOT / source
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if file.suffix in SHOWN:
                name = destination + file.name if path.is_dir() else destination
                files.append(File.generated(config, name, abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Change the links to them; every page that has some is at the top of the site."""
    for source, destination in MOVED.items():
        for prefix in ("../", ""):
            markdown = markdown.replace(f"]({prefix}{source}", f"]({destination}")
    return markdown
