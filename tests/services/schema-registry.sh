#!/usr/bin/env bash
# Runs a real schema registry that speaks Confluent's API (Apicurio Registry 2.6) on loopback, in the foreground: stop it by its
# pid.
#
#   tests/services/schema-registry.sh [PORT]        default 8081
#
# Clients say http://127.0.0.1:PORT/apis/ccompat/v7. It is up when GET …/schemas/types answers 200. Its first use installs it,
# and Avro's command line tools beside it, below target/services/schema-registry (Java 17, Maven; 200 MB from Maven
# Central). Each schema is on disk before the answer: a killed registry has all of them when it is started again.
# REGISTRY_HOME   where its data goes [default: target/services/schema-registry/data-PORT]
set -euo pipefail

port=${1:-8081} version=2.6.13.Final avro=1.12.0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
services=${CARGO_TARGET_DIR:-$here/../../target}/services/schema-registry
mkdir -p "$services"
services=$(cd "$services" && pwd)
data=${REGISTRY_HOME:-$services/data-$port}
mkdir -p "$data"

copy() {
  mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy -Dartifact="$1" -DoutputDirectory="$services"
}

install() {
  copy io.apicurio:apicurio-registry-app:$version:tar.gz:all
  mkdir -p "$services/app"
  tar -xzf "$services/apicurio-registry-app-$version-all.tar.gz" -C "$services/app"
  rm "$services/apicurio-registry-app-$version-all.tar.gz"
  copy org.apache.avro:avro-tools:$avro
  mv "$services/avro-tools-$avro.jar" "$services/avro-tools.jar"
  touch "$services/installed"
}
(
  # two runs at once must not install over each other
  flock 9
  [[ -e $services/installed ]] || install
) 9> "$services/lock"

exec java -Xms32m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
  -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$port" -Dquarkus.log.level=WARN \
  "-Dquarkus.datasource.jdbc.url=jdbc:h2:file:$data/registry;WRITE_DELAY=0" \
  -jar "$services/app/apicurio-registry-app-$version-runner.jar"
