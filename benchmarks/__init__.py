"""Benchmarks: each is a module with `main(argv) -> int`, run by `espalier bench NAME`.

Each takes `--json FILE` and prints a table of `report.Row`s.
"""
