"""Pages in a real browser: `make pages`."""
