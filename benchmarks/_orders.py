"""Orders to a contestant: a JSON object a line on standard input, as the answers."""

from __future__ import annotations

import json
import os
import sys


def serve(contestants):
    """Do what is asked of the contestant that the command line names."""
    # Answers go where standard output was; what libraries print does not.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        contestant = contestants[sys.argv[1]]()
        for line in sys.stdin:
            order = json.loads(line)
            method = getattr(contestant, order.pop("do"))
            answers.write(json.dumps(method(**order) or {}) + "\n")
            answers.flush()
        if hasattr(contestant, "close"):
            contestant.close()
