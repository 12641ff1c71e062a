"""The embedded base model: the generator of its text, its tokenizer, and the task of the quickstart."""
