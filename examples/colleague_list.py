"""A colleague's list of samples: ids in a text file become a subset, which trains a student and is compared with your own.

The list does not say which dataset its ids are of: that has to be named. An id that the dataset lacks is refused.
"""

from pathlib import Path

import numpy as np

import datapruning as dp

digits = dp.open_dataset("digits")
picked = np.random.default_rng(0).choice(digits.total, 400, replace=False)
Path("colleague.txt").write_text("\n".join(map(str, picked)) + "\n")

subset = dp.subset_from_file("colleague.txt", digits)
context = dp.open_context(digits, changes=["train.model=tinynet16", "proxy.epochs=4", "evidence.runs=2"])
own = dp.select(dp.score(context, "el2n"), fraction=len(subset) / digits.total)
shared = np.intersect1d(subset.indices, own.indices)
students = [dp.train(context, kept, kd_weight=0, epochs=8) for kept in (subset, own)]
print(f"{len(shared)} samples are in both lists; {students[0].test_accuracy:.1f}% and {students[1].test_accuracy:.1f}%")

Path("wrong.txt").write_text("3\n1438\n")
try:
    dp.subset_from_file("wrong.txt", digits)
except dp.errors.UserError as error:
    refused = str(error)
    print(refused)
