//! A resolved configuration for people and programs, secrets redacted.

use super::SignerSpec;
use super::{Config, Registry, RegistryAuth, Start, Topic, secret::REDACTED, units::show};
use crate::{decode::Format, store::StoreSpec};
use serde_json::{Map, Value, json};

pub(super) fn to_json(config: &Config) -> Value {
    let seal = &config.seal;
    let properties: Map<String, Value> =
        config.kafka.shown_properties().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let store = match &config.store.spec {
        StoreSpec::Dir(path) => json!({ "kind": "dir", "path": path }),
        StoreSpec::S3(s3) => json!({
            "kind": "s3", "bucket": s3.bucket, "prefix": s3.prefix, "region": s3.region, "endpoint": s3.endpoint,
            "path_style": s3.path_style, "checksum": if s3.when_required { "when_required" } else { "when_supported" },
            "confirm_compliance": config.store.confirm_compliance,
        }),
    };
    json!({
        "file": config.file,
        "origin": config.origin,
        "cluster": config.cluster,
        "instance": config.instance,
        "roles": roles(config),
        "kafka": {
            "brokers": config.kafka.brokers,
            "group": config.kafka.group,
            "instance_id": config.kafka.instance_id,
            "queue_mib": config.kafka.queue_bytes >> 20,
            "properties": properties,
        },
        "topics": config.topics.iter().map(topic).collect::<Vec<_>>(),
        "registry": config.registry.as_ref().map(registry),
        "alerts": { "topic": config.alerts_topic, "shadow_topic": config.shadow_topic },
        "dead_letters": { "topic": config.dead_letters_topic },
        "enrich": enrich(config),
        "correlate": {
            "key": config.correlate.as_ref().map(|_| REDACTED),
            "key_id": config.correlate.as_ref().map(|key| crate::decode::pseudonym_key_id(key.bytes())),
        },
        "rules": {
            "dir": config.rules.dir,
            "replay_horizon": show(config.rules.replay_horizon),
            "state_topic": config.rules.state_topic,
            "lateness": show(config.rules.lateness),
            "state_mib": config.rules.state_bytes >> 20,
            "reload": show(config.rules.reload),
        },
        "inventory": inventory(config),
        "seal": {
            "key": seal.signer.as_ref().filter(|signer| signer.program().is_none()).map(|_| REDACTED),
            "sign_command": seal.signer.as_ref().and_then(SignerSpec::program),
            "verifier_key": seal.signer.as_ref().map(SignerSpec::verifier_key),
            "withhold_key": seal.withhold_key.as_ref().map(|_| REDACTED),
            "max_records": seal.max_records,
            "max_mib": seal.max_bytes >> 20,
            "max_age": show(seal.max_age),
            "heartbeat": show(seal.heartbeat),
            "grace": show(seal.grace),
            "codec": format!("{:?}", seal.codec).to_lowercase(),
            "level": seal.level,
            "memory_mib": seal.memory_bytes >> 20,
            "shutdown_deadline": show(seal.shutdown_deadline),
        },
        "store": store,
        "retention": {
            "mode": config.store.retention.mode,
            "period": (config.store.retention.mode != crate::retention::LockMode::None)
                .then(|| show(config.store.retention.period)),
            "disposed_after": config.store.classes.default.expires.map(show),
            "topics": topics_of(config).map(|(topic, class)| {
                let class = json!({ "mode": class.policy.mode, "disposed_after": class.expires.map(show) });
                (topic, class)
            }).collect::<std::collections::BTreeMap<_, _>>(),
        },
        "http": { "listen": config.http },
        "log": {
            "format": if config.log.json { "json" } else { "text" },
            "level": config.log.level,
            "key": config.transparency_log.as_ref().filter(|log| log.signer.program().is_none()).map(|_| REDACTED),
            "sign_command": config.transparency_log.as_ref().and_then(|log| log.signer.program()),
            "verifier_key": config.transparency_log.as_ref().map(|log| log.signer.verifier_key()),
            "checkpoint_topic": config.transparency_log.as_ref().and_then(|log| log.checkpoint_topic.as_ref()),
            "witnesses": config.transparency_log.as_ref().and_then(|log| log.policy.as_ref()).map(witnesses),
            "timestamps": config.transparency_log.as_ref().and_then(|log| log.timestamps.as_ref())
                .map(|stamps| json!({ "url": stamps.url, "every": show(stamps.every) })),
        },
        "trusted": config.trusted.text().lines().collect::<Vec<_>>(),
        "warnings": config.warnings,
    })
}

fn enrich(config: &Config) -> Value {
    let databases = config.enrich.databases.iter();
    let databases: Vec<Value> =
        databases.map(|(file, database)| json!({ "file": file, "database": database.label() })).collect();
    json!({ "databases": databases, "user_agent": config.enrich.user_agent })
}

fn inventory(config: &Config) -> Value {
    let source = |source: &crate::detect::Expected| {
        json!({
            "name": source.name, "tenant": source.tenant, "max_silence": show(source.max_silence),
            "owner": source.owner, "runbook": source.runbook,
        })
    };
    let sources: Vec<Value> = config.inventory.expected.iter().map(source).collect();
    json!({ "unknown": if config.inventory.tell_unknown { "alert" } else { "count" }, "sources": sources })
}

/// Topics and patterns that are kept otherwise than the rest; a pattern as it was written.
fn topics_of(config: &Config) -> impl Iterator<Item = (String, &super::Class)> {
    let classes = &config.store.classes.topics;
    let named = classes.names().filter_map(|name| Some((name.to_owned(), classes.get(name)?)));
    let all = named.chain(classes.patterns().map(|(pattern, class)| (pattern.text().to_owned(), class)));
    all.filter(|(_, class)| **class != config.store.classes.default)
}

/// Who is asked: name, key and URL of each.
fn witnesses(policy: &std::sync::Arc<crate::tlog::Policy>) -> Vec<Value> {
    let witness = |w: &crate::tlog::policy::Witness| json!({ "name": w.name, "key": w.key.text(), "url": w.url });
    policy.witnesses().iter().map(witness).collect()
}

fn roles(config: &Config) -> Vec<&'static str> {
    let all = [("seal", config.roles.seal), ("detect", config.roles.detect)];
    all.into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
}

fn registry(registry: &Registry) -> Value {
    let auth = match &registry.auth {
        RegistryAuth::None => json!("none"),
        RegistryAuth::Basic(user, _) => json!({ "user": user, "password": REDACTED }),
        RegistryAuth::Token(_) => json!({ "token": REDACTED }),
        RegistryAuth::OAuth { url, client, scope, .. } => {
            json!({ "url": url, "client_id": client, "client_secret": REDACTED, "scope": scope })
        }
    };
    json!({
        "url": registry.urls,
        "auth": auth,
        "own_authorities": registry.authorities.is_some(),
        "cache_dir": registry.cache_dir,
        "timeout": show(registry.timeout),
        "wait": show(registry.wait),
    })
}

fn topic(topic: &Topic) -> Value {
    let (format, schemas) = match &topic.spec.format {
        Format::Avro { schema } => ("avro", json!(schema.as_ref().map(|file| &file.path))),
        Format::Confluent { schemas } | Format::Registry { schemas } => {
            let by_id: Map<String, Value> =
                schemas.iter().map(|(id, file)| (id.to_string(), file.path.clone().into())).collect();
            ("confluent", Value::Object(by_id))
        }
        Format::SingleObject { schemas } => {
            ("single-object", schemas.iter().map(|file| Value::from(file.path.clone())).collect())
        }
        Format::Json => ("json", Value::Null),
        Format::Mapped { mapping, text, .. } => {
            (if *text { "text" } else { "json" }, json!({ "mapping": mapping.path }))
        }
        Format::Opaque => ("opaque", Value::Null),
    };
    let start = match topic.start {
        Start::LogStart => "log-start".into(),
        Start::End => "end".into(),
        Start::At(millis) => jiff::Timestamp::from_millisecond(millis).map_or(millis.to_string(), |t| t.to_string()),
    };
    json!({
        "name": topic.pattern.is_none().then_some(&topic.name),
        "pattern": topic.pattern.as_ref().map(|pattern| pattern.text()),
        "format": format,
        "schemas": schemas,
        "source": topic.spec.source,
        "tenant": topic.spec.tenant,
        "keep": if topic.spec.keep_event_only { "event" } else { "value" },
        "secret_fields": topic.spec.secret_fields,
        "gaps": if topic.gaps_expected { "expected" } else { "none" },
        "start": start,
        "partitioned_by": topic.partitioned_by,
        "sequence_by": topic.sequence_by,
    })
}
