"""Playing at the keys or watching: the window, films of it, and a person's play recorded as data."""

import os

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # it would go to standard output
