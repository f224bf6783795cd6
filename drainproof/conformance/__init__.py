"""Makes a conformance report of saved evidence, and compares two of them. Asks no cluster."""
