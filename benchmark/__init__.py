"""The harness: from a file of weights to stored results. Imports neither `tasks` nor `leaderboard`."""
