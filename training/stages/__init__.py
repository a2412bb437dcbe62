"""The stages of training, each a module with `train(config)`. No stage imports another.

They meet in the run's folder: each writes a checkpoint there, which the next one begins from.
"""

REPRESENTATION_CHECKPOINT = "representation.safetensors"
DYNAMICS_CHECKPOINT = "dynamics.safetensors"
EYE_CHECKPOINT = "eye.safetensors"
THINGS_CHECKPOINT = "things.safetensors"
TOKENIZER_CHECKPOINT = "tokenizer.safetensors"
VIEWS_CHECKPOINT = "views.safetensors"  # the first part of the decoder, fitted by itself
DECODER_CHECKPOINT = "decoder.safetensors"
STATES = "states-train.safetensors"  # of all frames of the split train, encoded once
CODES = "codes-train.safetensors"  # of all frames of the split train, see the stage tokenizer
WEIGHTS = "weights"  # folder of what is packed at last
