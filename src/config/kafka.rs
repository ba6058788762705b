//! `[kafka]`: how to reach the cluster, and which librdkafka properties are passed through.

use super::{
    Roles,
    check::Check,
    problem::Origin,
    secret::{REDACTED, Secret},
    settings::KafkaSettings,
};
use std::collections::{BTreeMap, btree_map::Entry};

/// Properties that authseal depends on: they are set by it and refused in the settings.
const FIXED: [&str; 9] = [
    "auto.offset.reset",
    "isolation.level",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "check.crcs",
    "enable.partition.eof",
    "allow.auto.create.topics",
    "partition.assignment.strategy",
    "enable.idempotence",
];

/// Properties that have a setting of their own.
const OWN: [(&str, &str); 6] = [
    ("bootstrap.servers", "kafka.brokers"),
    ("metadata.broker.list", "kafka.brokers"),
    ("group.id", "kafka.group"),
    ("group.instance.id", "kafka.instance_id"),
    ("queued.max.messages.kbytes", "kafka.queue_mib"),
    ("sasl.password", "kafka.password_file or AUTHSEAL_KAFKA__PASSWORD"),
];

/// How to reach Kafka.
#[derive(Debug, Clone)]
pub struct Kafka {
    /// `host:port`, comma separated.
    pub brokers: String,
    /// Consumer group: that of `roles`.
    pub group: String,
    /// Static membership, if wanted.
    pub instance_id: Option<String>,
    /// Bytes that librdkafka may hold, all partitions together.
    pub queue_bytes: usize,
    /// Properties passed through, those from files and the password included.
    properties: BTreeMap<String, Secret>,
}

impl Kafka {
    /// Properties for librdkafka, secrets in the clear: for the client's configuration only.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties.iter().map(|(name, value)| (name.as_str(), value.reveal()))
    }

    /// The same, as clients take them.
    pub fn client_properties(&self) -> BTreeMap<String, String> {
        self.properties().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The same for people.
    pub fn shown_properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties().map(|(name, value)| (name, if is_secret(name) { REDACTED } else { value }))
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.properties().any(|(name, value)| name == "security.protocol" && value.to_lowercase().ends_with("ssl"))
    }
}

/// Whether the value of a librdkafka property is a secret. A name that merely looks so is treated so.
fn is_secret(name: &str) -> bool {
    let path = name.ends_with(".location") || name.ends_with(".file");
    !path
        && ["password", "secret", "passphrase", "key.pem", "oauthbearer.config"].iter().any(|part| name.contains(part))
}

pub(super) fn resolve(settings: KafkaSettings, roles: Roles, check: &mut Check<'_>) -> Kafka {
    let brokers = match settings.brokers {
        Some(brokers) => {
            for broker in &brokers.0 {
                let port = broker.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then_some(port));
                if port.and_then(|port| port.parse::<u16>().ok()).is_none_or(|port| port == 0) {
                    check.wrong("kafka.brokers", format!("{broker:?} is not host:port"));
                }
            }
            brokers.0.join(",")
        }
        None => {
            check.missing("kafka.brokers", "host:port of at least one broker");
            String::new()
        }
    };
    let group = settings.group.unwrap_or_else(|| "authseal".into());
    // who only judges reads everything, whoever seals what: in a group of its own
    let detect_group = settings.detect_group.unwrap_or_else(|| format!("{group}-detect"));
    if detect_group == group {
        check.wrong("kafka.detect_group", "is kafka.group as well: they would take each other's partitions");
    }
    let mut names = vec![("kafka.group", &group), ("kafka.detect_group", &detect_group)];
    names.extend(settings.instance_id.as_ref().map(|id| ("kafka.instance_id", id)));
    for (setting, name) in names {
        if !(1..=249).contains(&name.len()) || !name.bytes().all(|c| c.is_ascii_graphic()) {
            check.wrong(setting, "must be 1 to 249 printable characters without spaces");
        }
    }
    let queue_mib = check.number("kafka.queue_mib", settings.queue_mib, 64, 1, 16 * 1024);
    let mut properties = BTreeMap::new();
    for (name, value) in settings.properties {
        let origin = check.origin_of_key("kafka.properties", &name);
        if may_pass(&name, "kafka.properties", origin.clone(), check) {
            if is_secret(&name) && !matches!(origin, Some(Origin::Env(_))) {
                let message = "secrets do not belong in this file: put it into a file and name that in \
                               [kafka.property_files], or use the environment";
                check.wrong_at(origin, &format!("kafka.properties.{name}"), message);
            }
            properties.insert(name, Secret::new(value.0));
        }
    }
    for (name, path) in settings.property_files {
        let origin = check.origin_of_key("kafka.property_files", &name);
        if may_pass(&name, "kafka.property_files", origin.clone(), check) {
            let setting = format!("kafka.property_files.{name}");
            match properties.entry(name) {
                Entry::Occupied(_) => {
                    check.wrong_at(origin, &setting, "is set in [kafka.properties] too: keep one of them");
                }
                Entry::Vacant(place) => {
                    if let Some(secret) = check.read_secret(origin, &setting, &path) {
                        place.insert(secret);
                    }
                }
            }
        }
    }
    if let Some(password) = check.secret("kafka.password", settings.password, settings.password_file.as_deref()) {
        properties.insert("sasl.password".into(), password);
    }
    let group = if roles.seal { group } else { detect_group };
    Kafka { brokers, group, instance_id: settings.instance_id, queue_bytes: queue_mib << 20, properties }
}

fn may_pass(name: &str, table: &str, origin: Option<Origin>, check: &mut Check<'_>) -> bool {
    let setting = format!("{table}.{name}");
    if FIXED.contains(&name) {
        check.wrong_at(origin, &setting, "is fixed: what authseal promises depends on it; take it out");
        return false;
    }
    if let Some((_, own)) = OWN.iter().find(|(property, _)| *property == name) {
        check.wrong_at(origin, &setting, format!("has a setting of its own: use {own}"));
        return false;
    }
    true
}
