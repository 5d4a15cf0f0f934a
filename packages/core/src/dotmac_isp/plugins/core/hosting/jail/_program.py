"""A list of rules for system calls, as a program of the kernel's packet filter.

seccompy has the numbers of the calls on x86_64 and aarch64 (other architectures are refused), and the assembler. Its own
`Filter` asks number after number: the kernel walks such a program once for every number when it is loaded, about 5 ms for
300 calls. Here the number is searched for by halves, which loads in a tenth of that.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from seccompy import bpf

__all__ = ["ALLOW", "LOW", "Condition", "Rules", "compiled", "refuse"]

#: include/uapi/linux/seccomp.h
ALLOW: Final = 0x7FFF0000
KILL_PROCESS: Final = 0x80000000
ERRNO: Final = 0x00050000
#: struct seccomp_data: number, architecture, and six arguments of 64 bits, low half first on both architectures.
NUMBER_AT: Final = 0
ARCHITECTURE_AT: Final = 4
ARGUMENTS_AT: Final = 16
LOW: Final = 0xFFFFFFFF


class Condition(NamedTuple):
    """The argument with that number (from 0), seen through *mask*, is *value*."""

    argument: int
    mask: int
    value: int


#: By the name of the call: what happens under which conditions (all of them), the first that holds; the last has none.
Rules: TypeAlias = dict[str, list[tuple[int, tuple[Condition, ...]]]]


def refuse(error: int) -> int:
    """The action that makes a call fail with *error*."""
    return ERRNO | error


def compiled(rules: Rules) -> bytes:
    """Compile for this machine. Raises `seccompy.UnsupportedError` on another architecture.

    Calls with another architecture's numbers end the process; numbers that no rule names fail with ENOSYS, those of the
    x32 interface among them.
    """
    from seccompy import audit_arch, bpf  # noqa: PLC0415 - optional, and only for jails

    program = _Program()
    program.add(bpf.Load(ARCHITECTURE_AT))
    program.add(bpf.Jump(bpf.BPF_JEQ, audit_arch(), None, program.outcome(KILL_PROCESS)))
    program.add(bpf.Load(NUMBER_AT))
    program.search(_stretches(_by_number(rules, program)), 0)
    program.finish()
    return bpf.assemble(program.steps, program.labels)


class _Program:
    """Steps and labels of a program in the making."""

    def __init__(self) -> None:
        self.steps: list[bpf.Insn] = []
        self.labels: dict[str, int] = {}
        self._outcomes: set[int] = set()
        self._blocks: dict[str, list[tuple[int, tuple[Condition, ...]]]] = {}

    def add(self, step: bpf.Insn) -> None:
        self.steps.append(step)

    def outcome(self, action: int) -> str:
        """The label that ends the program with *action*."""
        self._outcomes.add(action)
        return f"end {action}"

    def block(self, name: str, choices: list[tuple[int, tuple[Condition, ...]]]) -> str:
        """The label where the conditions of a call are looked at."""
        self._blocks[name] = choices
        return f"call {name}"

    def search(self, stretches: list[tuple[int, str]], depth: int) -> None:
        """Jump to the label of the last stretch that begins at or before the number."""
        from seccompy import bpf  # noqa: PLC0415 - optional, and only for jails

        if len(stretches) == 1:
            self.add(bpf.Ja(stretches[0][1]))
            return
        middle = len(stretches) // 2
        upper = f"from {stretches[middle][0]} at {depth}"
        self.add(bpf.Jump(bpf.BPF_JGEQ, stretches[middle][0], upper, None))
        self.search(stretches[:middle], depth + 1)
        self.labels[upper] = len(self.steps)
        self.search(stretches[middle:], depth + 1)

    def finish(self) -> None:
        from seccompy import bpf  # noqa: PLC0415 - optional, and only for jails

        for name, choices in self._blocks.items():
            self.labels[f"call {name}"] = len(self.steps)
            for position, (action, conditions) in enumerate(choices):
                otherwise = f"call {name} after {position}"
                for condition in conditions:
                    self._test(condition, otherwise)
                self.add(bpf.Ret(action))
                self.labels[otherwise] = len(self.steps)
        for action in sorted(self._outcomes):
            self.labels[f"end {action}"] = len(self.steps)
            self.add(bpf.Ret(action))

    def _test(self, condition: Condition, otherwise: str) -> None:
        """Go on where the condition holds; the filter sees an argument as two halves."""
        from seccompy import bpf  # noqa: PLC0415 - optional, and only for jails

        for half in (0, 1):
            mask = condition.mask >> 32 * half & LOW
            if not mask:
                continue
            self.add(bpf.Load(ARGUMENTS_AT + 8 * condition.argument + 4 * half))
            if mask != LOW:
                self.add(bpf.And(mask))
            self.add(bpf.Jump(bpf.BPF_JEQ, condition.value >> 32 * half & LOW, None, otherwise))


def _by_number(rules: Rules, program: _Program) -> dict[int, str]:
    """The label for each number that has a rule on this architecture."""
    from seccompy import syscall_nr  # noqa: PLC0415 - optional, and only for jails

    found = {}
    for name, choices in rules.items():
        try:
            number = syscall_nr(name)
        except ValueError:
            continue  # this architecture never had it
        simple = len(choices) == 1
        found[number] = program.outcome(choices[0][0]) if simple else program.block(name, choices)
    program.outcome(refuse(errno.ENOSYS))
    return found


def _stretches(labels: dict[int, str]) -> list[tuple[int, str]]:
    """Where the label changes, from number 0 upwards."""
    unknown = f"end {refuse(errno.ENOSYS)}"
    stretches: list[tuple[int, str]] = []
    for number in range(max(labels) + 2):
        label = labels.get(number, unknown)
        if not stretches or stretches[-1][1] != label:
            stretches.append((number, label))
    return stretches
