//! The base's own tokenizer (`tokenizer.json`).
