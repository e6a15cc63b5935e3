"""Fine-tune from a file of weights: a network that knows odd from even digits learns the ten classes from few samples.

Its last layer has two outputs and is left out; a line says so. `dprune train --init odd-even.pth` does the same.
"""

from dataclasses import replace

import torch

import datapruning as dp
from datapruning.data.dataset import Split

digits = dp.open_dataset("digits")
parts = {role: Split(digits.split(role).images, digits.split(role).labels % 2) for role in ("train", "test")}
odd_even = replace(digits, name="odd-even", class_names=("even", "odd"), **parts)
network = dp.load_model(dp.teach(odd_even, model="convnet").folder).network
torch.save(network.state_dict(), "odd-even.pth")  # weights from anywhere: safetensors, .pth, or a run folder

accuracies = {}
for init in (None, "odd-even.pth"):
    student = dp.train(digits, fraction=0.02, kd_weight=0, model="convnet", epochs=20, init=init)
    accuracies[init] = student.test_accuracy
    print(f"from {init or 'a random initialisation'}: {student.test_accuracy:.1f}% with {student.result.kept} samples")
