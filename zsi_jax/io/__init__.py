"""Files in, files out: names and arrays against a given abstract tree, never nets or core."""
