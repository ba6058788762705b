#!/usr/bin/env bash
# Runs the tests and sums them up.
#
#   tests/services/run.sh [hermetic|live|idp|chaos|outages|bench|counts|all] [CARGO-TEST-TARGET …]
#
#   hermetic   fmt, clippy and every test that needs Rust alone
#   live       starts a real Apache Kafka, LocalStack's S3 and Ceph's on loopback and runs, one at a time, the tests called
#              live_*, those that say they can use a service (AUTHSEAL_TEST_…), and the targets named behind; what the services
#              need is installed below target/ on first use, Ceph as Debian packages by root, or by sudo with CI set
#   idp        the same with Keycloak as an identity provider and a Kafka that believes its tokens: live_idp
#   chaos      the long form of live_chaos, with an optimised binary: AUTHSEAL_TEST_CHAOS_EVENTS (2000000) records while processes
#              are killed, the broker is restarted and the store cut off; AUTHSEAL_TEST_CHAOS_SEED chooses another course
#   outages    the long form of live_outages, with an optimised binary: a minute of each outage
#   bench      end to end against peers: benches/e2e, to which AUTHSEAL_BENCH gives arguments (--events 1000000 --only authseal)
#   counts     instructions and allocations an event of each stage, beside benches/counts.toml; with BLESS=1 written there; with
#              PROFILE=release of an optimised build instead of the tests'. Valgrind is installed as Ceph is
#   all        hermetic, live and counts (default)
#
# Services get free ports and folders of their own, so that several runs do not disturb each other, and are stopped by their
# process ids on every way out. With CI set, a service that cannot be had is a failure; otherwise it is said and left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=tests/services
CARGO_TARGET_DIR=$("$here/target.sh")
export CARGO_TARGET_DIR

mode=${1:-all}
[[ $# -eq 0 ]] || shift
extra=("$@")
case $mode in
  hermetic | live | idp | chaos | outages | bench | counts | all) ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac

mkdir -p "$CARGO_TARGET_DIR/test-runs"
find "$CARGO_TARGET_DIR/test-runs" -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -rf {} + # logs of a week are enough
run=$(mktemp -d "$CARGO_TARGET_DIR/test-runs/run.XXXXXX")
ci=${CI:-}    # whether a service that is missing is a failure
summary=()   # lines of the table
failed=0     # stages that failed
stage=       # process group of the stage that runs
services=()  # process groups of the services

# --- ways out ---------------------------------------------------------------------------------------------------------

alive() { kill -0 -- "-$1" 2>/dev/null; }

# Stops a process group: politely, then not.
stop() {
  local group=$1 tries=100
  kill -TERM -- "-$group" 2>/dev/null || true
  while alive "$group" && ((tries-- > 0)); do sleep 0.1; done
  kill -KILL -- "-$group" 2>/dev/null || true
  wait "$group" 2>/dev/null || true
}

finish() {
  local status=$?
  trap '' INT TERM HUP # the cleaning is not interrupted
  [[ -z $stage ]] || stop "$stage"
  local group
  for group in "${services[@]}"; do stop "$group"; done
  rm -rf "$run/kafka" "$run/ceph" "$run"/*.pid
  [[ -z ${s3_port:-} ]] || rm -rf "$CARGO_TARGET_DIR/services/localstack/data.$s3_port"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# --- stages -----------------------------------------------------------------------------------------------------------

# Runs a command as a stage: shown, logged, timed, its tests counted. It does not end the run when it fails.
stage() {
  local name=$1 log="$run/$1.log" begun=$SECONDS status=0 follow
  shift
  printf '\n=== %s: %s\n' "$name" "$*"
  : > "$log"
  # a session of its own, so that a signal to this script ends it with everything that it started
  setsid "$@" > "$log" 2>&1 < /dev/null &
  stage=$!
  tail -n +1 -f -s 0.2 --pid="$stage" "$log" &
  follow=$!
  wait "$stage" || status=$?
  wait "$follow" || true
  stage=
  local counts
  counts=$(awk '/^test result:/ { for (i = 1; i < NF; i++) { if ($(i + 1) ~ /^passed/) p += $i; if ($(i + 1) ~ /^failed/) f += $i
      if ($(i + 1) ~ /^ignored/) g += $i } } END { if (NR && p + f + g) printf "%d passed, %d failed, %d ignored", p, f, g }' "$log")
  local verdict=ok
  if ((status)); then verdict=FAILED failed=$((failed + 1)); fi
  summary+=("$(printf '%-8s %-6s %5ds  %s' "$name" "$verdict" $((SECONDS - begun)) "$counts")")
  return 0
}

# A stage that could not run: a failure with CI set, a remark otherwise.
missing() {
  local verdict=missing
  if [[ -n $ci ]]; then verdict=FAILED failed=$((failed + 1)); fi
  summary+=("$(printf '%-8s %-6s %5ds  %s' "$1" "$verdict" 0 "$2")")
  printf '\n=== %s: cannot run: %s\n' "$1" "$2" >&2
}

# --- what must be there -----------------------------------------------------------------------------------------------

need() { command -v "$1" > /dev/null || lacks+=("$2"); }

lacks=()
need cargo "Rust 1.95 or later (cargo, rustfmt, clippy): https://rustup.rs"
need gcc "a C compiler (Debian: gcc)"
need g++ "a C++ compiler (Debian: g++)"
need make "make (Debian: make)"
need perl "perl, which builds OpenSSL (Debian: perl)"
if ((${#lacks[@]})); then
  printf 'cannot build; missing:\n' >&2
  printf '  %s\n' "${lacks[@]}" >&2
  exit 1
fi
need python3 "Python 3 (Debian: python3, python3-venv)"
python3 -c 'import venv, ensurepip' 2> /dev/null || lacks+=("Python's venv (Debian: python3-venv)")
need java "Java 17 or later (Debian: openjdk-17-jre-headless)"
need mvn "Maven (Debian: maven)"
need openssl "openssl, which makes the broker's certificates and time stamps (Debian: openssl)"
need go "Go 1.25 or later, which reads the log and builds the witness: https://go.dev/dl"
need ssh-agent "ssh-agent and ssh-keygen, for the witness's key (Debian: openssh-client)"
need flock "flock (Debian: util-linux)"
java_major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1) || java_major=
if [[ -n $java_major ]] && ((java_major < 17)); then lacks+=("Java 17 or later (this is $java_major)"); fi

# --- hermetic ---------------------------------------------------------------------------------------------------------

hermetic() {
  local targets=() file name
  for file in tests/*.rs tests/*/main.rs; do
    [[ -e $file ]] || continue
    name=${file#tests/}
    name=${name%/main.rs}
    name=${name%.rs}
    [[ $name == live_* ]] || targets+=(--test "$name")
  done
  stage fmt cargo fmt --check
  stage clippy cargo clippy --locked --all-targets -- -D warnings
  # With CI set, tests fail that find no service: those called live_* are left out by name, the few others that can use
  # one do without it here and come again with it.
  # Many tests mostly wait: three binaries at a time, the longest first.
  stage test env -u CI "$here/side_by_side.py" --queue '3:simulation,log_race,mock_kafka,durable_state,log_run,*' \
    -- --locked --lib --bins "${targets[@]}"
  stage doc cargo test --locked --doc
}

# --- live -------------------------------------------------------------------------------------------------------------

# The first of four free ports in a row, below the range that the system gives to clients.
free_ports() {
  python3 - << 'PYTHON'
import contextlib, random, socket
while True:
    port = random.randrange(15000, 30000)
    try:
        with contextlib.ExitStack() as stack:
            for offset in range(4):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port + offset))
    except OSError:
        continue
    print(port)
    break
PYTHON
}

# Starts a service in a session of its own. Its start time goes beside its id, so that `make clean-services` never stops another
# process that got the same id later.
service() {
  local name=$1
  shift
  setsid "$@" > "$run/$name.log" 2>&1 < /dev/null &
  local group=$!
  services+=("$group")
  printf '%s %s\n' "$group" "$(sed 's/.*) //' "/proc/$group/stat" 2> /dev/null | cut -d ' ' -f 20)" > "$run/$name.pid"
}

# Waits until a check succeeds; says no when the service died or five minutes are over (a first use installs it).
ready() {
  local name=$1 group=${services[-1]} tries=600
  shift
  until "$@" > /dev/null 2>&1; do
    if ! alive "$group" || ((tries-- <= 0)); then
      printf '%s did not start; the end of its log:\n' "$name" >&2
      tail -n 20 "$run/$name.log" >&2
      stop "$group"
      unset 'services[-1]'
      return 1
    fi
    sleep 0.5
  done
}

kafka_answers() {
  java -cp "$kafka_jars/*" org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:$kafka_port" --list
}

listens() { (exec 3<> "/dev/tcp/127.0.0.1/$1"); }

http_answers() {
  python3 -c 'import sys, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=5)' "$1"
}

s3_answers() { http_answers "http://127.0.0.1:$s3_port/"; }

# One broker for all tests: plaintext on the port, TLS and SASL two ports on. Another process may take the ports between the
# choice and the start: three attempts.
start_kafka() {
  local attempt
  for attempt in 1 2 3; do
    kafka_port=$(free_ports)
    rm -rf "$run/kafka"
    KAFKA_HOME=${kafka_home:-$run/kafka} service kafka "$here/tls-scram.sh" "$kafka_port"
    # a listening port is cheap to ask for; an answer means that the broker serves
    ready kafka listens "$kafka_port" && ready kafka kafka_answers && return 0
    echo "Kafka: attempt $attempt failed" >&2
  done
  return 1
}

# Runs a start that installs something on its first use; two runs at once must not install over each other.
first_use() {
  local installed=$1
  shift
  if [[ -e $installed ]]; then "$@" && return; fi
  exec 8> "$(dirname "$installed").lock"
  flock 8
  "$@" 8>&-
  local status=$?
  exec 8>&-
  return $status
}

start_s3() {
  local attempt
  for attempt in 1 2 3; do
    s3_port=$(free_ports)
    service s3 "$here/localstack.sh" "$s3_port"
    ready s3 s3_answers && return 0
    echo "S3: attempt $attempt failed" >&2
  done
  return 1
}

# The Python that checks our bytes with code that is not ours.
python_env() {
  local home=$CARGO_TARGET_DIR/services/python wanted
  mkdir -p "$home"
  (
    flock 9
    # what several checks want, once: a marker with another content installs again
    wanted=$(cat tests/*/requirements.txt | sed '/^ *#/d;/^ *$/d' | sort -u)
    if [[ ! -e $home/installed || $(< "$home/installed") != "$wanted" ]]; then
      rm -rf "$home/venv" "$home/installed"
      python3 -m venv "$home/venv" &&
        printf '%s\n' "$wanted" > "$home/wanted.txt" &&
        "$home/venv/bin/pip" install --quiet --disable-pip-version-check -r "$home/wanted.txt" &&
        mv "$home/wanted.txt" "$home/installed"
    fi
  ) 9> "$home/lock" || return 1
  AUTHSEAL_TEST_PYTHON=$home/venv/bin/python
}

# Installs Debian packages if we may: as root, or in CI as somebody who may use sudo without a password. What is still
# missing then, and how to get it, is in package_lacks.
packages() {
  local as=()
  package_lacks="Debian packages: $* (apt-get install --no-install-recommends $*)"
  command -v apt-get > /dev/null || return 1
  if ((EUID != 0)); then
    [[ -n $ci ]] && command -v sudo > /dev/null && sudo -n true 2> /dev/null || return 1
    as=(sudo -n)
  fi
  printf '\n=== installing %s\n' "$*"
  { "${as[@]}" apt-get update && "${as[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "$@"; } > "$run/apt.log" 2>&1 < /dev/null && return
  package_lacks="$package_lacks could not be installed: see $run/apt.log"
  return 1
}

# The Debian packages of Ceph.
ceph_packages() {
  local missing=()
  command -v radosgw > /dev/null && command -v radosgw-admin > /dev/null || missing+=(radosgw)
  command -v ceph-mon > /dev/null || missing+=(ceph-mon)
  command -v ceph-osd > /dev/null || missing+=(ceph-osd)
  ((${#missing[@]})) || return 0
  packages "${missing[@]}" && return
  ceph_lacks=$package_lacks
  return 1
}

# The store that must be refused. What it lacks is in ceph_lacks.
start_ceph() {
  local attempt
  ceph_lacks="Ceph did not start"
  ceph_packages || return 1
  for attempt in 1 2 3; do
    ceph_port=$(free_ports)
    CEPH_HOME=$run/ceph service ceph "$here/ceph.sh" "$ceph_port"
    ready ceph ceph_answers && return 0
    echo "Ceph: attempt $attempt failed" >&2
  done
  ceph_lacks="Ceph did not start: see $run/ceph.log"
  return 1
}

# The gateway answers, and its user is there.
ceph_answers() { http_answers "http://127.0.0.1:$ceph_port/" && [[ -e $run/ceph/ready ]]; }

keycloak_answers() { http_answers "$issuer"; }

start_keycloak() {
  local attempt
  for attempt in 1 2 3; do
    keycloak_port=$(free_ports)
    issuer=http://127.0.0.1:$keycloak_port/realms/authseal
    service keycloak "$here/keycloak.sh" "$keycloak_port"
    ready keycloak keycloak_answers && return 0
    echo "Keycloak: attempt $attempt failed" >&2
  done
  return 1
}

# Says where the services are to the tests, and that a test without its service is a failure, CI or not.
name_services() {
  export AUTHSEAL_TEST_KAFKA=127.0.0.1:$kafka_port AUTHSEAL_TEST_KAFKA_CLI=$kafka_jars AUTHSEAL_TEST_PYTHON
  export AUTHSEAL_TEST_KAFKA_TLS=127.0.0.1:$((kafka_port + 2)) AUTHSEAL_TEST_KAFKA_CA=$run/kafka/ca.pem
  export AUTHSEAL_TEST_S3=http://127.0.0.1:$s3_port
  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
  unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3
  export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost
  export CI=${CI:-true}
}

# What every live stage needs: Kafka, S3, Python. Says no after it has told what is missing.
start_services() {
  local begun=$SECONDS
  if ((${#lacks[@]})); then
    missing "$1" "missing: $(printf '%s; ' "${lacks[@]}")"
    return 1
  fi
  printf '\n=== services: %s; logs in %s\n' "$2" "$run"
  kafka_jars=$PWD/target/services/kafka-jars
  mkdir -p "$kafka_jars" "$CARGO_TARGET_DIR/services"
  if ! python_env || ! first_use "$kafka_jars/complete" start_kafka || ! start_s3; then
    missing "$1" "a service did not start"
    return 1
  fi
  summary+=("$(printf '%-8s %-6s %5ds  %s' services up $((SECONDS - begun)) "Kafka :$kafka_port, S3 :$s3_port")")
  name_services
}

# Which of these targets speak with Kafka, the longest first, with commas between them.
speaks_kafka() {
  local name file found=()
  for name in "$@"; do
    [[ $name != --test ]] || continue
    for file in "tests/$name.rs" "tests/$name/main.rs"; do
      if [[ -e $file ]] && grep -qi kafka "$file"; then found+=("$name"); fi
    done
  done
  (IFS=, && echo "${found[*]}")
}

live() {
  local targets=() name
  start_services live "Apache Kafka, S3 (LocalStack), Ceph, Python" || return 0
  # those that need more than this come in a stage of their own
  for name in tests/live_*.rs; do
    name=${name#tests/} name=${name%.rs}
    case $name in live_ceph | live_idp) ;; *) targets+=(--test "$name") ;; esac
  done
  for name in $(grep -lE 'AUTHSEAL_TEST_(KAFKA|S3|PYTHON)' tests/*.rs tests/*/main.rs) "${extra[@]}"; do
    name=${name#tests/} name=${name%/main.rs}
    [[ ${name%.rs} == live_* ]] || targets+=(--test "${name%.rs}")
  done
  # Those that speak with Kafka one after the other, and beside them those that do not.
  stage live "$here/side_by_side.py" --queue "1:$(speaks_kafka "${targets[@]}")" --queue '1:*' \
    -- --locked "${targets[@]}" -- --test-threads=1
  if start_ceph; then
    export AUTHSEAL_TEST_CEPH=http://127.0.0.1:$ceph_port
    stage ceph cargo test --locked --no-fail-fast --test live_ceph -- --test-threads=1
  else
    missing ceph "$ceph_lacks"
  fi
}

# Kafka asks the provider for its keys when it starts: the provider comes first.
idp() {
  local begun=$SECONDS
  if ((${#lacks[@]})); then
    missing idp "missing: $(printf '%s; ' "${lacks[@]}")"
    return 0
  fi
  mkdir -p "$CARGO_TARGET_DIR/services"
  printf '\n=== services: Keycloak; logs in %s\n' "$run"
  if ! start_keycloak; then
    missing idp "Keycloak did not start"
    return 0
  fi
  summary+=("$(printf '%-8s %-6s %5ds  %s' keycloak up $((SECONDS - begun)) "$issuer")")
  KAFKA_OIDC=$issuer start_services idp "Apache Kafka with OAUTHBEARER, S3 (LocalStack), Python" || return 0
  export AUTHSEAL_TEST_KAFKA_OAUTH=127.0.0.1:$((kafka_port + 3)) AUTHSEAL_TEST_OIDC=$issuer
  export AUTHSEAL_TEST_KEYCLOAK_LOG=$run/keycloak.log
  stage idp cargo test --locked --no-fail-fast --test live_idp -- --test-threads=1
}

chaos() {
  stage build cargo build --locked --release
  ((failed == 0)) || return 0
  start_services chaos "Apache Kafka, S3 (LocalStack), Python" || return 0
  export AUTHSEAL_TEST_BINARY=$CARGO_TARGET_DIR/release/authseal AUTHSEAL_TEST_CHAOS_EVENTS=${AUTHSEAL_TEST_CHAOS_EVENTS:-2000000}
  stage chaos cargo test --locked --test live_chaos -- --nocapture
}

# The topics take minutes to fill: unlike a test's, the broker's data stays, in target/bench.
bench() {
  local arguments
  # the program as it is shipped, and the benchmark, whose dev-dependencies switch on more in common crates
  stage build cargo build --locked --release
  stage build cargo bench --locked --bench e2e --no-run
  ((failed == 0)) || return 0
  export AUTHSEAL_TEST_BINARY=$CARGO_TARGET_DIR/release/authseal
  mkdir -p target/bench
  kafka_home=$PWD/target/bench/kafka
  start_services bench "Apache Kafka, S3 (LocalStack), Python" || return 0
  read -ra arguments <<< "${AUTHSEAL_BENCH:-}"
  stage bench cargo bench --locked --bench e2e -- run --brokers "127.0.0.1:$kafka_port" --s3 "$AUTHSEAL_TEST_S3" "${arguments[@]}"
}

# A regression shows here without a quiet machine. CI counts the build that its tests have made: another one would take it
# minutes, and what grows there grows in an optimised one.
counts() {
  local profile=() arguments=()
  if ! command -v valgrind > /dev/null && ! packages valgrind; then
    missing counts "$package_lacks"
    return 0
  fi
  [[ ${PROFILE:-dev} != release ]] || profile=(--release)
  [[ -z ${BLESS:-} ]] || arguments=(bless)
  # an optimisation level of the environment would count another build than the committed one
  stage counts env -u CARGO_PROFILE_DEV_OPT_LEVEL cargo test --locked "${profile[@]}" --bench counts -- "${arguments[@]}"
}

outages() {
  stage build cargo build --locked --release
  ((failed == 0)) || return 0
  start_services outages "Apache Kafka, S3 (LocalStack), Python" || return 0
  export AUTHSEAL_TEST_BINARY=$CARGO_TARGET_DIR/release/authseal AUTHSEAL_TEST_OUTAGES=long
  stage outages cargo test --locked --test live_outages -- --nocapture
}

# ----------------------------------------------------------------------------------------------------------------------

[[ $mode != hermetic && $mode != all ]] || hermetic
[[ $mode != live && $mode != all ]] || live
[[ $mode != counts && $mode != all ]] || counts
[[ $mode != idp ]] || idp
[[ $mode != chaos ]] || chaos
[[ $mode != outages ]] || outages
[[ $mode != bench ]] || bench

printf '\n=== summary (%s, %ds, logs in %s)\n' "$mode" "$SECONDS" "$run"
printf '%s\n' "${summary[@]}"
if ((failed)); then
  printf '%d of %d stages FAILED\n' "$failed" "${#summary[@]}"
  exit 1
fi
