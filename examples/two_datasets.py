"""Two datasets in one workspace: files remember which one they were made from, and a report shows one of them.

The second dataset is the digits with other classes, as an `.npz` of your own would be.
"""

import subprocess
import sys

import numpy as np

import datapruning as dp

digits = dp.open_dataset("digits")
np.savez(
    "odd-even.npz",
    train_images=digits.train.images,
    train_labels=digits.train.labels % 2,
    test_images=digits.test.images,
    test_labels=digits.test.labels % 2,
)

settings = ["train.model=tinynet16", "train.epochs=4", "proxy.epochs=2", "evidence.runs=1", "evidence.early_epoch=1"]
for name, data in (("digits", "digits"), ("odd-even", "odd-even.npz")):
    dp.score(data, "el2n", out=f"scores/{name}.npz", changes=settings)
    dp.select(f"scores/{name}.npz", 0.3, balance="class", out=f"{name}-30.npz")

# A command without --data takes the dataset of its files; in Python, it is named.
changes = [option for setting in settings for option in ("--set", setting)]
command = ["train", "--subset", "odd-even-30.npz", "--kd-weight", "0", *changes]
subprocess.run([sys.executable, "-m", "datapruning", *command], check=True)
dp.train("digits", "digits-30.npz", kd_weight=0, changes=settings)

try:
    dp.train("digits", "odd-even-30.npz", kd_weight=0, changes=settings)
except dp.UserError as error:
    refused = str(error)
    print(refused)

report = dp.write_report(["dprune-runs"], "odd-even.html", data="odd-even.npz")
print(f"{report.runs} run of odd-even.npz in {report.page}; the one of the digits is left out")
