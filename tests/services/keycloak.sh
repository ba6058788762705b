#!/usr/bin/env bash
# Runs a real Keycloak 26 (the identity provider) on loopback, in the foreground: stop it by its process group.
#
#   tests/services/keycloak.sh [PORT]        default 8080
#
# Its first use installs it below target/services/keycloak (Java 17, Maven; 190 MB from Maven Central) and takes a minute or two
# to build itself; later starts take about ten seconds. It is up when GET http://127.0.0.1:PORT/realms/authseal answers 200.
# The realm authseal has two clients that may ask for tokens of their own: authseal, secret "authseal-test-secret", and
# stranger, secret "stranger-test-secret". Tokens live for 12 seconds, so that a test sees them renewed.
set -euo pipefail

port=${1:-8080} version=26.7.3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
services=${CARGO_TARGET_DIR:-$here/../../target}/services/keycloak
mkdir -p "$services"
services=$(cd "$services" && pwd)
home=$services/keycloak-$version

install() {
  mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
    -Dartifact=org.keycloak:keycloak-quarkus-dist:$version:zip -DoutputDirectory="$services"
  python3 -m zipfile -e "$services/keycloak-quarkus-dist-$version.zip" "$services"
  rm "$services/keycloak-quarkus-dist-$version.zip"
  chmod +x "$home"/bin/*.sh
  touch "$home/installed"
}
(
  # two runs at once must not install over each other
  flock 9
  [[ -e $home/installed ]] || install
) 9> "$services/lock"

client() {
  printf '{"clientId":"%s","secret":"%s","publicClient":false,"serviceAccountsEnabled":true,"standardFlowEnabled":false}' \
    "$1" "$1-test-secret"
}
mkdir -p "$home/data/import"
cat > "$home/data/import/authseal-realm.json" << REALM
{"realm":"authseal","enabled":true,"sslRequired":"none","accessTokenLifespan":12,
 "clients":[$(client authseal),$(client stranger)]}
REALM

export KC_BOOTSTRAP_ADMIN_USERNAME=admin KC_BOOTSTRAP_ADMIN_PASSWORD=admin JAVA_OPTS_KC_HEAP="-Xms64m -Xmx512m"
exec "$home/bin/kc.sh" start-dev --import-realm --db=dev-file --cache=local --http-host=127.0.0.1 --http-port="$port"
