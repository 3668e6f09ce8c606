"""Readable names for runs that were given none, such as quiet-otter-417.

The name follows from the run's id, so a run that is resumed before the server has seen
it is called the same.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

_ADJECTIVES: Final = (
    "able agile amber ample azure bold brave breezy bright brisk calm candid clever cosy "
    "crisp curious daring deft eager early easy fair fancy fast fine fleet fond fresh gentle "
    "glad golden grand happy hardy honest humble ideal jolly keen kind lively loyal lucid "
    "lucky mellow merry mild neat nimble noble patient placid plucky polite proud quick quiet "
    "rapid ready rustic serene sharp shiny silent silver sleek smart snug sober spry steady "
    "sturdy sunny swift tidy tranquil trusty upbeat vivid warm wise witty zesty"
)
_ANIMALS: Final = (
    "badger beaver bison bobcat camel caribou cheetah cobra condor coyote crane cricket deer "
    "dingo dolphin dove eagle egret elk falcon ferret finch fox gazelle gecko gibbon goose "
    "grouse gull hare hawk heron hippo hornet ibex ibis iguana jackal jay kestrel koala lark "
    "lemur leopard lion llama lynx magpie marmot marten mink mole moose newt ocelot orca oryx "
    "osprey otter owl panda parrot pelican penguin pika puffin puma quail rabbit raven robin "
    "salmon seal shrew sloth sparrow squid stoat stork swan tapir tern tiger toad trout turtle "
    "viper vole walrus weasel whale wolf wombat wren yak zebra"
)
ADJECTIVES: Final = tuple(_ADJECTIVES.split())
ANIMALS: Final = tuple(_ANIMALS.split())
NUMBERS: Final = 1000


def name_for(run_id: str) -> str:
    number = crc32(run_id.encode())
    number, last = divmod(number, NUMBERS)
    number, adjective = divmod(number, len(ADJECTIVES))
    return f"{ADJECTIVES[adjective]}-{ANIMALS[number % len(ANIMALS)]}-{last}"
