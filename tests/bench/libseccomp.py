# Has libseccomp compile profiles: JSON on standard input and output, for
# TestLibseccomp and the bench.
#
# In:  [{"default": ACTION, "abis": [NAME...], "rules": [{"name": NAME, "action": ACTION,
#        "args": [[INDEX, OPERATION, VALUE, VALUE]...]}...]}...]
# Out: {"known": {ABI: [NUMBER...]}, "programs": [HEX...]}
# Actions are SECCOMP_RET_* of seccomp(2).
import json
import sys
import tempfile

import seccomp

MOST = 1200  # above the number of every call of these ABIs
UNKNOWN = -1


def known(abi):
    numbers = []
    for number in range(MOST):
        try:
            seccomp.resolve_syscall(abi, number)
        except ValueError:
            continue
        numbers.append(number)
    return numbers


def signed(action):
    return action - (1 << 32) if action >= 1 << 31 else action


def program(profile):
    f = seccomp.SyscallFilter(signed(profile["default"]))
    f.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.KILL_PROCESS)
    for name in profile["abis"]:
        abi = getattr(seccomp.Arch, name)
        if not f.exist_arch(abi):
            f.add_arch(abi)
    for rule in profile["rules"]:
        if seccomp.resolve_syscall(seccomp.Arch(), rule["name"]) == UNKNOWN:
            continue
        args = [seccomp.Arg(i, getattr(seccomp, op), a, b) for i, op, a, b in rule["args"]]
        f.add_rule(signed(rule["action"]), rule["name"], *args)
    with tempfile.TemporaryFile() as out:
        f.export_bpf(out)
        out.seek(0)
        return out.read().hex()


profiles = json.load(sys.stdin)
abis = {name for profile in profiles for name in profile["abis"]}
json.dump({
    "known": {name: known(getattr(seccomp.Arch, name)) for name in abis},
    "programs": [program(profile) for profile in profiles],
}, sys.stdout)
