"""Wrong labels are found, corrected and given back: scores of all other samples stay in use.

Forty labels of the digits are made wrong. The samples that `aum` suspects get the labels that the networks suggest; the
scores that were made before are used again, with the samples that were relabelled set aside.
"""

import numpy as np

import datapruning as dp

digits, rng = dp.open_dataset("digits"), np.random.default_rng(0)
wrong = rng.choice(digits.total, 40, replace=False)
labels = digits.train.labels.copy()
labels[wrong] = (labels[wrong] + rng.integers(1, 10, len(wrong))) % 10


def save(path: str) -> None:
    """Write the digits with the present labels."""
    np.savez(
        path, train_images=digits.train.images, train_labels=labels, test_images=digits.test.images,
        test_labels=digits.test.labels,
    )  # fmt: skip


save("noisy.npz")
noisy = dp.open_dataset("noisy.npz")
issues = dp.find_label_issues(noisy, count=40, out="label-issues.csv")
scores = dp.score(noisy, "aum", out="aum.npz")
for row in issues.rows:  # after a look at each: a suggestion is no verdict
    if row.suggested is not None:
        labels[row.id] = row.suggested
corrected = int((labels[wrong] == digits.train.labels[wrong]).sum())
print(f"{corrected} of {len(wrong)} wrong labels are right again")

save("corrected.npz")
subset = dp.select("aum.npz", fraction=0.5, data=dp.open_dataset("corrected.npz"))
print(subset)
