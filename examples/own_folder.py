"""Score a folder of images, look at the scores, keep the best half, and train a student on it.

The folder has a subfolder for each class, in train/ and test/; here it is made from the digits.
"""

from pathlib import Path

from PIL import Image

import datapruning as dp

digits = dp.open_dataset("digits")
for split, part, count in (("train", digits.train, 600), ("test", digits.test, 200)):
    for number, (image, label) in enumerate(zip(part.images[:count], part.labels[:count], strict=True)):
        path = Path("photos", split, str(label), f"{number:04d}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, :, 0]).resize((16, 16)).save(path)

photos = dp.open_dataset("photos?image-size=16")
context = dp.open_context(photos, recipe="digits", changes=["train.model=tinynet16", "proxy.epochs=6", "evidence.runs=2"])
scores = dp.score(context, "el2n", out="el2n.npz")
subset = dp.select(scores, fraction=0.5, balance="class", data=photos)
subset.save("half.npz")
dp.export("half.npz", "half.csv", data=photos, paths=True)  # ids and paths, for other programs
student = dp.train(context, subset, kd_weight=0, epochs=10)
print(f"{subset}: {student.test_accuracy:.1f}% on the test set")
