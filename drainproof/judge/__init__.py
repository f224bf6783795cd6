"""What judges: the registry of checks, the audit, the stream checker. Touches no cluster."""
