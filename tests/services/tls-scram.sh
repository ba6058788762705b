#!/usr/bin/env bash
# The broker of kafka.sh with a third listener, on PORT + 2, that demands TLS and SASL/SCRAM-SHA-512, and with ACLs.
#
#   tests/services/tls-scram.sh [PORT]    default 19192
#
# Users, all with the password "secret": alice may do everything; bob may read and describe topics called bob.* and the
# groups bob.*, and write and describe bob.alerts; carol may do nothing. Plaintext clients (on PORT) may do everything.
# The authority is target/services/kafka-PORT/ca.pem. It is made anew with the data; its key stays there: for tests
# only.
# KAFKA_OIDC     the issuer of a realm (tests/services/keycloak.sh): adds a listener on PORT + 3 that demands TLS and
#                SASL/OAUTHBEARER with a token of that issuer, again after 15 seconds. The client authseal may do everything
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
port=${1:-19192}
export KAFKA_HOME=${KAFKA_HOME:-$(cd "$here/../.." && pwd)/target/services/kafka-$port}
mkdir -p "$KAFKA_HOME"
cd "$KAFKA_HOME"

if [[ ! -e broker.pem ]]; then
  openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=authseal test authority" \
    -keyout ca.key -out ca.pem 2> openssl.log
  openssl req -newkey rsa:2048 -nodes -subj "/CN=127.0.0.1" -keyout broker.key -out broker.csr 2>> openssl.log
  openssl x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -out broker.crt \
    -extfile <(echo "subjectAltName = IP:127.0.0.1, DNS:localhost") 2>> openssl.log
  cat broker.key broker.crt ca.pem > broker.pem
fi

cat > tls-scram.properties <<PROPERTIES
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1)),SECURE://127.0.0.1:$((port + 2))
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location=$KAFKA_HOME/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=$KAFKA_HOME/ca.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:alice
PROPERTIES

if [[ -n ${KAFKA_OIDC:-} ]]; then
  sed -i -e "/^listeners=/s|\$|,OAUTH://127.0.0.1:$((port + 3))|" -e '/^listener.security.protocol.map=/s/$/,OAUTH:SASL_SSL/' \
    -e '/^super.users=/s/$/;User:authseal/' tls-scram.properties
  keys=$KAFKA_OIDC/protocol/openid-connect/certs
  cat >> tls-scram.properties << PROPERTIES
listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.oauth.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
listener.name.oauth.oauthbearer.sasl.server.callback.handler.class=\
org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler
listener.name.oauth.oauthbearer.connections.max.reauth.ms=15000
listener.name.oauth.sasl.oauthbearer.jwks.endpoint.url=$keys
listener.name.oauth.sasl.oauthbearer.expected.issuer=$KAFKA_OIDC
listener.name.oauth.sasl.oauthbearer.sub.claim.name=azp
PROPERTIES
  # Kafka asks nobody whose URL is not allowed on its command line
  export KAFKA_OPTS="-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=$keys"
fi

for user in alice bob carol; do
  printf -- '--add-scram\nSCRAM-SHA-512=[name=%s,password=secret]\n' "$user"
done > scram-users

KAFKA_CONFIG=$KAFKA_HOME/tls-scram.properties KAFKA_FORMAT=$KAFKA_HOME/scram-users exec "$here/kafka.sh" "$port"
