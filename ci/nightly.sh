#!/usr/bin/env bash
# The nightly job of any CI system: make the server environments, measure, tell the outcome.
#
#   ci/nightly.sh [further pytest options]
#
# Environment, all optional:
#   NIGHTLY_CANDIDATE        latest (default: the newest release of SGLang), nightly (the newest
#                            build on SGLANG_NIGHTLY_INDEX_URL), or a version
#   SGLANG_NIGHTLY_INDEX_URL package index of SGLang's nightly wheels; `nightly` needs it
#   NIGHTLY_BASELINE         auto (default), none, a version or a file: see --baseline. A version's
#                            environment is made as well, so that a suspicion can be confirmed
#   NIGHTLY_AGAINST          a version measured side by side: twice the time, and it confirms
#   NIGHTLY_BUDGET_MINUTES   when the run stops adding launches: see --budget
#   NIGHTLY_LIMIT_MINUTES    when the run is interrupted, as by Ctrl-C (default 180)
#   NIGHTLY_BISECT           no: leave a confirmed regression at that. By default the versions between
#                            are bisected with what is left of the limit
#   NIGHTLY_WORKERS          GPUs to use, one pytest-xdist worker each (default 1)
#   NIGHTLY_REPORT_DIR       default reports
#   NIGHTLY_PYTHON           an interpreter that has this suite and tox (a container image's);
#                            default: an environment is made in .tox/suite
#
# Exit status and outcome: 0 pass, 1 regression, 8 inconclusive, 7 infrastructure, anything else
# usage (a wrong option; nothing was measured). The report's folder gets messages for whoever posts
# them: status.txt, pr-comment.md, slack.json and teams.json. On GitHub the report's summary is added
# to the job's, and `outcome`, `version`, `report` (the run's folder), `status` and `bisect` (one line
# each) are set as outputs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

candidate=${NIGHTLY_CANDIDATE:-latest}
baseline=${NIGHTLY_BASELINE:-auto}
against=${NIGHTLY_AGAINST:-}
limit_minutes=${NIGHTLY_LIMIT_MINUTES:-180}
workers=${NIGHTLY_WORKERS:-1}
reports=${NIGHTLY_REPORT_DIR:-reports}
python=${NIGHTLY_PYTHON:-}
bisect=${NIGHTLY_BISECT:-yes}
version=
disposable=
bisected=

say() { printf 'nightly: %s\n' "$*" >&2; }

tell() { # KEY VALUE: an output of the job's step
  if [[ -n ${GITHUB_OUTPUT:-} ]]; then printf '%s=%s\n' "$1" "$2" >>"$GITHUB_OUTPUT"; fi
}

newest_report() { # the run folder that `latest` points at, empty if none
  if [[ -e $reports/latest ]]; then (cd "$reports/latest" && pwd -P); fi
}

write_messages() { # REPORT: they can be made of what is recorded; that one cannot changes nothing
  "$python" -m append_prefill.cli.main report "$1" --format github-summary --format status \
    --format pr-comment --format slack --format teams >/dev/null ||
    say "the messages could not be written"
}

finish() { # STATUS MESSAGE
  local status=$1 message=$2 outcome level=error report line= summary
  case $status in
    0) outcome=pass level=notice ;;
    1) outcome=regression ;;
    8) outcome=inconclusive level=warning ;;
    7) outcome=infrastructure ;;
    2 | 3) outcome=infrastructure ;; # interrupted, or pytest's own error: something was measured
    *) outcome=usage ;;
  esac
  report=$(newest_report)
  # A workspace that is kept from night to night has last night's report: that is not this run's.
  if [[ $report == "${report_before:-}" ]]; then report=; fi
  message="SGLang ${version:-$candidate}: $outcome${message:+ ($message)}"
  tell outcome "$outcome"
  tell version "$version"
  tell report "$report"
  if [[ -n $report ]]; then write_messages "$report"; fi
  if [[ -n $report && -f $report/status.txt ]]; then line=$(<"$report/status.txt"); fi
  tell status "$line"
  tell bisect "$bisected"
  say "$message${report:+; report in $report}${line:+; $line}${bisected:+; bisected: $bisected}"
  if [[ ${GITHUB_ACTIONS:-} == true ]]; then
    message="$message${line:+. $line}${bisected:+ Bisected: $bisected}"
    printf '::%s title=append-prefill::%s\n' "$level" "${message//%/%25}"
  fi
  if [[ -n ${GITHUB_STEP_SUMMARY:-} ]]; then
    summary=$report/github-summary.md
    if [[ ! -f $summary ]]; then summary=$report/summary.md; fi
    if [[ -n $report && -f $summary ]]; then
      cat "$summary" >>"$GITHUB_STEP_SUMMARY"
    else
      printf '## append-prefill\n\n%s. No report was written.\n' "$message" >>"$GITHUB_STEP_SUMMARY"
    fi
    if [[ -n $bisected ]]; then
      printf '\n**Bisected:** %s\n' "$bisected" >>"$GITHUB_STEP_SUMMARY"
    fi
  fi
  # A nightly build is measured once, and its environment takes some 10 GB.
  if [[ -n $disposable ]]; then rm -rf ".tox/$disposable"; fi
  exit "$status"
}

newest() { # [pip options]: the newest version of SGLang, without a local part (+cu130)
  local answer
  # The first line reads "sglang (0.5.23)".
  answer=$("$python" -m pip index versions --disable-pip-version-check "$@" sglang) || return 1
  answer=${answer%%$'\n'*}
  [[ $answer =~ ^sglang\ \(([^\)+]+)[^\)]*\)$ ]] || return 1
  printf '%s\n' "${BASH_REMATCH[1]}"
}

report_before=$(newest_report)

if [[ -z $python ]]; then
  python=.tox/suite/bin/python
  if ! [[ -x $python ]] && ! python3 -m venv .tox/suite ||
    ! "$python" -m pip install --quiet --disable-pip-version-check --editable . 'tox>=4.23'; then
    finish 7 "the suite's own environment could not be made"
  fi
fi

index=()
case $candidate in
  latest)
    version=$(newest) || finish 7 "the package index did not name a newest release"
    ;;
  nightly)
    if [[ -z ${SGLANG_NIGHTLY_INDEX_URL:-} ]]; then
      finish 4 "the candidate 'nightly' needs SGLANG_NIGHTLY_INDEX_URL"
    fi
    version=$(newest --pre --index-url "$SGLANG_NIGHTLY_INDEX_URL") ||
      finish 7 "the nightly index did not name a newest build"
    # Its dependencies come from the usual index.
    index=(env "PIP_EXTRA_INDEX_URL=$SGLANG_NIGHTLY_INDEX_URL")
    disposable="sglang-$version"
    ;;
  *) version=$candidate ;;
esac

say "candidate $version, baseline $baseline${against:+, side by side with $against}"
"${index[@]}" "$python" -m tox -e "sglang-$version" ||
  finish 7 "the environment sglang-$version could not be made"
if [[ -n $against ]]; then
  "$python" -m tox -e "sglang-$against" ||
    finish 7 "the environment sglang-$against could not be made"
fi

if [[ $baseline == [0-9]* && $baseline != */* && $baseline != *.json ]]; then
  "$python" -m tox -e "sglang-$baseline" ||
    say "the environment sglang-$baseline could not be made: what it suspects stays unconfirmed"
fi

options=(-m append_prefill --sglang "$version" --baseline "$baseline" "--report-dir=$reports")
options+=(--strict-verdicts)
if [[ -n $against ]]; then options+=(--against "$against"); fi
if [[ -n ${NIGHTLY_BUDGET_MINUTES:-} ]]; then options+=(--budget "$NIGHTLY_BUDGET_MINUTES"); fi
if ((workers > 1)); then options+=(-n "$workers"); fi
# Such runs are the history's sessions; tries by hand are not.
export APPEND_PREFILL_PURPOSE=nightly

# Interrupted like by Ctrl-C, the suite stops its server and writes what it has; two minutes on, it
# is killed. Job control (set -m) gives the job its own process group and the default SIGINT,
# which a background job of a script does not have otherwise.
set -m
cancelled=
status=0
limited() { # MINUTES COMMAND...: sets status, and cancelled where the script was told to end
  local job minutes=$1
  shift
  timeout --signal=INT --kill-after=120 "${minutes}m" "$@" &
  job=$!
  trap 'cancelled=yes; kill -INT "$job" 2>/dev/null || true' INT TERM
  status=0
  wait "$job" || status=$?
  # A signal ends `wait` early: the job itself is still stopping its server.
  while kill -0 "$job" 2>/dev/null; do
    status=0
    wait "$job" || status=$?
  done
  trap - INT TERM
}

between() { # Bisect what the run found. What comes of it is told, and changes no outcome.
  local left log report command
  report=$(newest_report)
  if [[ -z $report || $report == "$report_before" ]]; then return; fi
  left=$(awk -v limit="$limit_minutes" -v s="$SECONDS" 'BEGIN { printf "%d", limit - s / 60 }')
  if ((left < 5)); then
    say "no time is left to bisect: append-prefill bisect --from $report"
    return
  fi
  command=("$python" -m append_prefill.cli.main bisect --from "$report" --budget "$left")
  command+=("--report-dir=$reports" --workers "$workers")
  if [[ $candidate == nightly ]]; then command+=(--index-url "$SGLANG_NIGHTLY_INDEX_URL"); fi
  log=$report/bisect.log
  say "bisecting, $left minutes; see $log"
  limited "$left" "${command[@]}" >"$log" 2>&1
  # The last line is the verdict, where it came to one.
  bisected=$(sed -n 's/^verdict: //p' "$log" | tail -n 1)
  if [[ -z $bisected ]]; then say "not bisected: $(tail -n 1 "$log")"; fi
}

limited "$limit_minutes" "$python" -m pytest "${options[@]}" "$@"
if [[ $status == 1 && -z $cancelled && $bisect != no ]]; then
  between
  status=1 cancelled=
fi

if [[ -n $cancelled ]]; then finish 7 "cancelled"; fi
case $status in
  0 | 1 | 8) finish "$status" "" ;;
  7) finish 7 "see the end of the log" ;;
  124 | 137) finish 7 "not done after $limit_minutes minutes" ;;
  *) finish "$status" "pytest ended with status $status" ;;
esac
