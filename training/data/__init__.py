"""Recorded gameplay: collecting it, reading it, cutting it into batches, encoding it."""
