"""Playing at the keys or watching: the window, films of it, and a person's play recorded as data."""
