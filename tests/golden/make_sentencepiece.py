#!/usr/bin/env python3
"""A small SentencePiece model and what the sentencepiece package makes of some texts with it: the golden files of
tests/it/tokenizers.rs. The corpus is this repository's own prose.

Use: make_sentencepiece.py    (needs: pip install sentencepiece protobuf)
"""
import io, json
from pathlib import Path

import sentencepiece as spm

HERE = Path(__file__).resolve().parent
OUT = HERE / "sentencepiece"
TEXTS = [
    "The base is frozen.", " two  spaces   and one before", "naïve café ☕ 语言模型", "line\nbreak\tand tab", "x", "",
    "LoRA on the CPU, with an explicit forward and backward over the frozen base", "1234567890 %$#@!", "sealed. Sealed? unsealed!",
]


def main():
    OUT.mkdir(exist_ok=True)
    prose = "\n".join((HERE.parent.parent / name).read_text() for name in ("README.md", "ARCHITECTURE.md", "SECURITY.md"))
    sentences = [line for line in prose.splitlines() if line.strip()] + ["语言模型 的 基础 模型"] * 3
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(sentence_iterator=iter(sentences), model_writer=model, model_type="bpe", vocab_size=600,
                                   byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
                                   character_coverage=0.9995, user_defined_symbols=["<sep>"], num_threads=1)
    (OUT / "tokenizer.model").write_bytes(model.getvalue())
    processor = spm.SentencePieceProcessor(model_proto=model.getvalue())
    cases = [{"text": text, "ids": processor.encode(text), "decoded": processor.decode(processor.encode(text))} for text in TEXTS]
    (OUT / "expected.json").write_text(json.dumps({"pieces": processor.vocab_size(), "cases": cases}, ensure_ascii=False, indent=1) + "\n")


main()
