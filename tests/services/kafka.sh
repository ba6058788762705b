#!/usr/bin/env bash
# Runs one real Apache Kafka 4.1 broker (KRaft, its own controller) on loopback, in the foreground: stop it by its pid.
#
#   tests/services/kafka.sh [PORT]        default 19092; PORT + 1 is the controller's
#
# Needs Java 17 and, the first time, Maven (44 MB from Maven Central, into target/services). Data stays in
# target/services/kafka-PORT, so that a killed broker recovers when it is started again; remove it for a fresh one.
# KAFKA_HOME     another place for the data
# KAFKA_CONFIG   a file of broker properties that override ours
# KAFKA_FORMAT   a file of arguments for the first format, one a line
# KAFKA_OPTS     more arguments for Java
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
services=$(cd "$here/../.." && pwd)/target/services
port=${1:-19092}
home=${KAFKA_HOME:-$services/kafka-$port}
jars=$services/kafka-jars
mkdir -p "$home" "$jars"

if [[ ! -e $jars/complete ]]; then
  mvn --quiet --batch-mode --file "$here/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$jars"
  touch "$jars/complete"
fi

{
  cat <<PROPERTIES
node.id=1
process.roles=broker,controller
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
log.dirs=$home/data
# one broker: nothing can be replicated
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.num.partitions=2
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# tests are in a hurry, and their topics are created by them
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
PROPERTIES
  if [[ -n ${KAFKA_CONFIG:-} ]]; then cat "$KAFKA_CONFIG"; fi
} > "$home/server.properties"

cat > "$home/log4j2.properties" <<'PROPERTIES'
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
PROPERTIES

read -r -a options <<< "${KAFKA_OPTS:-}"
run=(java -Xmx512m "${options[@]}" -Dlog4j2.configurationFile="$home/log4j2.properties" -cp "$jars/*")
if [[ ! -e $home/data/meta.properties ]]; then
  format=()
  if [[ -n ${KAFKA_FORMAT:-} ]]; then mapfile -t format < "$KAFKA_FORMAT"; fi
  cluster=$("${run[@]}" kafka.tools.StorageTool random-uuid)
  "${run[@]}" kafka.tools.StorageTool format --config "$home/server.properties" --cluster-id "$cluster" "${format[@]}"
fi
exec "${run[@]}" kafka.Kafka "$home/server.properties"
