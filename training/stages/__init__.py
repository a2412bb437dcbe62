"""The stages of training, each a module with `train(config)`. No stage imports another.

They meet in the run's folder: each writes a checkpoint there, which the next one begins from.
"""

REPRESENTATION_CHECKPOINT = "representation.safetensors"
DYNAMICS_CHECKPOINT = "dynamics.safetensors"
DECODER_CHECKPOINT = "decoder.safetensors"
AUTOENCODER_CHECKPOINT = "autoencoder.safetensors"
STATES = "states-train.safetensors"  # of all frames of the split train, encoded once
WEIGHTS = "weights"  # folder of what is packed at last
