"""Calls a live `espalier serve` from outside, as others' tests and tools do."""
