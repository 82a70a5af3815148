"""An OpenAI fine-tuning API that trains nothing: a neighbour for tests, demos and other people's code."""
