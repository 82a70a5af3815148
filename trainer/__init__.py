"""A trainer of one's own: OpenAI's fine-tuning API over open-weight models."""
