"""The poster's claims P1 to P8, as statements with thresholds.

Inputs are points (`EpisodeCounts` of one backdoor curve unless the name says otherwise) and curves (round to
`EpisodeCounts`). Backdoor claims are judged for each attack test set, case and data set: call `Claim.judge` once for
each. ``<name>_clean`` is the clean baseline of ``<name>``: the same measurement on the clean model (the round before
the attack, or a control run), with the same head and number of steps.

The poster gives no thresholds. All are our choice, made before looking at result files; only a trial in plain PyTorch
on Omniglot was known.
"""

from experiments.analysis.claims.statements import Claim, Contrast, Persistence, Statement

GONE_FRACTION = 0.05
"""Our choice: an excess over the clean baseline of 5 points, one stamped query in twenty, is no useful backdoor."""

STEALTH_FRACTION = 0.03
"""Our choice: a user does not notice 3 queries in a hundred."""

KEPT_FRACTION = 0.8
"""Our choice: fine-tuning that leaves four fifths of the excess does not dampen it; a share suits any data set."""

PERSISTENT_ROUNDS = 10
"""Our choice: "tens of rounds" begin at ten."""


def _excess(*names: str, weights: tuple[float, ...] = (1.0,)) -> Contrast:
    """Return a weighted sum of excesses over the clean baseline of each name."""
    signed = dict(zip(names, weights, strict=True))
    return Contrast(signed | {f"{name}_clean": -weight for name, weight in signed.items()})


def _attack_works(name: str) -> Statement:
    text = "excess backdoor accuracy before anything is done about it"
    reason = "without a backdoor the claim says nothing; 5 points as for a backdoor that is gone"
    return Statement(text, _excess(name), "above", GONE_FRACTION, reason, premise=True)


_SIGN = "the claim is only about the sign"
_P1 = (
    _attack_works("attacked"),
    Statement(
        "half-life of the excess, in benign rounds",
        Persistence("attacked_clean", "after"),
        "above",
        PERSISTENT_ROUNDS,
        "tens of rounds begin at ten",
    ),
    Statement(
        "excess backdoor accuracy after the last benign round",
        Contrast({"last": 1.0, "attacked_clean": -1.0}),
        "above",
        GONE_FRACTION,
        "5 points or less count as gone; the number of rounds belongs beside it",
    ),
)
_P2 = (
    Statement(
        "backdoor accuracy, attack training minus attack validation",
        Contrast({"training": 1.0, "validation": -1.0}),
        "above",
        0.0,
        _SIGN,
    ),
    Statement(
        "the same of the excesses",
        _excess("training", "validation", weights=(1.0, -1.0)),
        "above",
        0.0,
        "the two image sets may differ on the clean model already; " + _SIGN,
    ),
)
_P3 = tuple(
    Statement(
        f"excess backdoor accuracy, case (c) minus case ({case})",
        _excess("case_c", f"case_{case}", weights=(1.0, -1.0)),
        "below",
        0.0,
        _SIGN,
    )
    for case in "ab"
)
_P4 = (
    _attack_works("ordinary"),
    Statement(
        f"excess after all fine-tuning steps minus {KEPT_FRACTION} of that after the ordinary ones",
        _excess("tuned", "ordinary", weights=(1.0, -KEPT_FRACTION)),
        "above",
        0.0,
        "four fifths of the excess are left: not dampened",
    ),
)
_P5 = (
    _attack_works("ordinary"),
    Statement(
        "excess backdoor accuracy after all fine-tuning steps",
        _excess("tuned"),
        "above",
        GONE_FRACTION,
        "removed effectively means 5 points or less",
    ),
)
_P6 = (
    _attack_works("undefended"),
    Statement(
        "excess backdoor accuracy under the defense, after at most 50 local steps",
        _excess("defended"),
        "below",
        GONE_FRACTION,
        "removed means within 5 points of the clean baseline, or below it; few means 50 at most",
    ),
)
_P7 = (
    Statement(
        "accuracy of clean queries, defended minus undefended",
        Contrast({"defended": 1.0, "undefended": -1.0}),
        "below",
        0.0,
        _SIGN + "; how much it costs is the estimate",
    ),
)
_P8 = (
    _attack_works("attacked"),
    *(
        Statement(
            f"{words} accuracy, attacked minus clean",
            _excess(name),
            "within",
            STEALTH_FRACTION,
            "hardly changed means by 3 points at most",
        )
        for name, words in (("meta_testing", "meta-testing"), ("main_task", "main-task"))
    ),
)
CLAIMS = {
    claim.id: claim
    for claim in (
        Claim("P1", "after a one-shot attack the backdoor persists for tens of benign rounds or more", _P1),
        Claim("P2", "backdoor accuracy is higher on attack training than on attack validation", _P2),
        Claim("P3", "in case (c) the attack is less successful than in (a) and (b)", _P3),
        Claim("P4", "in (a) and (b) fine-tuning does not dampen the backdoor, even after 500 steps", _P4),
        Claim("P5", "in (c) fine-tuning does not remove the backdoor effectively", _P5),
        Claim("P6", "the defense removes the backdoor effectively and in few local steps", _P6),
        Claim("P7", "the defense costs accuracy", _P7),
        Claim("P8", "the attack is stealthy: meta-testing and main-task accuracy hardly change", _P8),
    )
}
"""The poster's claims by id; `Claim.needs` names the inputs of each."""
