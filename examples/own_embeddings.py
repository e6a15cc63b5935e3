"""Select by embeddings of a network of your own, instead of those of a proxy: no network is trained here.

`dprune score --embeddings emb.npy`, `dprune duplicates --embeddings emb.npy` and `dprune select --embeddings emb.npy` do the
same.
"""

import numpy as np
from sklearn.decomposition import PCA

import datapruning as dp

digits = dp.open_dataset("digits")
pixels = digits.train.images.reshape(digits.total, -1)
embeddings = PCA(16, random_state=0).fit_transform(pixels)  # CLIP, DINO, ...: a row for each training sample
np.save("emb.npy", embeddings)

scores = dp.score(digits, "prototypicality", embeddings="emb.npy")
subset = dp.select(scores, fraction=0.3, strategy="d2")  # reads the embeddings that the scores were made from
print(subset, "by", subset.meta.scorer, "and", subset.meta.strategy)

pairs = dp.find_near_duplicates(digits, distance=0.01, embeddings="emb.npy", out="near-duplicates.csv")
print(f"{len(pairs)} pairs of near duplicates, {pairs.have_other_labels.sum()} of them with different labels")
second = np.unique(pairs.ids[:, 1])
np.savetxt("seconds.txt", second, fmt="%d")
kept = dp.select(scores, fraction=0.3, exclude="seconds.txt")
print("without the second of each pair:", kept)
