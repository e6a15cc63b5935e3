"""Logs of runs for tools that draw curves: TensorBoard, Weights & Biases, MLflow."""
