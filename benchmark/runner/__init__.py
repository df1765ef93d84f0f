"""Plans cells, runs them, resumes. The top floor of the harness; every other floor is below it."""
