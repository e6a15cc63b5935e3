"""Distillation in the Hugging Face Trainer: a small ViT on 20% of the digits, and a teacher of all of them."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from transformers import TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

import datapruning as dp
from datapruning.integrations.transformers import SampleTrainer

digits = load_digits()
images, labels = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None], torch.tensor(digits.target)
kept_ids = np.random.default_rng(0).permutation(1437)[:287]


class Digits(Dataset):
    def __init__(self, ids):
        self.ids = ids

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        return {"pixel_values": images[self.ids[i]], "labels": int(labels[self.ids[i]])}


set_seed(0)
teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
optimizer = torch.optim.Adam(teacher.parameters(), lr=0.01)
for _ in range(100):
    optimizer.zero_grad()
    cross_entropy(teacher(images[:1437]), labels[:1437]).backward()
    optimizer.step()

train_set = dp.soft_labels(teacher.eval(), Digits(range(1437)), kept_ids, num_views=1, image_key="pixel_values").dataset()
config = ViTConfig(
    image_size=8, patch_size=2, num_channels=1, num_labels=10, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
    intermediate_size=96, hidden_dropout_prob=0.0,
)  # fmt: skip
settings = TrainingArguments(
    "trainer",
    num_train_epochs=60,
    per_device_train_batch_size=64,
    learning_rate=0.005,
    remove_unused_columns=False,
    use_cpu=True,
    save_strategy="no",
    report_to="none",
    disable_tqdm=True,
)
trainer = SampleTrainer(
    ViTForImageClassification(config), settings, train_dataset=train_set, criterion=dp.KDLoss(weight=0.9, temperature=4)
)  # fmt: skip
trainer.train()
predictions = trainer.predict(Digits(range(1437, 1797)))
accuracy = (predictions.predictions.argmax(1) == predictions.label_ids).mean()
print(f"{accuracy:.1%} on the test set")
