"""The commands of the simulated fal in prompts."""

from app.providers.simulator.fal.faults import FAULTS, requested_faults, without_faults


def test_a_prompt_requests_faults_in_square_brackets() -> None:
    assert requested_faults("[NSFW] a lighthouse [unknown] [stamp]") == {"nsfw", "stamp"}
    assert without_faults("[NSFW] a lighthouse [unknown] [stamp]") == "a lighthouse [unknown]"


def test_every_fault_is_explained() -> None:
    assert all(sentence.endswith(".") for sentence in FAULTS.values())
