"""minigen train --set: any setting by its name, what it refuses, and that a run that goes on keeps it."""

import json

import pytest

ON_IMAGES = "--data images.npz --batch-size 16 --epochs 1 --no-compile --out run"


def recorded(folder):
    return json.loads((folder / "run" / "config.json").read_text())["model"]["config"]


def test_numbers_widths_words_and_none_arrive_in_the_config(train, tmp_path):
    asked = ("--set r1=0 --set generator=8,16 --set discriminator=12 --set form=minimax --set lr_discriminator=None "
             "--set batch_norm=False")
    assert train(f"gan {ON_IMAGES} {asked}")[::2] == (0, "")
    came = recorded(tmp_path)
    wanted = {"r1": 0, "generator": [8, 16], "discriminator": [12], "form": "minimax", "lr_discriminator": None,
              "batch_norm": False, "image_shape": [6, 6], "beta1": 0.5}  # fmt: skip
    assert {name: came[name] for name in wanted} == wanted


def test_it_goes_before_the_preset_and_is_kept_when_the_run_goes_on(train, tmp_path):
    assert train(f"gan --preset document --set latent=3 {ON_IMAGES}")[0] == 0
    assert recorded(tmp_path)["latent"] == 3 and recorded(tmp_path)["slope"] == 0.01
    assert train("gan --data images.npz --resume --epochs 2 --out run")[0] == 0
    assert recorded(tmp_path)["latent"] == 3
    code, _, err = train("gan --data images.npz --resume --epochs 3 --out run --set latent=4")
    assert code == 4 and "latent is 3 there, 4 in this call" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("words, message", [
    ("r1", "--set r1: expected a name and a value, as in --set r1=0"),
    ("r1=", "expected a name and a value"),
    ("seed=3", "--set seed=3: this setting has an option of its own, --seed"),
    ("rl=0", "GAN has no setting 'rl': it has "),
    ("epochs=3", "GAN has no setting 'epochs': it has "),
    ("r1=much", "r1 = 'much': expected a finite number"),
    ("r1=1e400", "r1 = inf: expected a finite number"),
    ("generator=", "expected a name and a value"),
    ("generator=0", "--set generator=0: expected positive integers, such as 256,512"),
    ("generator=128,,256", "--set generator=128,,256: expected positive integers, such as 256,512"),
    ("latent=4 --set latent=5", "--set latent=5: latent was given already, as 4; give it once"),
    ("\"latent=__import__('os')\"", "expected an integer"),
    ("image_shape=3,3", "shape (40, 6, 6), expected (N, 3, 3)"),
])
def test_bad_settings_are_one_line(train, words, message):
    code, _, err = train(f"gan {ON_IMAGES} --set {words}")
    assert code in (2, 3) and message in err and len(err.splitlines()) == 1, err
