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

np.savez(
    "noisy.npz", train_images=digits.train.images, train_labels=labels, test_images=digits.test.images,
    test_labels=digits.test.labels,
)  # fmt: skip
noisy = dp.open_dataset("noisy.npz")
issues = dp.find_label_issues(noisy, count=40, out="label-issues.csv")
dp.score(noisy, "aum", out="aum.npz")
with open("corrected.csv", "w") as file:  # after a look at each: a suggestion is no verdict
    file.write("id,corrected\n")
    file.writelines(f"{row.id},{row.suggested_name}\n" for row in issues.rows)

corrected = dp.open_dataset("noisy.npz", corrected_labels="corrected.csv")
right = int((corrected.train.labels[wrong] == digits.train.labels[wrong]).sum())
print(f"{right} of {len(wrong)} wrong labels are right again")
subset = dp.select("aum.npz", fraction=0.5, data=corrected)
print(subset)
