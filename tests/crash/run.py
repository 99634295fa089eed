#!/usr/bin/env python3
"""Interrupts the driver at every step of every scenario.

    run.py [-k PATTERN] [-j N] [--mode MODE,...] [--stride N]

Modes: whole, points (kill at every fault point), power (the same, and what was not synced is lost),
disk (kill at every write and sync of SQLite), out and in (kill at every byte from the first SELECT
on), errors (EIO and ENOSPC at every point and every write, once and for good), twice (killed, and
killed again while it recovers). None named: all but `whole`, which each of them begins with.
"""
import argparse
import fnmatch
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import interrupt  # noqa: E402
import scenarios  # noqa: E402
import world  # noqa: E402

HEAVY = 7  # of a scenario that is long, one step of so many


def mode_points(runner, sizes, stride):
    runner.each("*", "kill", 1, stride)


def mode_power(runner, sizes, stride):
    runner.each("*", "power", 1, stride)


def mode_disk(runner, sizes, stride):
    runner.each("disk.*", "kill", 1, stride)


def mode_out(runner, sizes, stride):
    out, _, out_before, _ = sizes
    runner.each("wire.out", "kill", out_before + 1, stride, out + 1)


def mode_in(runner, sizes, stride):
    _, into, _, in_before = sizes
    runner.each("wire.in", "kill", in_before + 1, stride, into + 1)


def mode_errors(runner, sizes, stride):
    for kind in ("EIO", "ENOSPC", "EIO+", "ENOSPC+"):
        runner.each_broken("*", kind, 1, stride)
        runner.each_broken("disk.*", kind, 1, stride * (1 if kind == "EIO" else 3))


def mode_twice(runner, sizes, stride):
    runner.twice(stride)


MODES = {"whole": None, "points": mode_points, "power": mode_power, "disk": mode_disk,
         "out": mode_out, "in": mode_in, "errors": mode_errors, "twice": mode_twice}


def run(scenario, modes, stride=1):
    """(interruptions, runs) of one scenario in some modes. Raises interrupt.Difference."""
    runner = interrupt.Runner(scenario)
    try:
        sizes = runner.whole()
        for mode in modes:
            if MODES[mode] and not scenario.whole_only:
                MODES[mode](runner, sizes, stride * (HEAVY if scenario.heavy else 1))
        return runner.interruptions, runner.runs
    finally:
        runner.close()


def work(task):
    name, mode, stride = task
    started = time.monotonic()
    try:
        counts, problem = run(scenarios.SCENARIOS[name], [mode], stride), None
    except Exception as error:
        counts, problem = (0, 0), str(error)
    return (name, mode, *counts, time.monotonic() - started, problem)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", dest="pattern", default="")
    parser.add_argument("-j", dest="jobs", type=int)
    parser.add_argument("--mode", default=",".join(mode for mode in MODES if mode != "whole"))
    parser.add_argument("--stride", type=int, default=1)
    options = parser.parse_args()
    modes = options.mode.split(",")
    names = [name for name in scenarios.SCENARIOS if fnmatch.fnmatch(name, f"*{options.pattern}*")]
    tasks = [(name, mode, options.stride) for mode in modes for name in names]
    tasks.sort(key=lambda task: not scenarios.SCENARIOS[task[0]].heavy)  # the long ones first
    # an error of the disk is mostly waited out
    jobs = options.jobs or (os.cpu_count() or 2) * (4 if modes == ["errors"] else 1)
    started, failed, totals = time.monotonic(), [], {mode: [0, 0, 0.0] for mode in modes}
    with world.workers(jobs) as pool:
        for name, mode, count, runs, seconds, problem in pool.imap_unordered(work, tasks):
            for i, value in enumerate((count, runs, seconds)):
                totals[mode][i] += value
            print(f"{'FAIL' if problem else 'ok  '} {mode:6} {name:32} {count:5} interruptions "
                  f"{seconds:6.1f} s", flush=True)
            if problem:
                failed.append((name, mode))
                print("    " + problem.replace("\n", "\n    "), flush=True)
    print(f"\n{len(names)} scenarios")
    for mode, (count, runs, seconds) in totals.items():
        print(f"{mode:8} {count:6} interruptions {runs:6} runs {seconds:8.1f} s of a processor")
    for name, mode in failed:
        print(f"FAILED {mode} {name}")
    print(f"{sum(total[0] for total in totals.values())} interruptions, {len(failed)} failed, "
          f"{time.monotonic() - started:.0f} s")
    return 1 if failed or not tasks else 0


if __name__ == "__main__":
    sys.exit(main())
