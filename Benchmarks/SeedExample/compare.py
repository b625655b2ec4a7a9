"""Fits the same data set by scikit-learn's SGDRegressor and by RingTrain, in turn, and compares fit times.

    python compare.py PATH_OF_SEED_EXAMPLE [--runs N] [--json]
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time

try:
    import numpy as np
    import sklearn
    from sklearn.datasets import make_regression
    from sklearn.linear_model import SGDRegressor
except ImportError as error:
    sys.exit(f"scikit-learn can't be imported ({error}); pip install scikit-learn")

parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("--runs", type=int, default=9)
parser.add_argument("--json", action="store_true")
options = parser.parse_args()

X, y = make_regression(n_samples=10_000, n_features=10, noise=0.1, random_state=0)
theirs, ours = [], []
with tempfile.NamedTemporaryFile(suffix=".npy") as file:
    np.save(file, np.column_stack([X, y]))
    file.flush()
    # The first turn warms up.
    for turn in range(options.runs + 1):
        model = SGDRegressor(max_iter=100, tol=1e-3, random_state=turn)
        start = time.perf_counter()
        model.fit(X, y)
        milliseconds = (time.perf_counter() - start) * 1e3
        mine = json.loads(subprocess.run(
            [options.program, file.name, "--json"], check=True, capture_output=True, text=True).stdout)
        if turn > 0:
            theirs.append(dict(fit_ms=milliseconds, r2=model.score(X, y), epochs=model.n_iter_))
            ours.append(mine)


def median(runs, name):
    return statistics.median(run[name] for run in runs)


ratio = median(theirs, "fit_ms") / median(ours, "fit_ms")
if options.json:
    print(json.dumps(dict(
        sklearn=sklearn.__version__, sklearn_fit_ms=median(theirs, "fit_ms"), sklearn_r2=median(theirs, "r2"),
        ringtrain_fit_ms=median(ours, "fit_ms"), ringtrain_r2=median(ours, "r2"), ratio=ratio)))
else:
    print(f"10,000 × 10, medians of {options.runs} runs in turn")
    for name, runs in ((f"scikit-learn {sklearn.__version__}", theirs), ("RingTrain", ours)):
        print(f"  {name:18} R² {median(runs, 'r2'):.7f}  {median(runs, 'epochs'):3.0f} epochs  "
              f"fit {median(runs, 'fit_ms'):8.3f} ms")
    print(f"  RingTrain is {ratio:.1f} times as fast")
