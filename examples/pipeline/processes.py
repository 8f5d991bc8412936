"""The four processes of the document pipeline: assigner → classification × N → merging_results → uploader.

Purpose: text files become a table in Postgres that says what each of them is about. How many chunks there are, and so
how often `classification` runs, is known only when `assigner` has read the files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from freshet import process

CORPUS = Path(__file__).parent / "corpus"

#: Words that speak for a topic. A word is counted with its endings: `sail` also stands for sails and sailed.
TOPICS: Mapping[str, tuple[str, ...]] = {
    "sea": ("boat", "captain", "crew", "harbour", "mast", "sail", "sea", "ship", "tide", "wave"),
    "garden": ("bean", "bud", "compost", "garden", "graft", "leaf", "leaves", "pear", "root", "seed", "soil", "tree"),
    "stars": ("astronomer", "comet", "crater", "meteor", "mirror", "moon", "orbit", "planet", "star", "telescope"),
    "kitchen": ("bread", "broth", "butter", "dough", "flour", "kitchen", "loaf", "onion", "oven", "recipe", "soup"),
    "railway": ("carriage", "guard", "locomotive", "platform", "rail", "sleeper", "station", "ticket", "train"),
    "music": ("bass", "choir", "chord", "harmony", "melody", "note", "pitch", "sing", "string", "violin", "voice"),
}  # fmt: skip
ENDINGS = "(?:s|es|d|ed|ing|er|ers)?"


@process("assigner", version="1.0.0")
def assign(payload: Mapping[str, Any], context: Any) -> list[dict[str, Any]]:
    """Cut the files of a directory into chunks of about `chunk_size` characters, at the ends of paragraphs."""
    directory = Path(payload["directory"]) if payload["directory"] else CORPUS
    chunks = [
        {"document": path.stem, "chunk": index, "text": text}
        for path in sorted(directory.glob("*.txt"))
        for index, text in enumerate(_chunks(path.read_text(encoding="utf-8"), payload["chunk_size"]))
    ]
    context.logger.info("assigned", directory=str(directory), chunks=len(chunks))
    return chunks


@process("classification", version="1.0.0")
def classify(payload: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Score one chunk: how many of its words speak for each topic."""
    text = payload["text"].lower()
    scores = {topic: len(re.findall(pattern, text)) for topic, pattern in PATTERNS.items()}
    words = len(re.findall(r"[^\W\d_]+", text))
    return {"document": payload["document"], "chunk": payload["chunk"], "words": words, "scores": scores}


@process("merging_results", version="1.0.0")
def merge(payload: Iterable[Mapping[str, Any]], context: Any) -> list[dict[str, Any]]:
    """Add up the chunks of each document and name its topic."""
    documents: dict[str, dict[str, Any]] = {}
    for scored in payload:
        found = documents.setdefault(scored["document"], {"chunks": 0, "words": 0, "scores": Counter()})
        found["chunks"] += 1
        found["words"] += scored["words"]
        found["scores"].update(scored["scores"])
    return [_verdict(name, found) for name, found in sorted(documents.items())]


@process("uploader", version="1.0.0")
def upload(payload: list[Mapping[str, Any]], context: Any) -> dict[str, Any]:
    """Write one row per document into the table `document_topics`; answer how many."""
    connection = context.connection
    connection.execute(CREATE)
    with connection.cursor() as cursor:
        cursor.executemany(INSERT, [{**row, "run_id": context.run_id} for row in payload])
    return {"table": "document_topics", "rows": len(payload)}


CREATE = """
create table if not exists document_topics (
    run_id uuid not null,
    document text not null,
    topic text not null,
    share real not null,
    chunks integer not null,
    words integer not null,
    primary key (run_id, document)
)
"""
INSERT = """
insert into document_topics (run_id, document, topic, share, chunks, words)
values (%(run_id)s, %(document)s, %(topic)s, %(share)s, %(chunks)s, %(words)s)
"""
PATTERNS = {topic: rf"\b(?:{'|'.join(words)}){ENDINGS}\b" for topic, words in TOPICS.items()}


def _chunks(text: str, size: int) -> Iterator[str]:
    """Paragraphs, joined while they fit into `size` characters; a longer paragraph stays whole."""
    chunk = ""
    for paragraph in text.strip().split("\n\n"):
        if chunk and len(chunk) + len(paragraph) > size:
            yield chunk
            chunk = ""
        chunk = f"{chunk}\n\n{paragraph}" if chunk else paragraph
    if chunk:
        yield chunk


def _verdict(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """The topic with the most words, and its share of all words that speak for some topic."""
    total = sum(found["scores"].values())
    topic, score = max(found["scores"].items(), key=lambda entry: entry[1])
    share = round(score / total, 3) if total else 0.0
    label = topic if total else "unknown"
    return {"document": name, "topic": label, "share": share, "chunks": found["chunks"], "words": found["words"]}
