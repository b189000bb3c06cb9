"""The shapes of the two models, in the fields of the reference's moshi/models/loaders.py."""

SAMPLE_RATE = 24000
FRAME = 1920  # samples per 12.5 Hz frame
FRAME_RATE = 12.5
CARD = 256
DIM = 128

MIMI_CONFIG = {
    "sample_rate": SAMPLE_RATE,
    "channels": 1,
    "frame_rate": FRAME_RATE,
    "seanet": {
        "channels": 1,
        "dimension": DIM,
        "causal": True,
        "n_filters": 16,
        "n_residual_layers": 1,
        "activation": "ELU",
        "compress": 2,
        "dilation_base": 2,
        "disable_norm_outer_blocks": 0,
        "kernel_size": 7,
        "residual_kernel_size": 3,
        "last_kernel_size": 3,
        "norm": "none",
        "pad_mode": "constant",
        "ratios": [8, 6, 5, 4],
        "true_skip": True,
    },
    "transformer": {
        "d_model": DIM,
        "num_heads": 4,
        "num_layers": 2,
        "causal": True,
        "layer_scale": 0.01,
        "context": 32,
        "conv_layout": True,
        "max_period": 10000,
        "gating": "none",
        "norm": "layer_norm",
        "positional_embedding": "rope",
        "dim_feedforward": 2 * DIM,
        "input_dimension": DIM,
        "output_dimensions": [DIM],
    },
    "quantizer": {
        "dimension": 64,
        "n_q": 8,
        "bins": CARD,
        "input_dimension": DIM,
        "output_dimension": DIM,
    },
}

TEXT_CARD = 512
LM_CONFIG = {
    "dim": 128,
    "text_card": TEXT_CARD,
    "existing_text_padding_id": 3,
    "n_q": 16,
    "dep_q": 8,
    "card": CARD,
    "num_heads": 4,
    "num_layers": 4,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "context": 64,
    "max_period": 10000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 64,
    "depformer_dim_feedforward": 128,
    "depformer_num_heads": 4,
    "depformer_num_layers": 2,
    "depformer_layer_scale": None,
    "depformer_multi_linear": True,
    "depformer_context": 8,
    "depformer_max_period": 10000,
    "depformer_gating": "silu",
    "depformer_pos_emb": "none",
    "depformer_weights_per_step": True,
    "delays": [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1],
}
