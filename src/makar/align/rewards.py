"""What an answer earns: one table of rules, from rhyme to a person's own function."""

import inspect
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from makar.align.config import fitting
from makar.align.functions import load_function
from makar.core.config import nearest
from makar.core.errors import InputError, RecipeError, UserError
from makar.data.ask_text import POEM_REQUESTS
from makar.measure.pronounce import words
from makar.measure.text import plain_words
from makar.measure.topic import asked_for, holds, inflections
from makar.measure.verse import SHORTEST, meters_of, rhymes_in


@dataclass(frozen=True)
class Case:
    """One answer, as a rule sees it.

    Args:
        prompt: What was asked, as text.
        answer: What was answered.
        row: The prompt's record with all its fields, such as "answer".
        reason: Why the answer ended: "stop" or "length".
        ids: Prompt and answer as token ids.
    """

    prompt: str
    answer: str
    row: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reason: str | None = "stop"
    ids: tuple[int, ...] = ()


Rule = Callable[[Case], float]
Judge = Callable[[Sequence[Case]], Sequence[float]]


@dataclass(frozen=True)
class Reward:
    """A judge and how much it counts.

    Args:
        name: For the metrics and for errors.
        judge: From cases to numbers.
        weight: In the sum of all rewards.
        where: What to name when it fails: the rule, or the person's function.
    """

    name: str
    judge: Judge
    weight: float = 1.0
    where: str = ""


def each(rule: Rule) -> Judge:
    """A judge that looks at one case after the other."""
    return lambda cases: [rule(case) for case in cases]


def verse_lines(case: Case) -> list[list[str]]:
    """The words of each line that has any."""
    return [found for line in case.answer.splitlines() if (found := words(line))]


def check_share(value: float, where: str) -> None:
    """Refuse what is no share.

    Raises:
        RecipeError: It is not above 0 and at most 1.
    """
    if not 0 < value <= 1:
        raise RecipeError("no share", where=where, value=value, fix="give one above 0, at most 1")


def rhyme(scheme: Literal["rhymed", "couplet", "alternating", "enclosed"] = "rhymed", fresh: float = 1.0) -> Judge:
    """The share of lines that rhyme, times the share of different words at their ends: one rhyme all along is dull.

    Args:
        scheme: With a line at most three away, or one, two or three away.
        fresh: The share of the answers judged beside it that may rhyme on a word before it counts for less, in
            proportion. Without this, rhymes on "me" and "thee" are found first, and then stand in every poem.

    Raises:
        RecipeError: No share can be that.
    """
    check_share(fresh, "reward.rhyme.fresh")

    def judge(cases: Sequence[Case]) -> list[float]:
        poems = [verse_lines(case) for case in cases]
        rhymed = [
            [line[-1] for line, found in zip(lines, rhymes_in(lines), strict=True) if scheme in found]
            for lines in poems
        ]
        users = Counter(word for ends in rhymed for word in set(ends))
        most = max(1.0, fresh * len(cases))
        worth = [sum(min(1.0, most / users[word]) for word in ends) for ends in rhymed]
        return [
            earned / len(lines) * len({line[-1] for line in lines}) / len(lines) if lines else 0.0
            for earned, lines in zip(worth, poems, strict=True)
        ]

    return judge


def meter() -> Judge:
    """The share of lines that keep the poem's meter; 0 for fewer than four lines, which prove none."""

    def rule(case: Case) -> float:
        lines = verse_lines(case)
        return sum(found is not None for found in meters_of(lines)) / len(lines) if len(lines) >= SHORTEST else 0.0

    return each(rule)


UNITS: Mapping[str, Callable[[str], int]] = {
    "words": lambda text: len(words(text)),
    "lines": lambda text: sum(bool(line.strip()) for line in text.splitlines()),
    "characters": len,
}


def length(low: int = 0, high: int = 10**9, unit: Literal["words", "lines", "characters"] = "words") -> Judge:
    """1 inside the bounds, less in proportion outside them.

    Args:
        low: Units at least.
        high: Units at most.
        unit: What is counted.

    Raises:
        RecipeError: No answer can be so long and so short.
    """
    if not 0 <= low <= high:
        fix = "give bounds from 0 up, the lower one first"
        raise RecipeError("no length is within the bounds", where="reward.length", value=f"{low} to {high}", fix=fix)

    def rule(case: Case) -> float:
        count = UNITS[unit](case.answer)
        return min(1.0, count / low if low else 1.0, high / count if count else 1.0)

    return each(rule)


def form(pattern: str) -> Judge:
    """1 where the whole answer, less white space around it, has a form; a dot matches a line's end too."""
    compiled = regular(pattern)
    return each(lambda case: float(compiled.fullmatch(case.answer.strip()) is not None))


def regex(pattern: str) -> Judge:
    """1 where a regular expression matches somewhere in the answer."""
    compiled = regular(pattern)
    return each(lambda case: float(compiled.search(case.answer) is not None))


def exact(field: str = "answer", pattern: str | None = None) -> Judge:
    """1 where the answer is what the prompt's record says.

    Args:
        field: Of the record.
        pattern: A regular expression; its last match in the answer (its first group, where it has one) is compared. The
            whole answer if left out, less white space around it.
    """
    compiled = regular(pattern) if pattern is not None else None

    def rule(case: Case) -> float:
        if field not in case.row:
            fix = nearest(field, list(case.row))
            raise InputError(f"the prompt's record has no field {field!r}", value=dict(case.row), fix=fix)
        found: str | None = case.answer
        if compiled is not None:
            matches = list(compiled.finditer(case.answer))
            found = matches[-1][min(1, compiled.groups)] if matches else None
        return float(found is not None and found.strip() == str(case.row[field]).strip())

    return each(rule)


def stop() -> Judge:
    """1 where the model ended its answer itself and was not cut off."""
    return each(lambda case: float(case.reason == "stop"))


def topic() -> Judge:
    """1 where a poem holds the word that a wish asks it to be about, in any inflection; 0 where it asks for none."""

    def rule(case: Case) -> float:
        word = asked_for(case.prompt, POEM_REQUESTS)
        return float(word is not None and holds(case.answer, inflections(word)))

    return each(rule)


def variety(enough: float = 1.0) -> Judge:
    """The share of an answer's word pairs that no answer judged beside it has: in its rollout, or in its look.

    A rule that one trick satisfies is soon satisfied by that trick everywhere; this makes a common trick worth less.

    Args:
        enough: The share that earns all, and what is below it in proportion. Where a model's answers already have it,
            nothing is earned by odd words, and what is earned by common ones is lost.

    Raises:
        RecipeError: No share can be that.
    """
    check_share(enough, "reward.variety.enough")

    def judge(cases: Sequence[Case]) -> list[float]:
        pairs = [list(pairwise(plain_words(case.answer))) for case in cases]
        counts = Counter(pair for each in pairs for pair in each)
        shares = [sum(counts[pair] == 1 for pair in each) / max(1, len(each)) for each in pairs]
        return [min(1.0, share / enough) for share in shares]

    return judge


def python(function: str) -> Judge:
    """A person's own function of (prompt, answer, row), from a file.

    Args:
        function: "file.py:name"; in a recipe "module:name" is looked for beside the recipe.
    """
    chosen = load_function(function)
    return each(lambda case: chosen(case.prompt, case.answer, dict(case.row)))


def model(path: str) -> Judge:
    """A reward model of the same tokenizer, from its folder or its run's."""
    from makar.align.reward_model import judge_of

    return judge_of(path)


RULES: Mapping[str, Callable[..., Judge]] = {
    "rhyme": rhyme,
    "meter": meter,
    "length": length,
    "format": form,
    "regex": regex,
    "exact": exact,
    "stop": stop,
    "topic": topic,
    "variety": variety,
    "python": python,
    "model": model,
}
"""All rules by name; a recipe gives their arguments. Each says how good an answer is, mostly from 0 to 1."""


def make_rewards(table: Mapping[str, float | Mapping[str, Any]]) -> list[Reward]:
    """The rewards that a recipe names.

    Args:
        table: For each rule its weight, or a table with "weight" and the rule's options.

    Raises:
        RecipeError: No rule of that name, an option it does not know or lacks, or no reward at all.
    """
    if not table:
        raise RecipeError("no reward", where="reward", fix=f"name one or more of: {', '.join(RULES)}")
    return [make_reward(name, options) for name, options in table.items()]


def make_reward(name: str, given: float | Mapping[str, Any]) -> Reward:
    """One reward of a recipe; see `make_rewards`."""
    options, weight = options_of(name, given, RULES)
    return Reward(name, RULES[name](**options), weight, str(options.get("function", name)))


def options_of(
    name: str, given: float | Mapping[str, Any], rules: Mapping[str, Callable[..., Any]], ours: Sequence[str] = ()
) -> tuple[dict[str, Any], float]:
    """The options of a rule and its weight, as a recipe says them.

    Args:
        name: Of the rule.
        given: The weight, or a table with "weight" and the rule's options.
        rules: All that there are.
        ours: Arguments of rules that a recipe does not give.

    Raises:
        RecipeError: No rule of that name, a weight that is none, or an option that it does not know or lacks.
    """
    where = f"reward.{name}"
    options = dict(given) if isinstance(given, Mapping) else {"weight": given}
    weight = options.pop("weight", 1.0)
    if name not in rules:
        raise RecipeError("no such reward", where="reward", value=name, fix=nearest(name, list(rules)))
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
        raise RecipeError("the weight is not a number", where=where, value=weight, fix="write it as 1.0")
    parameters = inspect.signature(rules[name]).parameters
    known = {option: parameter for option, parameter in parameters.items() if option not in ours}
    fitting({option: parameter.annotation for option, parameter in known.items()}, options, where, ["weight"])
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option not in options:
            raise RecipeError(f"option {option!r} is missing", where=where, fix=f"add {option!r}")
    return options, float(weight)


def earn(rewards: Sequence[Reward], cases: Sequence[Case], first: int = 0) -> dict[str, list[float]]:
    """What each answer earns from each reward, before weights.

    Args:
        rewards: From `make_rewards`.
        cases: The answers.
        first: The number of the first row, for errors.

    Raises:
        UserError: A reward raised or gave what is no finite number; names it and the row.
    """
    found: dict[str, list[float]] = {}
    for reward in rewards:
        try:
            found[reward.name] = values_of(reward, cases)
        except UserError:  # look again, one by one, to name the row
            for row, case in enumerate(cases, first):
                try:
                    values_of(reward, [case])
                except UserError as fault:
                    where = f"reward {reward.where or reward.name}, row {row}"
                    raise InputError(fault.what, where=where, value=fault.value, fix=fault.fix) from None
            raise
    return found


def values_of(reward: Reward, cases: Sequence[Case]) -> list[float]:
    """A reward's numbers, checked."""
    try:
        values = [float(value) for value in reward.judge(cases)]
    except UserError:
        raise
    except Exception as fault:
        what = f"the reward raised {type(fault).__name__}: {fault}"
        raise InputError(what, value=cases[0].answer, fix="mend the function") from fault
    for case, value in zip(cases, values, strict=True):
        if not math.isfinite(value):
            what = f"the reward gave {value}"
            raise InputError(what, value=case.answer, fix="return a finite number for every answer")
    return values


def regular(pattern: str) -> re.Pattern[str]:
    """A regular expression of a recipe.

    Raises:
        RecipeError: It is none.
    """
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error as fault:
        fix = "mend it there: a backslash makes ( [ . and their kin plain, and '...' in TOML keeps it as it is"
        raise RecipeError(f"not a regular expression: {fault}", where="reward", value=pattern, fix=fix) from None
