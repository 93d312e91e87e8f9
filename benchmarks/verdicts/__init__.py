"""Simulated sessions: each decision rule's rate of false alarms, and of effects it catches.

    python -m benchmarks.verdicts --setting quiet --nights 1000 --seeds 1 2 3

    python -m benchmarks.verdicts --setting cpu

Every rule judges the same samples: the profile's points, its server launches per side and its
samples per point and launch. At the quiet setting one launch follows the other (ABBA). At the
CPU's, read off A/A sessions of real SGLang (nights_cpu.json), and at the H200's, read off a sample
run, both servers of a pair are up and their blocks alternate. All rules count only "slower".

`settings`: the noise that is simulated. `simulate`: samples drawn from it. `peers`: other tools'
rules, as their projects document them. `suite`: this project's. `table`: who alarmed how often.

Effects: `floor` everywhere; `m` and `L` in proportion to m and L, named by their size at the
largest; `point` at one point, a different one each session.
"""
