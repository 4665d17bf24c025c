"""Side-by-side measurements; run one with ``python -m benchmarks.bench_startup``."""
