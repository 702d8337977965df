"""fairlightning: fairness-aware deep learning for PyTorch Lightning."""
