"""OpenAI's fine-tuning API from the server's side: what the simulator and the trainer both need, and no more."""
