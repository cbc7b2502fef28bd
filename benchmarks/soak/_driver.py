"""A process that trains and may be killed: ``_driver.py TABLE RESULT [CHECKPOINT]``."""

from __future__ import annotations

import pickle
import sys
import time
from pathlib import Path

import dask
import dask.dataframe as dd
from _jobs import CLASSES, Slow

import dfml


def main():
    table, result, *checkpoint = sys.argv[1:]
    frame = dd.read_parquet(table)
    clf = dfml.Incremental(
        Slow(random_state=0), checkpoint=checkpoint[0] if checkpoint else None
    )
    told = {"notes": [], "interrupted": None}
    print("begin", flush=True)
    with dask.config.set(scheduler="threads"):
        try:
            clf.fit(frame, "label", classes=CLASSES)
        except KeyboardInterrupt as interrupt:
            told = {"notes": interrupt.__notes__, "interrupted": time.time()}
    time.sleep(0.3 if told["interrupted"] else 0)  # nothing may change afterwards
    told["model"] = getattr(clf, "estimator_", None)
    told["seen"] = getattr(clf, "n_partitions_seen_", 0)
    if told["model"] is not None:
        told["answers"] = len(clf.predict(frame.partitions[0]).compute())
    Path(result).write_bytes(pickle.dumps(told))


if __name__ == "__main__":
    main()
