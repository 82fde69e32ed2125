#!/usr/bin/env python3
"""Builds the data set inside `engram demo`: a few thousand WordNet 3.0 synsets with their typed links.

    sudo apt-get install wordnet-base zstd
    tools/wordnet/build_demo.py                  # writes crates/engram-cli/data/
    tools/wordnet/build_demo.py --plain FILE     # writes the uncompressed lines to FILE as well

Standard library only; compression is left to the zstd command. The same WordNet files and the same zstd give the same
bytes: everything is sorted and nothing is drawn at random.

WordNet has 117,659 synsets, most of them of no interest to a newcomer. What is taken:

1. A core: from each lexicographer file of REGIONS (animals, food, feelings, weather, ...) the most common synsets, up
   to a quota, in some files only below certain roots. How common a synset is comes from WordNet alone: how often its
   senses were tagged in the texts that Princeton tagged (cntlist.rev), and how often its words occur in all glosses.
2. Bridges: the synsets that the most members of the core are linked to other than by hypernyms. They make a feeling
   lead to its verb and its adjective, an instrument to who plays it.
3. All hypernyms of these, so that everything in reach of one thing is in reach of another.
4. Of that, the largest connected part.

A record is a memory as `engram import` reads it; the ids and kinds of link are those of WordNet's offsets and pointers.
"""

import argparse
import collections
import json
import math
import pathlib
import re
import subprocess
import sys

# Lexicographer files by number, from lexnames(5).
LEXFILES = """adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body
noun.cognition noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object
noun.person noun.phenomenon noun.plant noun.possession noun.process noun.quantity noun.relation noun.shape noun.state
noun.substance noun.time verb.body verb.change verb.cognition verb.communication verb.competition verb.consumption
verb.contact verb.creation verb.emotion verb.motion verb.perception verb.possession verb.social verb.stative
verb.weather adj.ppl""".split()

# Pointer symbols that are kept: (kind, weight). A pointer whose inverse is kept (hyponym, meronym, ...) is dropped;
# association runs both ways. The weight says how strongly one idea brings the other to mind: the same idea in another
# part of speech most; near-synonyms, opposites, causes and parts strongly; the general heading under which something
# is filed less, since it is shared by so many; the field it belongs to least.
KINDS = {
    "+": ("derivation", 1.0),
    "<": ("participle", 1.0),
    "\\": ("pertainym", 1.0),
    "&": ("similar_to", 0.9),
    ">": ("cause", 0.9),
    "*": ("entailment", 0.8),
    "!": ("antonym", 0.8),
    "#p": ("part_holonym", 0.8),
    "#s": ("substance_holonym", 0.8),
    "$": ("verb_group", 0.7),
    "^": ("also_see", 0.7),
    "=": ("attribute", 0.7),
    "@": ("hypernym", 0.6),
    "@i": ("instance_hypernym", 0.6),
    "#m": ("member_holonym", 0.5),
    ";c": ("domain_topic", 0.4),
    ";r": ("domain_region", 0.3),
    ";u": ("domain_usage", 0.3),
}
HIERARCHY = {"hypernym", "instance_hypernym"}
FIELDS = {"domain_topic", "domain_region", "domain_usage"}

# Lexicographer file: (how many synsets, below which synsets); no roots: anywhere in the file. A root is word.pos.sense,
# the sense counted as in index.*.
REGIONS = {
    "noun.animal": (470, []),
    "noun.plant": (230, []),
    "noun.food": (330, []),
    "noun.body": (200, []),
    "noun.feeling": (220, []),
    "noun.phenomenon": (140, []),
    "noun.artifact": (
        500,
        ["musical_instrument.n.1", "tool.n.1", "container.n.1", "vehicle.n.1", "clothing.n.1", "furniture.n.1",
         "weapon.n.1", "plaything.n.1", "kitchen_utensil.n.1", "dwelling.n.1", "bell.n.1", "shelter.n.1"],
    ),
    "noun.object": (120, []),
    "noun.substance": (90, []),
    "noun.time": (50, ["season.n.1", "season.n.2", "time_of_day.n.1", "day.n.4"]),
    "noun.communication": (110, ["music.n.1", "sound.n.4", "utterance.n.1", "cry.n.1", "gesture.n.2"]),
    "noun.event": (90, ["sound.n.4", "movement.n.3", "fire.n.1", "happening.n.1"]),
    "noun.state": (70, ["condition.n.1"]),
    "noun.person": (120, ["musician.n.1", "musician.n.2", "cook.n.1", "artist.n.1", "worker.n.1", "lover.n.1"]),
    "verb.weather": (81, []),
    "verb.emotion": (150, []),
    "verb.consumption": (90, []),
    "verb.perception": (100, []),
    "verb.body": (100, []),
    "verb.motion": (130, []),
    "verb.contact": (120, []),
    "verb.communication": (90, ["express.v.2", "utter.v.2", "talk.v.1"]),
    "verb.creation": (70, []),
    "verb.change": (90, []),
}
# Adjectives have no hypernyms to stand below: taken are those of things in these files, and what is similar to them.
ADJECTIVES = 330
ADJECTIVES_OF = {
    "noun.animal", "noun.plant", "noun.food", "noun.body", "noun.feeling", "noun.phenomenon", "noun.substance",
    "noun.object", "verb.weather", "verb.emotion", "verb.consumption", "verb.perception",
}
BRIDGES = 600

# A first minute needs no curses, slurs or anatomy lessons.
UNWELCOME = re.compile(
    r"\b(obscen\w*|vulgar\w*|offensive|derogatory|disparag\w*|slurs?|sex\w*|copulat\w*|coit\w*|intercourse|penis|vagina\w*|"
    r"vulva\w*|genital\w*|erotic\w*|orgasm\w*|shit|piss|fuck\w*|excret\w*|f[ae]+ces|defecat\w*|urin\w*|whor\w*|"
    r"prostitut\w*|rape|raping|nipples?|anus|slaves?|negro\w*)\b",
    re.IGNORECASE,
)
# Hypernyms come in without being asked; these go out again with all below them.
UNWELCOME_BELOW = ["sexual_activity.n.1", "sexual_desire.n.1", "reproductive_organ.n.1", "dysphemism.n.1"]

PLACES = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
NUMBER_OF_POS = {"n": 1, "v": 2, "a": 3, "r": 4, "s": 5}


class Synset:
    """One line of data.*: see wndb(5)."""

    def __init__(self, line, place):
        fields, gloss = line.split(" | ", 1)
        fields = fields.split(" ")
        self.id = place + fields[0]
        self.lexfile = LEXFILES[int(fields[1])]
        self.pos = fields[2]
        words = int(fields[3], 16)
        self.lemmas, self.lex_ids = [], []
        for at in range(4, 4 + 2 * words, 2):
            # Adjectives carry where they may stand: "galore(ip)".
            self.lemmas.append(re.sub(r"\((a|p|ip)\)$", "", fields[at]))
            self.lex_ids.append(int(fields[at + 1], 16))
        self.gloss = gloss.strip()
        self.pointers = []
        pointers = int(fields[4 + 2 * words])
        for at in range(5 + 2 * words, 5 + 2 * words + 4 * pointers, 4):
            symbol, offset, pos = fields[at : at + 3]
            self.pointers.append((symbol, pos.replace("s", "a") + offset))
        # A verb may point twice to one synset, from different words; once is enough.
        targets = {}
        for symbol, to in self.pointers:
            if symbol in KINDS and to != self.id:
                targets.setdefault((KINDS[symbol][0], to), KINDS[symbol][1])
        self.links = [(kind, to, weight) for (kind, to), weight in sorted(targets.items())]


def read_synsets(folder):
    synsets = {}
    for name, place in PLACES.items():
        with open(folder / f"data.{name}", encoding="ascii", errors="strict") as lines:
            for line in lines:
                if not line.startswith(" "):  # the licence
                    synset = Synset(line, place)
                    synsets[synset.id] = synset
    return synsets


def read_sense_ranks(folder):
    """(id, lemma) -> place among the senses of that word, from 1: see wndb(5), index.*"""
    ranks = {}
    for name, place in PLACES.items():
        with open(folder / f"index.{name}", encoding="ascii") as lines:
            for line in lines:
                if line.startswith(" "):
                    continue
                fields = line.split()
                count = int(fields[2])
                for rank, offset in enumerate(fields[-count:], 1):
                    ranks[place + offset, fields[0]] = rank
    return ranks


def read_tag_counts(folder):
    """Sense key -> how often it was tagged: see cntlist(5)."""
    counts = {}
    with open(folder / "cntlist.rev", encoding="ascii") as lines:
        for line in lines:
            key, _, count = line.split()
            counts[key] = int(count)
    return counts


def sense_key(synset, at, synsets):
    """lemma%pos:lexfile:lex_id:head:head_id, as senseidx(5) says; a satellite names its cluster's head."""
    head = ":"
    if synset.pos == "s":
        heads = [synsets[to] for symbol, to in synset.pointers if symbol == "&"]
        if heads:
            head = f"{heads[0].lemmas[0].lower()}:{heads[0].lex_ids[0]:02d}"
    lexfile = LEXFILES.index(synset.lexfile)
    lemma = synset.lemmas[at].lower()
    return f"{lemma}%{NUMBER_OF_POS[synset.pos]}:{lexfile:02d}:{synset.lex_ids[at]:02d}:{head}"


def score_all(synsets, tags):
    """How common each synset is, with a little for having something to show."""
    in_glosses, of_word = collections.Counter(), collections.Counter()
    tagged = {}
    for synset in synsets.values():
        in_glosses.update(re.findall(r"[a-z]+", synset.gloss.lower()))
        for at, lemma in enumerate(synset.lemmas):
            # Half a tag for each sense, so that a word without any tag is shared out evenly.
            tagged[synset.id, at] = 0.5 + tags.get(sense_key(synset, at, synsets), 0)
            of_word[lemma] += tagged[synset.id, at]
    scores = {}
    for synset in synsets.values():
        best = 0.0
        for at, lemma in enumerate(synset.lemmas):
            # Of a word's places in the glosses this sense gets its share; a name is no common word.
            share = tagged[synset.id, at] / of_word[lemma]
            seen = math.log2(1 + in_glosses[lemma] * share) if lemma.islower() else 0.0
            best = max(best, math.log2(0.5 + tagged[synset.id, at]) + seen)
        shown = (0.5 if '"' in synset.gloss else 0.0) + 0.3 * sum(kind not in HIERARCHY for kind, _, _ in synset.links)
        scores[synset.id] = best + min(shown, 2.0)
    return scores


def select(synsets, ranks, scores):
    children = collections.defaultdict(set)
    for synset in synsets.values():
        for kind, to, _ in synset.links:
            if kind in HIERARCHY:
                children[to].add(synset.id)
    by_rank = lambda id: (-scores[id], id)

    welcome = {id for id, synset in synsets.items() if not UNWELCOME.search(synset.gloss + " " + " ".join(synset.lemmas))}
    core = set()
    for lexfile, (quota, roots) in sorted(REGIONS.items()):
        allowed = {synset.id for synset in synsets.values() if synset.lexfile == lexfile}
        if roots:
            allowed &= below([find(root, ranks) for root in roots], children)
        core.update(sorted(allowed & welcome, key=by_rank)[:quota])
    core.update(sorted(adjectives(synsets) & welcome, key=by_rank)[:ADJECTIVES])

    linked = collections.Counter()
    for synset in synsets.values():
        for kind, to, _ in synset.links:
            if kind not in HIERARCHY | FIELDS:
                # Symmetric pointers are written at both ends and count twice for everyone.
                linked[to] += synset.id in core
                linked[synset.id] += to in core
    bridges = [id for id in welcome - core if linked[id] >= 2 and scores[id] >= 3.0]
    bridges.sort(key=lambda id: (-linked[id], by_rank(id)))
    chosen = core | set(bridges[:BRIDGES])

    stack = sorted(chosen)
    while stack:
        for kind, to, _ in synsets[stack.pop()].links:
            if kind in HIERARCHY and to not in chosen:
                chosen.add(to)
                stack.append(to)
    chosen -= below([find(root, ranks) for root in UNWELCOME_BELOW], children)
    return largest_part(chosen, synsets)


def adjectives(synsets):
    """Those that say something of the things in ADJECTIVES_OF, and what is similar to them."""
    own = set()
    for synset in synsets.values():
        if synset.id.startswith("a") and any(
            kind not in FIELDS and synsets[to].lexfile in ADJECTIVES_OF for kind, to, _ in synset.links
        ):
            own.add(synset.id)
    return own | {to for id in own for kind, to, _ in synsets[id].links if kind == "similar_to"}


def find(root, ranks):
    word, pos, sense = root.rsplit(".", 2)
    found = [id for (id, lemma), rank in ranks.items() if lemma == word and rank == int(sense) and id[0] == pos]
    if len(found) != 1:
        sys.exit(f"{root} is {len(found)} synsets, expected one")
    return found[0]


def below(roots, children):
    seen, stack = set(roots), list(roots)
    while stack:
        for child in children[stack.pop()] - seen:
            seen.add(child)
            stack.append(child)
    return seen


def largest_part(chosen, synsets):
    neighbours = collections.defaultdict(set)
    for id in chosen:
        for _, to, _ in synsets[id].links:
            if to in chosen:
                neighbours[id].add(to)
                neighbours[to].add(id)
    parts, left = [], set(chosen)
    while left:
        part, stack = set(), [min(left)]
        while stack:
            id = stack.pop()
            if id not in part:
                part.add(id)
                stack.extend(neighbours[id] - part)
        parts.append(part)
        left -= part
    return max(parts, key=lambda part: (len(part), min(part)))


def record(synset, chosen):
    lemmas = ", ".join(lemma.replace("_", " ") for lemma in synset.lemmas)
    links = [{"to": to, "kind": kind, "weight": weight} for kind, to, weight in synset.links if to in chosen]
    memory = {
        "id": synset.id,
        "content": f"{lemmas}: {synset.gloss}",
        "metadata": {"pos": synset.pos, "lexfile": synset.lexfile},
    }
    if links:
        memory["links"] = links
    return memory


def licence(folder):
    """The licence, which opens every data file with numbered lines."""
    lines = []
    with open(folder / "data.noun", encoding="ascii") as file:
        for line in file:
            if not line.startswith(" "):
                break
            lines.append(re.sub(r"^ +\d+ ?", "", line).rstrip())
    notice = (
        "wordnet-demo.jsonl.zst beside this file is a selection from WordNet 3.0, made by\n"
        "tools/wordnet/build_demo.py from Debian's package wordnet-base. Synsets were left out and\n"
        "their lines were rewritten as JSON; the words, glosses and relations are Princeton's.\n"
        "The licence that follows is the one at the head of WordNet's data files.\n"
    )
    return notice + "\n" + "\n".join(lines).strip() + "\n"


def main():
    here = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--wordnet", type=pathlib.Path, default=pathlib.Path("/usr/share/wordnet"))
    parser.add_argument("--out", type=pathlib.Path, default=here / "crates/engram-cli/data")
    parser.add_argument("--plain", type=pathlib.Path)
    given = parser.parse_args()

    synsets = read_synsets(given.wordnet)
    ranks = read_sense_ranks(given.wordnet)
    scores = score_all(synsets, read_tag_counts(given.wordnet))
    chosen = select(synsets, ranks, scores)
    order = sorted(chosen, key=lambda id: ("nvar".index(id[0]), id))
    memories = [record(synsets[id], chosen) for id in order]
    text = "".join(json.dumps(memory, ensure_ascii=False) + "\n" for memory in memories)

    given.out.mkdir(parents=True, exist_ok=True)
    if given.plain:
        given.plain.write_text(text, encoding="utf-8")
    packed = subprocess.run(["zstd", "-19", "-q", "-c"], input=text.encode(), stdout=subprocess.PIPE, check=True).stdout
    (given.out / "wordnet-demo.jsonl.zst").write_bytes(packed)
    (given.out / "WORDNET-LICENSE.txt").write_text(licence(given.wordnet), encoding="utf-8")

    kinds = collections.Counter(link["kind"] for memory in memories for link in memory.get("links", []))
    files = collections.Counter(memory["metadata"]["lexfile"] for memory in memories)
    print(f"{len(memories)} memories, {sum(kinds.values())} links, {len(text)} bytes, {len(packed)} compressed")
    print("links:", ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()))
    print("files:", ", ".join(f"{name} {count}" for name, count in files.most_common()))


if __name__ == "__main__":
    main()
