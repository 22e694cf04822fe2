"""The deterministic harness: the whole hub and its twins in one thread, on a virtual clock, from one seed."""
