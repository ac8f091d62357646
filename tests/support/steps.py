"""Chains of steps, made from the lists that a YAML file holds."""

from __future__ import annotations

from pydantic import TypeAdapter

from softseg.augment import AugmentStep
from softseg.core.component import parse_component
from softseg.metrics.postprocess import PostprocessStep
from softseg.preprocess.steps import Chain

POSTPROCESS = TypeAdapter(tuple[PostprocessStep, ...])
AUGMENT = TypeAdapter(tuple[AugmentStep, ...])
PREPROCESS = TypeAdapter(Chain)


def augment_steps(spec):
    return parse_component(AUGMENT, spec)


def postprocess_steps(spec):
    return parse_component(POSTPROCESS, spec)


def preprocess_steps(spec):
    return parse_component(PREPROCESS, spec)
