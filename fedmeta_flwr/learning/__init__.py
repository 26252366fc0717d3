"""Networks, how they learn from episodes, and how they are evaluated."""

from fedmeta_flwr.learning.batched import obstacle
from fedmeta_flwr.learning.batches import Batch, query_of, support_of, to_batch
from fedmeta_flwr.learning.conv_block import ConvBlock, set_precision
from fedmeta_flwr.learning.device import choose_device, fast_layout, multiplies_bfloat16, pin_threads
from fedmeta_flwr.learning.evaluation import (
    Adapt,
    EvaluationPlan,
    Prediction,
    ask,
    by_fine_tuning,
    by_matching,
    evaluate,
)
from fedmeta_flwr.learning.fine_tuning import InnerLoop
from fedmeta_flwr.learning.fresh_head import by_fresh_head
from fedmeta_flwr.learning.fused import is_compiled, plain
from fedmeta_flwr.learning.local_training import Learn, LocalTraining
from fedmeta_flwr.learning.matching_network import Attention, MatchingNetwork, make_attention, matching_loop
from fedmeta_flwr.learning.meta_learning import meta_gradient, outer_loop
from fedmeta_flwr.learning.models import (
    Classifier,
    Embedding,
    build_classifier,
    get_arrays,
    set_arrays,
)
from fedmeta_flwr.learning.network_trials import trial_rows, try_attention, try_embedding
from fedmeta_flwr.learning.norm import EpisodeNorm
from fedmeta_flwr.learning.proximal import ProximalTerm
from fedmeta_flwr.learning.seeding import torch_draws, torch_generator

__all__ = [
    "Adapt",
    "Attention",
    "Batch",
    "Classifier",
    "ConvBlock",
    "Embedding",
    "EpisodeNorm",
    "EvaluationPlan",
    "InnerLoop",
    "Learn",
    "LocalTraining",
    "MatchingNetwork",
    "Prediction",
    "ProximalTerm",
    "ask",
    "build_classifier",
    "by_fine_tuning",
    "by_fresh_head",
    "by_matching",
    "choose_device",
    "evaluate",
    "fast_layout",
    "get_arrays",
    "is_compiled",
    "make_attention",
    "matching_loop",
    "meta_gradient",
    "multiplies_bfloat16",
    "obstacle",
    "outer_loop",
    "pin_threads",
    "plain",
    "query_of",
    "set_arrays",
    "set_precision",
    "support_of",
    "to_batch",
    "torch_draws",
    "torch_generator",
    "trial_rows",
    "try_attention",
    "try_embedding",
]
