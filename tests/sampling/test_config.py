"""A setting of the sampler is said once; calls, command line, protocols and galleries read it from there."""

import dataclasses
import json

import pytest
import torch

from disperse.arguments import KNOBS, given_knobs, parser
from disperse.errors import ConfigError
from disperse.evaluation import Protocol
from disperse.models import DiffusionTransformer
from disperse.sampling import SamplerConfig, sample, trajectory
from disperse.widgets import GallerySettings

# Of every knob: another value than the default, and what is typed for it.
OTHERS = {
    "solver": ("sde-heun", ["--solver", "sde-heun"]), "num_steps": (7, ["--steps", "7"]),
    "guidance": (2.0, ["--guidance", "2"]), "guided_channels": (1, ["--guided-channels", "1"]),
    "precision": ("bf16", ["--precision", "bf16"]), "compile": (True, ["--compile"]),
    "guidance_interval": ((0.1, 0.9), ["--guidance-interval", "0.1,0.9"]),
    "diffusion": ("linear", ["--diffusion", "linear"]), "diffusion_norm": (0.5, ["--diffusion-norm", "0.5"]),
    "last_step": ("euler", ["--last-step", "euler"]), "last_step_size": (0.1, ["--last-step-size", "0.1"]),
    "eta": (0.5, ["--eta", "0.5"]),
}  # fmt: skip
COMMANDS = {"sample": ["run", "--num", "1", "--out", "x"], "evaluate": ["run"]}
GALLERY = {"runs": ("a",), "step": 1, "weights": "raw"}


def test_every_knob_is_here_and_is_explained() -> None:
    assert set(OTHERS) == set(KNOBS) == {each.name for each in dataclasses.fields(SamplerConfig)}
    for name, knob in KNOBS.items():
        assert f"{name}: {knob.about}" in " ".join((SamplerConfig.__doc__ or "").split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_knob_is_an_option_and_none_is_given_unasked(command: str) -> None:
    arguments = [command, *COMMANDS[command]]
    assert given_knobs(parser().parse_args(arguments)) == {}
    typed = [word for _, words in OTHERS.values() for word in words]
    found = given_knobs(parser().parse_args([*arguments, *typed]))
    assert SamplerConfig(**found) == SamplerConfig(**{name: value for name, (value, _) in OTHERS.items()})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--guidance-interval", "0.1"], "argument --guidance-interval: '0.1': expected LOW,HIGH"),
        (["--guidance-interval", "a,b"], "'a,b': expected LOW,HIGH"),
        (["--steps", "many"], "argument --steps: 'many': expected int"),
        (["--eta", "x"], "argument --eta: 'x': expected float"),
    ],
)
def test_text_that_is_no_value(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(["sample", *COMMANDS["sample"], *words])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_numbers_have_one_form() -> None:
    whole = SamplerConfig(guidance=2, eta=1, guidance_interval=[0, 1])  # type: ignore[arg-type]
    assert whole == SamplerConfig(guidance=2.0, eta=1.0)
    assert json.dumps(dataclasses.asdict(whole)["guidance"]) == "2.0"
    assert whole.guidance_interval == (0.0, 1.0)


@pytest.mark.parametrize(
    "interval", [(0.5,), (0.1, 0.2, 0.3), 0.5, ("a", "b"), "01", (0.7, 0.3), (float("nan"), 1)]
)
def test_an_interval_that_is_none(interval: object) -> None:
    with pytest.raises(ConfigError, match=r"^sampler.guidance_interval = .*expected 0 ≤ low ≤ high ≤ 1"):
        SamplerConfig(guidance_interval=interval)  # type: ignore[arg-type]


def test_a_knob_that_is_none_is_named_with_the_nearest(small: DiffusionTransformer) -> None:
    for call in (sample, trajectory):
        with pytest.raises(ConfigError, match=r"guidence.*did you mean \"guidance\""):
            call(small, [0], guidence=2.0)  # type: ignore[operator]
    with pytest.raises(ConfigError, match=r"solvr.*did you mean \"solver\""):
        Protocol(solvr="heun")


def test_a_whole_sampler_or_knobs_or_knobs_over_a_sampler(small: DiffusionTransformer) -> None:
    config = SamplerConfig("euler", 3, guidance=2.0)
    knobs = {"solver": "euler", "num_steps": 3, "guidance": 2.0}
    expected = sample(small, [5, 2], 4, **knobs)
    assert torch.equal(sample(small, [5, 2], 4, config), expected)
    assert torch.equal(
        sample(small, [5, 2], 4, SamplerConfig("euler", 9), num_steps=3, guidance=2.0), expected
    )
    assert torch.equal(trajectory(small, [5, 2], 4, config).states[-1], expected)
    with pytest.raises(ConfigError, match="a sit model is sampled by heun"):
        sample(small, [0], 4, SamplerConfig("ddim", 50))
    with pytest.raises(ConfigError, match=r"config: expected a SamplerConfig, got str"):
        sample(small, [0], 4, "heun")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", OTHERS)
def test_a_knob_in_a_protocol_and_in_a_gallery(name: str) -> None:
    value = OTHERS[name][0]
    for plain, changed in (
        (Protocol(), Protocol(**{name: value})),
        (GallerySettings(**GALLERY), GallerySettings(**GALLERY, **{name: value})),
    ):
        assert getattr(changed.sampler, name) == getattr(changed, name) == value
        assert changed == plain.replace(**{name: value}) == plain.model_copy(update={name: value})
        written = changed.model_dump(mode="json")
        assert written != plain.model_dump(mode="json")
        assert set(written) - set(plain.model_dump(mode="json")) <= {name}  # no other one
        assert type(plain).parse(json.loads(json.dumps(written))) == changed
        with pytest.raises(ConfigError, match=f"sampler.{name} = "):
            type(plain).parse({**plain.model_dump(mode="json"), name: []})


def test_published_hashes_stay() -> None:
    assert Protocol().hash == "6e717cd8"
    other = Protocol(
        solver="ddim", num_steps=50, precision="bf16", spaces=("pixels",), sample_seeds="own", against_training=True
    )  # fmt: skip
    assert other.hash == "7a42ac08"
    assert Protocol(guidance=2).hash == Protocol(guidance=2.0).hash
    assert Protocol(sampler=SamplerConfig("euler", 3)).hash == Protocol(solver="euler", num_steps=3).hash
