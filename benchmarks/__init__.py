"""What is measured: every module runs with ``python -m benchmarks.<name>``."""
