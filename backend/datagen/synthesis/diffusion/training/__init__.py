"""Fine-tuning: the training set, losses, the LoRA trainer and the fit."""
