//! From settings to librdkafka's configuration: what is fixed and why, what is set unless the user says otherwise,
//! and which values must never be shown. The publisher uses it too.

use super::oauth;
use crate::error::{Error, Result};
use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError};
use std::collections::BTreeMap;

/// Properties as the user wrote them: librdkafka's names and values.
pub type Properties = BTreeMap<String, String>;

/// A property that is not the user's to set: its names, its value, and the reason.
pub struct Fixed {
    /// The name, and aliases that librdkafka knows for it.
    pub names: &'static [&'static str],
    /// The value; `None` where a setting of ours has it.
    pub value: Option<&'static str>,
    /// Why, as the end of a sentence.
    pub why: &'static str,
}

/// What every client of ours fixes.
const COMMON: &[Fixed] = &[Fixed {
    names: &["bootstrap.servers", "metadata.broker.list"],
    value: None,
    why: "the setting `brokers` has it",
}];

/// What the consumer fixes.
pub const CONSUMER: &[Fixed] = &[
    Fixed { names: &["group.id"], value: None, why: "the setting `group` has it" },
    Fixed { names: &["group.instance.id"], value: None, why: "the setting `instance` has it" },
    Fixed {
        names: &["auto.offset.reset"],
        value: Some("error"),
        why: "a jump to another offset would leave a hole in the evidence that nobody decided on",
    },
    Fixed {
        names: &["isolation.level"],
        value: Some("read_committed"),
        why: "records of aborted transactions never happened and must not be sealed as events",
    },
    Fixed {
        names: &["enable.auto.commit", "auto.commit.enable"],
        value: Some("false"),
        why: "an offset may only be committed when its record is sealed and its findings are acknowledged",
    },
    Fixed {
        names: &["enable.auto.offset.store"],
        value: Some("false"),
        why: "an offset may only be committed when its record is sealed and its findings are acknowledged",
    },
    Fixed {
        names: &["check.crcs"],
        value: Some("true"),
        why: "bytes that were damaged on the way must not be sealed as evidence",
    },
    Fixed {
        names: &["enable.partition.eof"],
        value: Some("false"),
        why: "librdkafka before 2.13.2 moves its position past the end with it, and a rebalance then skips a record",
    },
    Fixed {
        names: &["allow.auto.create.topics"],
        value: Some("false"),
        why: "a misspelt topic must be an error, not a new topic",
    },
];

/// What the publisher fixes.
pub const PRODUCER: &[Fixed] = &[
    Fixed {
        names: &["acks", "request.required.acks"],
        value: Some("all"),
        why: "an alert counts as published when all replicas have it",
    },
    Fixed {
        names: &["enable.idempotence"],
        value: Some("true"),
        why: "retries must neither repeat nor reorder alerts",
    },
    Fixed {
        names: &["transactional.id"],
        value: None,
        why: "alerts are published at least once, without transactions",
    },
    Fixed {
        names: &["allow.auto.create.topics"],
        value: Some("false"),
        why: "a misspelt topic must be an error, not a new topic",
    },
];

/// Whether the value of a property must never be shown.
pub fn is_secret(name: &str) -> bool {
    const PARTS: &[&str] =
        &["password", "passphrase", "secret", "jaas", "key.pem", "oauthbearer.config", "token", "credential"];
    let name = name.to_ascii_lowercase();
    PARTS.iter().any(|part| name.contains(part))
}

/// Takes secret values out of texts that librdkafka writes.
#[derive(Clone, Default)]
pub struct Scrubber(Vec<String>);

impl Scrubber {
    /// Knows the secret values among `properties`.
    pub fn new(properties: &Properties) -> Self {
        let secrets = properties.iter().filter(|(name, value)| is_secret(name) && !value.is_empty());
        Self(secrets.map(|(_, value)| value.clone()).collect())
    }

    /// The text without them.
    pub fn clean(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "[redacted]"))
    }
}

/// Properties to print: secrets are replaced.
pub fn shown(properties: &Properties) -> BTreeMap<&str, &str> {
    let show = |name: &str, value| if is_secret(name) { "[redacted]" } else { value };
    properties.iter().map(|(name, value)| (name.as_str(), show(name, value.as_str()))).collect()
}

/// The configuration of a client: our defaults, then what the user set, then what is fixed.
pub fn configure(
    brokers: &str,
    defaults: &[(&str, &str)],
    properties: &Properties,
    fixed: &[Fixed],
) -> Result<ClientConfig> {
    if brokers.trim().is_empty() {
        return Err(Error::config("no Kafka brokers are set: name one or more as `brokers = \"host:9092,host:9092\"`"));
    }
    for name in properties.keys() {
        if let Some(rule) = fixed.iter().chain(COMMON).find(|rule| rule.names.contains(&name.as_str())) {
            let to = rule.value.map(|value| format!(" to {value}")).unwrap_or_default();
            return Err(Error::config(format!("the Kafka property {name} is fixed{to}: {}; remove it", rule.why)));
        }
    }
    let mut config = ClientConfig::new();
    // what is shown is decided by the filter of `tracing`; the crate would ask the `log` crate, which nobody sets up
    let debug = properties.contains_key("debug");
    config.set_log_level(if debug { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
    let fixed = fixed.iter().filter_map(|rule| rule.names.first().zip(rule.value));
    // what asks for tokens is ours: librdkafka would need libcurl for it
    let own = properties.iter().filter(|(name, _)| !oauth::is_ours(name));
    let own = own.map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in defaults.iter().copied().chain(own).chain(fixed.map(|(n, v)| (*n, v))) {
        config.set(name, value);
    }
    config.set("bootstrap.servers", brokers);
    Ok(config)
}

/// An error at the creation of a client, in words that name the property and never its value where that is secret.
pub fn creation_error(error: KafkaError, scrubber: &Scrubber) -> Error {
    let text = match &error {
        KafkaError::ClientConfig(_, _, name, _) if is_secret(name) => {
            format!("the Kafka property {name} has a value that librdkafka does not accept")
        }
        KafkaError::ClientConfig(_, words, name, _) if words.starts_with("No such configuration property") => {
            format!("there is no Kafka property {name:?}: see librdkafka's CONFIGURATION.md for the names of all")
        }
        KafkaError::ClientConfig(_, words, name, _) => {
            format!("the Kafka property {name} is not accepted by librdkafka: {words}")
        }
        KafkaError::ClientCreation(words) => format!("librdkafka refuses the Kafka properties: {words}"),
        other => format!("librdkafka cannot be started: {other}"),
    };
    Error::config(scrubber.clean(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn fixed_properties_are_refused_with_the_reason() {
        for (rules, name) in CONSUMER
            .iter()
            .map(|rule| (CONSUMER, rule))
            .chain(PRODUCER.iter().map(|rule| (PRODUCER, rule)))
            .chain(COMMON.iter().map(|rule| (CONSUMER, rule)))
            .flat_map(|(rules, rule)| rule.names.iter().map(move |name| (rules, name)))
        {
            let error = configure("a:1", &[], &properties(&[(name, "x")]), rules).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("fixed") && error.contains(':'), "{error}");
        }
    }

    #[test]
    fn what_the_user_sets_wins_over_defaults_and_never_over_what_is_fixed() {
        let own = properties(&[("fetch.wait.max.ms", "7"), ("client.id", "mine")]);
        let config = configure("a:1,b:2", &[("fetch.wait.max.ms", "500"), ("linger.ms", "5")], &own, CONSUMER).unwrap();
        for (name, value) in [
            ("fetch.wait.max.ms", "7"),
            ("linger.ms", "5"),
            ("client.id", "mine"),
            ("auto.offset.reset", "error"),
            ("bootstrap.servers", "a:1,b:2"),
        ] {
            assert_eq!(config.get(name), Some(value));
        }
    }

    #[test]
    fn errors_of_librdkafka_name_the_property_and_hide_secrets() {
        let create = |name: &str, value: &str| {
            let own = properties(&[(name, value)]);
            let config = configure("a:1", &[], &own, CONSUMER).unwrap();
            let error = config.create_native_config().err().expect("it is refused");
            creation_error(error, &Scrubber::new(&own)).to_string()
        };
        let unknown = create("ssl.ca.locaton", "x");
        assert!(unknown.contains("there is no Kafka property \"ssl.ca.locaton\""), "{unknown}");
        let wrong = create("security.protocol", "carrier-pigeon");
        assert!(wrong.contains("security.protocol") && wrong.contains("carrier-pigeon"), "{wrong}");
        let secret = create("ssl.key.pem.password.nope", "hunter2");
        assert!(secret.contains("nope") && !secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let own = properties(&[
            ("sasl.password", "p1"),
            ("ssl.key.password", "p2"),
            ("ssl.key.pem", "p3"),
            ("sasl.jaas.config", "p4"),
            ("sasl.oauthbearer.client.secret", "p5"),
            ("sasl.username", "alice"),
        ]);
        let shown = format!("{:?}", shown(&own));
        assert!(shown.contains("alice") && !shown.contains("\"p"), "{shown}");
        assert_eq!(Scrubber::new(&own).clean("p1 p2 p3 p4 p5 alice"), "[redacted] ".repeat(5) + "alice");
    }

    #[test]
    fn what_cannot_work_is_said_at_once() {
        assert!(configure(" ", &[], &Properties::new(), CONSUMER).is_err());
    }

    #[test]
    fn librdkafka_is_not_told_how_tokens_are_got() {
        let own = properties(&[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.oauthbearer.method", "oidc"),
            ("sasl.oauthbearer.client.secret", "p1"),
            ("https.ca.location", "/etc/ca.pem"),
        ]);
        let config = configure("a:1", &[], &own, CONSUMER).unwrap();
        assert_eq!(config.get("sasl.mechanism"), Some("OAUTHBEARER"));
        assert!(config.get("sasl.oauthbearer.client.secret").is_none() && config.get("https.ca.location").is_none());
        config.create_native_config().unwrap();
    }
}
