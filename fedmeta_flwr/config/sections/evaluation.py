"""The settings of evaluation."""

from dataclasses import dataclass

from fedmeta_flwr.config.setting import setting


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What is measured, and in which rounds."""

    evaluate_every: int = setting(
        "Rounds between evaluations after pre-training; 0: no evaluation, in pre-training either.", minimum=0
    )
    pretrain_evaluate_every: int = setting("Rounds between evaluations in pre-training; 0: never.", minimum=0)
    evaluate_episodes: int = setting("Evaluation episodes per benign client and kind.", minimum=1)
    evaluate_query_shot: int = setting("Clean query images per class in evaluation.", minimum=1)
    evaluate_inner_steps: int = setting("Fine-tuning steps in an evaluation episode.", minimum=0)

    step_curves: str = setting(
        "Curves along local steps, measured right before and right after the attack: any of fine-tuning (of an "
        "episode), matching (local training of the defense), head (as much local training with the fully-connected "
        "head), and the curve of a custom defense; separated by spaces, empty: none.",
    )
    fine_tuning_curve_steps: str = setting("Points of the fine-tuning curve, ascending steps.", whole_numbers=True)
    fine_tuning_curve_episodes: int = setting(
        "Episodes of the fine-tuning curve per benign client and kind, at most evaluate-episodes.", minimum=1
    )
    local_curve_steps: str = setting("Points of the other curves, ascending steps.", whole_numbers=True)
