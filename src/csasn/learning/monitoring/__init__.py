"""How a training is watched."""
