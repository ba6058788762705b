//! Settings become a `Config`: defaults filled in, every value checked, files read. Defaults stand here and nowhere
//! else; `authseal.example.toml` states them and a test compares.

use super::{
    Config, Roles, Rules, Seal,
    check::Check,
    classes, enrich, inventory, kafka, log,
    problem::Problem,
    registry,
    secret::{Key32, Secret},
    settings::*,
    signer::{self, SignerSettings},
    store, topics,
    tree::Node,
    units,
};
use crate::{
    note::{Signer, Verifiers},
    position::is_kafka_name,
    segment::Codec,
    tlog::Trust,
};
use std::{net::SocketAddr, path::Path, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);
/// A segment has at most 64 MiB, and one more record of 16 MiB may come when it is nearly full.
const MAX_SEGMENT_MIB: u64 = 48;
const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn resolve(
    file: &Path,
    root: &Node,
    settings: Settings,
    problems: Vec<Problem>,
) -> Result<Config, Vec<Problem>> {
    let mut check = Check::new(file, root, problems);
    let origin = origin(settings.origin, &mut check);
    let cluster = settings.cluster.unwrap_or_else(|| "main".into());
    if !is_kafka_name(&cluster) {
        check.wrong("cluster", "must be 1 to 249 of a-z A-Z 0-9 . _ -");
    }
    let instance = instance(settings.instance, &mut check);
    let roles = roles(settings.roles, &mut check);
    let kafka = kafka::resolve(settings.kafka, roles, &mut check);
    if !kafka.is_encrypted() && !kafka.brokers.split(',').all(is_local) {
        check.warn("kafka: the connection is not encrypted (kafka.properties: security.protocol)");
    }
    let AlertsSettings { topic, shadow_topic } = settings.alerts;
    let alerts_topic = publish("alerts.topic", topic, "authseal.alerts", &mut check);
    let shadow_topic = shadow_topic.map(|topic| publish("alerts.shadow_topic", Some(topic), "", &mut check));
    let dead_letters_topic =
        publish("dead_letters.topic", settings.dead_letters.topic, "authseal.dead-letters", &mut check);
    let checkpoint_topic = settings.log.checkpoint_topic.clone();
    let checkpoints = checkpoint_topic.as_deref();
    differ((&alerts_topic, &dead_letters_topic), shadow_topic.as_deref(), checkpoints, &mut check);
    let own = topics::OwnTopics([Some(&alerts_topic), Some(&dead_letters_topic), shadow_topic.as_deref(), checkpoints]);
    let choices = settings.topics.iter().map(|topic| {
        let (name, pattern, class) = (topic.name.clone(), topic.pattern.clone(), topic.retention.clone());
        classes::Choice { name, pattern, class }
    });
    let choices: Vec<classes::Choice> = choices.collect();
    let topics = topics::resolve(settings.topics, &own, &mut check);
    let rules = rules(settings.rules, roles, &mut check);
    let registry = registry::resolve(settings.registry, &topics, &mut check);
    let inventory = inventory::resolve(settings.inventory, roles, &mut check);
    let seal = seal(settings.seal, origin.as_deref(), roles, &mut check);
    let heartbeat = seal.as_ref().map_or(HOUR, |seal| seal.heartbeat);
    if registry.as_ref().is_some_and(|registry| registry.wait > heartbeat) {
        let message =
            format!("is longer than seal.heartbeat ({}): a chain that waits would go stale", units::show(heartbeat));
        check.wrong("registry.wait", message);
    }
    if let Some(place) = topics.iter().position(|topic| topic.spec.keep_event_only)
        && seal.as_ref().is_some_and(|seal| seal.withhold_key.is_none())
    {
        let message = "\"event\" replaces tokens by HMACs under a key of yours: set seal.withhold_key_file \
                       (authseal keys generate-withhold writes one)";
        check.wrong(&format!("topics.{place}.keep"), message);
    }
    let withhold = seal.as_ref().and_then(|seal| seal.withhold_key.as_ref());
    let correlate = enrich::correlate(settings.correlate, withhold, &topics, &mut check);
    let enrich = enrich::resolve(settings.enrich, &mut check);
    let store = store::resolve(settings.store, &choices, heartbeat, &mut check);
    let trusted = trusted(settings.trust_file.as_deref(), origin.as_deref(), &mut check);
    let http = listen(settings.http.listen.as_deref(), &mut check);
    let log = log::lines(&settings.log, &mut check);
    let transparency_log = log::transparency(settings.log, origin.as_deref(), roles, &mut check);
    match (origin, instance, seal, store) {
        (Some(origin), Some(instance), Some(seal), Some(store)) if check.problems.is_empty() => Ok(Config {
            file: file.to_owned(),
            origin,
            cluster,
            instance,
            roles,
            kafka,
            topics,
            registry,
            alerts_topic,
            shadow_topic,
            dead_letters_topic,
            enrich,
            correlate,
            rules,
            inventory,
            seal,
            store,
            http,
            log,
            transparency_log,
            trusted,
            warnings: check.warnings,
        }),
        _ => Err(check.problems),
    }
}

/// What is published goes to topics of its own each.
fn differ(
    (alerts, dead_letters): (&str, &str),
    shadow: Option<&str>,
    checkpoints: Option<&str>,
    check: &mut Check<'_>,
) {
    if alerts == dead_letters {
        check.wrong("alerts.topic", "is the dead-letter topic as well: they must be two");
    }
    for (setting, topic) in [("alerts.shadow_topic", shadow), ("log.checkpoint_topic", checkpoints)] {
        for (other, what) in [(alerts, "alerts"), (dead_letters, "dead-letter")] {
            if topic == Some(other) {
                check.wrong(setting, format!("is the {what} topic as well: give it one of its own"));
            }
        }
    }
}

/// C2SP signed notes forbid spaces and plus signs in key names; the manifest is JSON in ASCII of at most 4,096 bytes.
pub(crate) fn check_origin(origin: &str) -> Result<(), &'static str> {
    let allowed = |c: u8| c.is_ascii_graphic() && !matches!(c, b'+' | b'"' | b'\\');
    if !(1..=200).contains(&origin.len()) || !origin.bytes().all(allowed) {
        return Err("must be 1 to 200 printable ASCII characters without spaces, plus signs, quotes and backslashes, \
                    such as auth.example.com/prod");
    }
    if origin.contains("://") || origin.ends_with('/') {
        return Err("must be without scheme and without a slash at its end, such as auth.example.com/prod");
    }
    Ok(())
}

/// `None` when it is missing or wrong: then nothing is said of the key that would have to carry its name.
fn origin(origin: Option<String>, check: &mut Check<'_>) -> Option<String> {
    let Some(text) = origin else {
        check.missing("origin", "a name for this evidence, such as auth.example.com/prod; it is for ever");
        return None;
    };
    match check_origin(&text) {
        Ok(()) => Some(text),
        Err(message) => {
            check.wrong("origin", message);
            None
        }
    }
}

/// The configured name, or the host's. It must survive restarts, so nothing random is in it: two processes on one host
/// need names of their own.
fn instance(instance: Option<String>, check: &mut Check<'_>) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match instance {
        Some(name) => {
            if !(1..=64).contains(&name.len()) || !name.chars().all(plain) {
                check.wrong("instance", "must be 1 to 64 of a-z A-Z 0-9 . _ -");
            }
            Some(name)
        }
        None => {
            let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
            let name = kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
            let name: String = name.trim().chars().filter(|c| plain(*c)).take(64).collect();
            if name.is_empty() {
                check.missing("instance", "the host has no name to take: give this process one that survives restarts");
                return None;
            }
            Some(name)
        }
    }
}

pub(super) fn publish(setting: &str, topic: Option<String>, default: &str, check: &mut Check<'_>) -> String {
    let topic = topic.unwrap_or_else(|| default.into());
    if !is_kafka_name(&topic) {
        check.wrong(setting, format!("{topic:?} is no topic name: 1 to 249 of a-z A-Z 0-9 . _ -"));
    }
    topic
}

fn roles(names: Option<Vec<RoleName>>, check: &mut Check<'_>) -> Roles {
    let names = names.unwrap_or_else(|| vec![RoleName::Seal, RoleName::Detect]);
    if names.is_empty() {
        check.wrong("roles", "names nothing to do: \"seal\", \"detect\", or both");
        // what the one or the other would need is not to be missed as well
        return Roles { seal: true, detect: true };
    }
    Roles { seal: names.contains(&RoleName::Seal), detect: names.contains(&RoleName::Detect) }
}

fn rules(settings: RulesSettings, roles: Roles, check: &mut Check<'_>) -> Rules {
    let dir = settings.dir.map(|dir| check.path(&dir));
    match &dir {
        None if !roles.seal => check.missing("rules.dir", "this process only judges (roles): it needs rules"),
        None if !roles.detect => {}
        None => check.warn("rules.dir is not set: events are sealed, but nothing is judged"),
        Some(dir) => {
            if let Err(error) = std::fs::read_dir(dir) {
                check.wrong("rules.dir", format!("{} cannot be read: {error}", dir.display()));
            }
        }
    }
    if let Some(topic) = settings.state_topic.as_ref().filter(|topic| !is_kafka_name(topic)) {
        let message = format!("{topic:?} is no topic name: 1 to 249 of a-z A-Z 0-9 . _ -");
        check.wrong("rules.state_topic", message);
    }
    Rules {
        dir,
        state_topic: settings.state_topic,
        replay_horizon: check.duration("rules.replay_horizon", settings.replay_horizon, 2 * HOUR),
        lateness: check.duration("rules.lateness", settings.lateness, 5 * MINUTE),
        state_bytes: check.number("rules.state_mib", settings.state_mib, 256, 1, 1 << 20) << 20,
        reload: settings.reload.map_or(Duration::from_secs(5), |span| span.0),
    }
}

fn seal(settings: SealSettings, origin: Option<&str>, roles: Roles, check: &mut Check<'_>) -> Option<Seal> {
    let signer = SignerSettings {
        key: settings.key,
        key_file: settings.key_file,
        passphrase: settings.key_passphrase,
        passphrase_file: settings.key_passphrase_file,
        command: settings.sign_command,
        verifier_key: settings.verifier_key,
        timeout: settings.sign_timeout,
    };
    if !signer.given() && roles.seal {
        check.missing("seal.key_file", "the signing key (authseal keys generate writes one)");
    }
    let signer = signer.resolve("seal", origin.map(crate::store_info::seal_key_name), check);
    let withhold = check.secret("seal.withhold_key", settings.withhold_key, settings.withhold_key_file.as_deref());
    let withhold_key = withhold.and_then(|text| {
        let key = Key32::parse(text.reveal());
        if key.is_none() {
            check.wrong_at(given(check, "seal.withhold_key"), "seal.withhold_key_file", Key32::WRONG);
        }
        key
    });
    let max_mib = check.number("seal.max_mib", settings.max_mib, 32, 1, MAX_SEGMENT_MIB);
    let memory_mib = check.number("seal.memory_mib", settings.memory_mib, 256, 1, 1 << 20);
    if memory_mib < max_mib {
        check.wrong("seal.memory_mib", format!("is smaller than one segment (seal.max_mib = {max_mib})"));
    }
    let max_age = check.duration("seal.max_age", settings.max_age, MINUTE);
    let heartbeat = check.duration("seal.heartbeat", settings.heartbeat, HOUR);
    let grace = check.duration("seal.grace", settings.grace, 15 * MINUTE);
    if heartbeat < max_age {
        check.wrong("seal.heartbeat", format!("is shorter than seal.max_age ({})", units::show(max_age)));
    }
    if grace < max_age {
        let message =
            format!("is shorter than seal.max_age ({}): the promise next_by could not be kept", units::show(max_age));
        check.wrong("seal.grace", message);
    }
    let (codec, level) = codec(settings.codec.unwrap_or_default(), settings.level, check);
    let max_records = check.number("seal.max_records", settings.max_records, 250_000, 1, 10_000_000);
    let shutdown_deadline =
        check.duration("seal.shutdown_deadline", settings.shutdown_deadline, Duration::from_secs(25));
    Some(Seal {
        signer: if roles.seal { Some(signer?) } else { signer },
        withhold_key,
        max_records,
        max_bytes: max_mib << 20,
        max_age,
        heartbeat,
        grace,
        codec,
        level,
        memory_bytes: memory_mib << 20,
        shutdown_deadline,
    })
}

/// The place of a secret: its file's name, or its variable.
fn given(check: &Check<'_>, setting: &str) -> Option<super::Origin> {
    check.origin(&format!("{setting}_file")).or_else(|| check.origin(setting))
}

/// The key of `setting`, which must be called `wanted`.
pub(super) fn signer(
    text: &Secret,
    passphrase: Option<&Secret>,
    setting: &str,
    wanted: Option<String>,
    check: &mut Check<'_>,
) -> Option<Signer> {
    let (place, file) = (given(check, setting), format!("{setting}_file"));
    match signer::read_key(text, passphrase) {
        Ok(signer) => {
            right_name(signer.name(), &file, wanted, check);
            Some(signer)
        }
        Err(error) => {
            check.wrong_at(place, &file, error.to_string());
            None
        }
    }
}

/// Reports a key at `setting` that is called otherwise than `wanted`.
pub(super) fn right_name(name: &str, setting: &str, wanted: Option<String>, check: &mut Check<'_>) {
    let Some(wanted) = wanted.filter(|wanted| wanted != name) else { return };
    let other = wanted.strip_suffix("/seal") == Some(name) || name.strip_suffix("/seal") == Some(&wanted);
    let message = match other {
        true => format!("the key is called {name}, not {wanted}: seal and log have a key each"),
        false => format!("the key is called {name}, not {wanted}: it belongs to another origin"),
    };
    let place = check.origin(setting).or_else(|| given(check, setting.trim_end_matches("_file")));
    check.wrong_at(place, setting, message);
}

/// The keys of `trust_file`.
fn trusted(file: Option<&Path>, origin: Option<&str>, check: &mut Check<'_>) -> Verifiers {
    let place = check.origin("trust_file");
    let Some(bytes) = file.and_then(|file| check.read(place, "trust_file", file)) else { return Verifiers::default() };
    match Trust::parse(&String::from_utf8_lossy(&bytes)) {
        Ok(trust) => {
            let ours = |origin: &str| {
                let seal = crate::store_info::seal_key_name(origin);
                trust.keys.iter().all(|(name, _)| name == origin || name == seal)
            };
            if !origin.is_none_or(ours) {
                check.wrong("trust_file", "a key in it is called neither origin nor origin/seal");
            }
            trust.keys
        }
        Err(error) => {
            check.wrong("trust_file", error.to_string());
            Verifiers::default()
        }
    }
}

fn codec(name: CodecName, level: Option<i32>, check: &mut Check<'_>) -> (Codec, i32) {
    let (codec, default, levels) = match name {
        CodecName::Zstandard => (Codec::Zstandard, 1, 1..=19),
        CodecName::Deflate => (Codec::Deflate, 6, 1..=9),
        CodecName::Snappy => (Codec::Snappy, 0, 0..=0),
        CodecName::Null => (Codec::Null, 0, 0..=0),
    };
    let chosen = level.unwrap_or(default);
    if level.is_some() && *levels.end() == 0 {
        check.wrong("seal.level", "this codec has no levels: take it out");
    } else if !levels.contains(&chosen) {
        check.wrong("seal.level", format!("{chosen} is not between {} and {}", levels.start(), levels.end()));
    }
    (codec, chosen)
}

fn listen(text: Option<&str>, check: &mut Check<'_>) -> SocketAddr {
    let default = SocketAddr::from(([127, 0, 0, 1], 9464));
    let Some(text) = text else { return default };
    match text.parse::<SocketAddr>() {
        Ok(address) => {
            if !address.ip().is_loopback() {
                check.warn(format!("http.listen: {address} answers other machines, without a password"));
            }
            address
        }
        Err(_) => {
            check.wrong("http.listen", "must be an IP address and a port, such as 127.0.0.1:9464 or [::1]:9464");
            default
        }
    }
}

/// Whether `host` or `host:port` is this machine.
pub(super) fn is_local(host: &str) -> bool {
    let name = host.split('/').next().unwrap_or(host);
    let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
    name == "localhost" || name.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}
