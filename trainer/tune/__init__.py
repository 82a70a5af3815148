"""The training process of one job, `python -m trainer.tune <folder>`: torch is imported here alone."""
