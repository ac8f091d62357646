"""Training on several processes that torchrun launches."""
