"""What of a recording has to be done in each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nnx._typing import Array
from nnx.capture.instruction import Instruction
from nnx.capture.writer import refs


def kept(
    instructions: Sequence[Instruction], constants: Mapping[int, Array], guesses: Mapping[int, Array], used: set[int]
) -> tuple[list[Instruction], dict[int, Array]]:
    """The instructions that are needed, and the constants that need not be made again.

    What is made of constants alone may be made once for all steps if nobody can change it: it is a scalar, which
    has no items to assign to, or neither it nor a view of it leaves the step or is changed in it.

    Args:
        instructions, constants, guesses: those of the recorder.
        used: the slots that the step answers or keeps.
    """
    exposed = _exposed(instructions, used)
    same = dict(constants)
    made: set[int] = {slot for slot in constants if slot not in guesses}  # arrays that others may change
    for instruction in instructions:
        arguments = set(refs((instruction.args[1:] if instruction.like else instruction.args, instruction.options)))
        results = set(refs(instruction.result))
        constant = instruction.pure and arguments <= same.keys() - made and results <= guesses.keys()
        if constant and all(slot not in exposed or not hasattr(guesses[slot], "__setitem__") for slot in results):
            same |= {slot: guesses[slot] for slot in results}
    needed, found = set(used), []
    for instruction in reversed(instructions):
        results = set(refs(instruction.result))
        if instruction.pure and (not results & needed or results <= same.keys()):
            continue
        needed.update(refs((instruction.args, instruction.options)))
        found.append(instruction)
    found.reverse()
    return found, same


def _exposed(instructions: Sequence[Instruction], used: set[int]) -> set[int]:
    """The slots whose memory somebody may change: those that leave the step or are changed in it, and their views."""
    joined = []
    for instruction in instructions:
        arguments = set(refs((instruction.args, instruction.options)))
        joined.append((instruction, arguments, arguments | set(refs(instruction.result))))
    exposed = set(used)
    while True:
        before = len(exposed)
        for instruction, arguments, all_of_it in (*joined, *reversed(joined)):
            if instruction.changes:
                exposed |= arguments
            if not instruction.fresh and not exposed.isdisjoint(all_of_it):
                exposed |= all_of_it
        if len(exposed) == before:
            return exposed
