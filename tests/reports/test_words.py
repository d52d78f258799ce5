"""What is beside the examples in the docstrings of unet2015.reports.words."""

from unet2015.reports.words import plan_in_words, preset_in_words


def test_quick_has_its_number_of_steps_and_needs_no_words_for_it():
    assert preset_in_words({"preset": "quick", "config": {}}, "no_elastic") == "`quick no_elastic`"


def test_a_plan_of_shares():
    plan = {"minutes": 9.0, "share": 0.251, "trainings": 2, "seconds_beside": 200.0}
    words = "planned for 9 minutes: 25.1% of the steps of each of 2 training(s), 3 min for the rest"
    assert plan_in_words(plan) == words
