#!/usr/bin/env bash
# Runs a real Keycloak 26 (the identity provider) on loopback, in the foreground: stop it by its process group.
#
#   tests/services/keycloak.sh [PORT]        default 8080
#
# Its first use installs it below target/services/keycloak (Java 17, Maven; 190 MB from Maven Central) and takes a minute or two
# to build itself; later starts take about ten seconds. It is up when GET http://127.0.0.1:PORT/realms/authseal answers 200.
# The realm authseal has two clients that may ask for tokens of their own: authseal, secret "authseal-test-secret", and
# stranger, secret "stranger-test-secret". Tokens live for 12 seconds, so that a test sees them renewed.
# The realm logins has people: alice, bob and mallory, password "<name>-test-password", who log on through the public client app
# (grant_type=password). Five wrong passwords lock an account. Its events are kept, and readable over REST (admin/admin in the
# realm master); all of them are lines on stdout too, as the listener jboss-logging writes them.
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
person() {
  printf '{"username":"%s","enabled":true,"email":"%s@example.test","emailVerified":true,"firstName":"%s","lastName":"Example",' "$1" "$1" "$1"
  printf '"credentials":[{"type":"password","value":"%s-test-password"}]}' "$1"
}
cat > "$home/data/import/logins-realm.json" << REALM
{"realm":"logins","enabled":true,"sslRequired":"none","eventsEnabled":true,"adminEventsEnabled":true,
 "bruteForceProtected":true,"failureFactor":5,"waitIncrementSeconds":600,"maxFailureWaitSeconds":900,"quickLoginCheckMilliSeconds":1,
 "minimumQuickLoginWaitSeconds":1,
 "clients":[{"clientId":"app","publicClient":true,"directAccessGrantsEnabled":true,"standardFlowEnabled":false}],
 "users":[$(person alice),$(person bob),$(person mallory)]}
REALM
cat > "$home/data/import/authseal-realm.json" << REALM
{"realm":"authseal","enabled":true,"sslRequired":"none","accessTokenLifespan":12,
 "clients":[$(client authseal),$(client stranger)]}
REALM

export KC_BOOTSTRAP_ADMIN_USERNAME=admin KC_BOOTSTRAP_ADMIN_PASSWORD=admin JAVA_OPTS_KC_HEAP="-Xms64m -Xmx512m"
exec "$home/bin/kc.sh" start-dev --import-realm --db=dev-file --cache=local --http-host=127.0.0.1 --http-port="$port" \
  --spi-events-listener--jboss-logging--success-level=info
