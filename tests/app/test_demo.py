"""`makar demo`: the whole story in small, interrupted and begun again."""

import re

from makar.app import demo
from makar.recipes.load import load_recipe, shipped
from scripts import docs


def test_the_story(place, call):
    out, err = call("demo")
    parts = [int(number) for number in re.findall(r"^(\d)\. ", out, re.M)]
    assert parts == [1, 2, 3, 4, 5]
    assert re.search(r"^read +40 +\d", out, re.M)
    assert re.search(r"^kept: test +\d", out, re.M)
    assert re.search(r"^ +time +\S.* +\S", out, re.M)
    assert re.search(r"^ +memory +[\d,]+ MB +[\d,]+ MB$", out, re.M)
    assert re.search(r"^ +model +\d\.\d{3}\n +bzip2 -9 +\d\.\d{3}\n +xz -9e +\d\.\d{3}$", out, re.M)
    assert "\nThe moon" in out
    assert "runs/demo" in out
    assert "a sample at step 6" in err

    again, err = call("demo")
    assert "finished at" in err
    poem = re.compile(r"^4\. .*?(?=^5\. )", re.M | re.S)
    assert poem.search(again)[0] == poem.search(out)[0]


def test_quiet_tells_the_story_alone(place, call):
    out, err = call("demo", "--quiet")
    assert "5. All of it is in" in out
    assert not err


def test_the_next_commands_exist():
    for words, _ in demo.NEXT:
        assert list(docs.broken_command("makar " + words.format(name="demo"))) == []


def test_the_recipe_is_a_shipped_one_on_a_part_of_the_real_corpus():
    assert demo.RECIPE in shipped()
    (recipe,) = load_recipe(demo.RECIPE).stages.values()
    assert recipe.data.sources == load_recipe("poems").stages["poems"].data.sources
    assert recipe.data.collect.limit_bytes is not None
    assert recipe.data.collect.test == "last"
