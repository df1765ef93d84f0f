"""The harness: from a file of weights to stored results. Imports neither `tasks` nor `leaderboard`."""

import logging

logging.getLogger(__name__).addHandler(logging.NullHandler())  # a library is silent unless its user wants to hear it
