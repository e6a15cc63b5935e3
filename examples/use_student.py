"""Use a student on new pictures, and as an ONNX file that gives the same outputs."""

import numpy as np
import torch
from onnx.reference import ReferenceEvaluator
from PIL import Image

import datapruning as dp

digits = dp.open_dataset("digits")
student = dp.train(digits, fraction=0.5, kd_weight=0, model="tinynet32", epochs=8)

pictures = [f"picture-{number}.png" for number in range(5)]  # any image files
for picture, image in zip(pictures, digits.test.images, strict=False):
    Image.fromarray(image[..., 0]).save(picture)

model = dp.load_model(student.folder)
labels, probabilities = model.predict(pictures)
for picture, label, row in zip(pictures, labels, probabilities, strict=True):
    print(f"{picture}: {model.class_names[label]}, probability {row[label]:.3f}")

print(dp.export(student.folder, "student.onnx"))
images = model.preprocess(pictures)  # float32 [5, channels, height, width], as in training
(onnx_logits,) = ReferenceEvaluator("student.onnx").run(None, {"images": images.numpy()})
with torch.inference_mode():
    difference = np.abs(onnx_logits - model(images).numpy()).max()
print(f"largest difference of a logit: {difference:.1e}")
