"""Similarity of two texts, by the metrics of OpenAI's graders that need no model.

OpenAI names the metrics and not how it splits texts. Here words and signs are counted, in small letters. `fuzzy_match`
is computed as in OpenAI's example of a Python grader: rapidfuzz' WRatio.
"""

from nltk.tokenize import wordpunct_tokenize
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from nltk.translate.gleu_score import sentence_gleu
from rapidfuzz import fuzz, utils
from rouge_score.rouge_scorer import RougeScorer


class _Words:
    def tokenize(self, text: str) -> list[str]:
        return list(wordpunct_tokenize(text.lower()))


_WORDS = _Words()
_SMOOTH = SmoothingFunction().method1


def similarity(metric: str, text: str, reference: str) -> float:
    """Returns 0 to 1. `metric`: one of `METRICS` in trainer.graders."""
    if metric == "fuzzy_match":
        return float(fuzz.WRatio(text, reference, processor=utils.default_process)) / 100
    if metric.startswith("rouge_"):
        name = metric.replace("_l", "L").replace("_", "")
        return float(RougeScorer([name], tokenizer=_WORDS).score(reference, text)[name].fmeasure)
    given, wanted = _WORDS.tokenize(text), [_WORDS.tokenize(reference)]
    if metric == "gleu":
        return float(sentence_gleu(wanted, given))
    return float(sentence_bleu(wanted, given, smoothing_function=_SMOOTH, auto_reweigh=True))
