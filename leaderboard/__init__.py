"""From results to decisions: comparability, tables, statistics, verification. Reads results and calls scorers only."""
