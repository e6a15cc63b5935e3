"""Experiment trackers that show a run: TensorBoard, Weights & Biases, MLflow."""
