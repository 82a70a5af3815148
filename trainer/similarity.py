"""Similarity of two texts, by the metrics of OpenAI's graders that need no model.

OpenAI names the metrics and not how it splits texts. Here words and signs are counted, in small letters. `fuzzy_match`
is rapidfuzz' ratio, as OpenAI names that library: WRatio takes minutes for texts of some ten thousand characters.
"""

from collections import Counter

from nltk.tokenize import wordpunct_tokenize
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from nltk.translate.gleu_score import sentence_gleu
from nltk.util import ngrams
from rapidfuzz import fuzz, utils
from rapidfuzz.distance import LCSseq

_SMOOTH = SmoothingFunction().method1


def similarity(metric: str, text: str, reference: str) -> float:
    """Returns 0 to 1. `metric`: one of `METRICS` in trainer.graders."""
    if metric == "fuzzy_match":
        return float(fuzz.ratio(text, reference, processor=utils.default_process)) / 100
    given, wanted = (wordpunct_tokenize(words.lower()) for words in (text, reference))
    if metric == "gleu":
        return float(sentence_gleu([wanted], given))
    if metric == "bleu":
        return float(sentence_bleu([wanted], given, smoothing_function=_SMOOTH, auto_reweigh=True))
    return _rouge(metric.removeprefix("rouge_"), given, wanted)


def _rouge(kind: str, given: list[str], wanted: list[str]) -> float:
    """Returns the F measure of ROUGE-L, or of ROUGE-n. Source: Lin, ROUGE (2004), aclanthology.org/W04-1013."""
    if kind == "l":
        shared, all_of = LCSseq.similarity(given, wanted), len(given) + len(wanted)
    else:
        counts, others = (Counter(ngrams(words, int(kind))) for words in (given, wanted))
        shared, all_of = (counts & others).total(), counts.total() + others.total()
    return 2 * shared / all_of if all_of else 0.0
