//! The settings as they are written: names and types, nothing resolved. What each means and its default is documented
//! for people in `authseal.example.toml`, which a test holds against these types; `resolve` turns them into a `Config`.

use super::units::Span;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use std::{collections::BTreeMap, fmt, path::PathBuf};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    pub origin: Option<String>,
    pub cluster: Option<String>,
    pub instance: Option<String>,
    pub roles: Option<Vec<RoleName>>,
    pub trust_file: Option<PathBuf>,
    pub kafka: KafkaSettings,
    pub topics: Vec<TopicSettings>,
    pub registry: RegistrySettings,
    pub alerts: AlertsSettings,
    pub dead_letters: PublishSettings,
    pub enrich: EnrichSettings,
    pub correlate: CorrelateSettings,
    pub rules: RulesSettings,
    pub inventory: InventorySettings,
    pub seal: SealSettings,
    pub store: StoreSettings,
    pub http: HttpSettings,
    pub log: LogSettings,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RoleName {
    Seal,
    Detect,
}

/// `[kafka]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct KafkaSettings {
    pub brokers: Option<OneOrMany>,
    pub group: Option<String>,
    pub detect_group: Option<String>,
    pub instance_id: Option<String>,
    pub queue_mib: Option<u64>,
    pub password: Option<SecretText>,
    pub password_file: Option<PathBuf>,
    pub properties: BTreeMap<String, Scalar>,
    pub property_files: BTreeMap<String, PathBuf>,
}

/// `[[topics]]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TopicSettings {
    pub name: Option<String>,
    pub pattern: Option<String>,
    pub format: Option<FormatName>,
    pub schema: Option<PathBuf>,
    pub schemas: Option<Schemas>,
    pub mapping: Option<String>,
    pub zone: Option<String>,
    pub source: Option<String>,
    pub tenant: Option<String>,
    pub keep: Option<Keep>,
    pub secret_fields: Vec<String>,
    pub gaps: Option<Gaps>,
    pub start: Option<String>,
    pub partitioned_by: Vec<String>,
    pub sequence_by: Vec<String>,
    pub retention: Option<String>,
}

/// `[registry]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RegistrySettings {
    pub url: Option<OneOrMany>,
    pub user: Option<String>,
    pub password: Option<SecretText>,
    pub password_file: Option<PathBuf>,
    pub token: Option<SecretText>,
    pub token_file: Option<PathBuf>,
    pub oauth: OAuthSettings,
    pub ca_file: Option<PathBuf>,
    pub cache_dir: Option<PathBuf>,
    pub timeout: Option<Span>,
    pub wait: Option<Span>,
}

/// `[registry.oauth]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OAuthSettings {
    pub url: Option<String>,
    pub client_id: Option<String>,
    pub client_secret: Option<SecretText>,
    pub client_secret_file: Option<PathBuf>,
    pub scope: Option<String>,
}

/// How values are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FormatName {
    Avro,
    Confluent,
    SingleObject,
    Json,
    Text,
    Opaque,
}

/// What of a record is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Keep {
    #[default]
    Value,
    Event,
}

/// Whether offsets may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Gaps {
    #[default]
    None,
    Expected,
}

/// `[alerts]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AlertsSettings {
    pub topic: Option<String>,
    pub shadow_topic: Option<String>,
}

/// `[dead_letters]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PublishSettings {
    pub topic: Option<String>,
}

/// `[enrich]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct EnrichSettings {
    pub databases: Vec<PathBuf>,
    pub user_agent: Option<bool>,
}

/// `[correlate]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CorrelateSettings {
    pub key: Option<SecretText>,
    pub key_file: Option<PathBuf>,
}

/// `[rules]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RulesSettings {
    pub dir: Option<PathBuf>,
    pub replay_horizon: Option<Span>,
    pub state_topic: Option<String>,
    pub lateness: Option<Span>,
    pub state_mib: Option<u64>,
    pub reload: Option<Span>,
}

/// `[inventory]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct InventorySettings {
    pub unknown: Option<UnknownName>,
    pub sources: Vec<SourceSettings>,
}

/// What becomes of sources that the inventory does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum UnknownName {
    #[default]
    Count,
    Alert,
}

/// `[[inventory.sources]]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SourceSettings {
    pub name: Option<String>,
    pub tenant: Option<String>,
    pub max_silence: Option<Span>,
    pub owner: Option<String>,
    pub runbook: Option<String>,
}

/// `[seal]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SealSettings {
    pub key: Option<SecretText>,
    pub key_file: Option<PathBuf>,
    pub key_passphrase: Option<SecretText>,
    pub key_passphrase_file: Option<PathBuf>,
    pub sign_command: Option<Vec<String>>,
    pub verifier_key: Option<String>,
    pub sign_timeout: Option<Span>,
    pub withhold_key: Option<SecretText>,
    pub withhold_key_file: Option<PathBuf>,
    pub max_records: Option<u64>,
    pub max_mib: Option<u64>,
    pub max_age: Option<Span>,
    pub heartbeat: Option<Span>,
    pub grace: Option<Span>,
    pub codec: Option<CodecName>,
    pub level: Option<i32>,
    pub memory_mib: Option<u64>,
    pub shutdown_deadline: Option<Span>,
}

/// The codecs of a segment, as Avro names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CodecName {
    #[default]
    Zstandard,
    Deflate,
    Snappy,
    Null,
}

/// `[store]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StoreSettings {
    pub kind: Option<StoreKindName>,
    pub path: Option<PathBuf>,
    pub bucket: Option<String>,
    pub prefix: Option<String>,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    pub path_style: Option<bool>,
    pub checksum: Option<ChecksumName>,
    pub confirm_compliance: bool,
    pub retention: RetentionSettings,
}

/// When checksums are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChecksumName {
    #[default]
    WhenSupported,
    WhenRequired,
}

/// Where segments go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StoreKindName {
    S3,
    Dir,
}

/// `[store.retention]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RetentionSettings {
    pub mode: Option<ModeName>,
    pub period: Option<Span>,
    pub classes: BTreeMap<String, ClassSettings>,
}

/// `[store.retention.classes.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ClassSettings {
    pub mode: Option<ModeName>,
    pub period: Option<Span>,
}

/// The modes of S3 Object Lock, and none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum ModeName {
    Compliance,
    Governance,
    None,
}

/// `[http]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HttpSettings {
    pub listen: Option<String>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LogSettings {
    pub format: Option<LogFormatName>,
    pub level: Option<String>,
    pub key: Option<SecretText>,
    pub key_file: Option<PathBuf>,
    pub key_passphrase: Option<SecretText>,
    pub key_passphrase_file: Option<PathBuf>,
    pub sign_command: Option<Vec<String>>,
    pub verifier_key: Option<String>,
    pub sign_timeout: Option<Span>,
    pub checkpoint_topic: Option<String>,
    pub policy_file: Option<PathBuf>,
    pub timestamps: TimestampSettings,
}

/// `[log.timestamps]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TimestampSettings {
    pub url: Option<String>,
    pub certificates_file: Option<PathBuf>,
    pub every: Option<Span>,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogFormatName {
    #[default]
    Text,
    Json,
}

/// `"a:9092,b:9092"` or `["a:9092", "b:9092"]`.
#[derive(Debug)]
pub(super) struct OneOrMany(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("host:port, or an array of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(text.split(',').map(|part| part.trim().to_owned()).collect()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                }
                Ok(OneOrMany(all))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A value of a librdkafka property: it wants text, people write numbers and booleans.
#[derive(Debug)]
pub(super) struct Scalar(pub String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number, or true or false")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar(value.to_owned()))
            }
        }
        deserializer.deserialize_string(Any)
    }
}

/// Text that is never shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// `{ 17 = "a.avsc" }` by schema id, or `["a.avsc"]`.
#[derive(Debug)]
pub(super) enum Schemas {
    ById(BTreeMap<u32, PathBuf>),
    List(Vec<PathBuf>),
}

impl<'de> Deserialize<'de> for Schemas {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Schemas;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of schema files by id, or an array of schema files")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Schemas, A::Error> {
                let mut all = BTreeMap::new();
                while let Some((key, file)) = entries.next_entry::<String, PathBuf>()? {
                    let id = key.parse().map_err(|_| de::Error::custom(format_args!("{key:?} is no schema id")))?;
                    all.insert(id, file);
                }
                Ok(Schemas::ById(all))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Schemas, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                }
                Ok(Schemas::List(all))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
