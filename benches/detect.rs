//! What judging an event costs with 25 rules: the shipped ones and variants of them, on ordinary traffic and under
//! attack.

#![allow(clippy::unwrap_used, missing_docs)]

use authseal::{
    artifact::File,
    detect::{Detector, Input, Limits, RuleSet},
    event::{Activity, AuthEvent, Factor, Micros, Outcome as Ended},
    position::ChainId,
    record::Outcome,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::{path::Path, sync::Arc, time::Duration};

const BATCH: i64 = 1000;
const START: i64 = 1_796_000_000_000;

/// 25 rules: the four that are shipped, and variants on other keys and activities.
fn rules() -> Arc<RuleSet> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let names = ["credential_stuffing", "password_spray", "lockout_storm", "brute_force"];
    let variants = [
        ("LOGON", "src_ip"),
        ("STEP_UP", "session"),
        ("MFA_CHALLENGE", "user_id"),
        ("PASSWORD_RESET", "actor"),
        ("TOKEN_REFRESH", "token_family"),
        ("PRIVILEGED_ACTION", "device"),
        ("LOGON", "device"),
    ];
    let mut files =
        vec![File { path: "lists/trusted_egress.txt".into(), bytes: read("lists/trusted_egress.txt").into() }];
    'all: for (variant, (activity, key)) in variants.iter().enumerate() {
        for name in names {
            if files.len() == 26 {
                break 'all;
            }
            let text = read(&format!("{name}.rhai"));
            let text = text
                .replace("AUTH-", &format!("V{variant}-"))
                .replace("activity == LOGON", &format!("activity == {activity}"));
            let text =
                if *key == "src_ip" { text } else { text.replace("[tenant, src_ip]", &format!("[tenant, {key}]")) };
            files.push(File { path: format!("{name}_{variant}.rhai"), bytes: text.into() });
        }
    }
    let rules = RuleSet::load(&files).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(rules.rules().len(), 25);
    Arc::new(rules)
}

/// Makes a batch of events, each with an id and a time of its own.
struct Traffic {
    number: i64,
    attack: bool,
}

impl Traffic {
    fn batch(&mut self) -> Vec<Outcome> {
        (0..BATCH)
            .map(|_| {
                self.number += 1;
                Outcome::Event(Box::new(self.event()))
            })
            .collect()
    }

    fn event(&self) -> AuthEvent {
        let n = self.number;
        let failed = self.attack || n % 33 == 0;
        let source = if self.attack { n % 3 } else { n * 7919 % 50_000 };
        AuthEvent {
            event_id: format!("7d3a1c52-0000-4000-8000-{n:012}").into(),
            time: Micros(START * 1000 + n * 1000),
            source: if n % 2 == 0 { "okta" } else { "keycloak" }.into(),
            tenant: Some("acme".into()),
            activity: match n % 10 {
                _ if failed => Activity::Logon,
                0..=5 => Activity::Logon,
                6 => Activity::TokenRefresh,
                7 => Activity::StepUp,
                8 => Activity::ResourceAccess,
                _ => Activity::PrivilegedAction,
            },
            outcome: if failed { Ended::Failure } else { Ended::Success },
            reason: failed.then(|| "invalid_credentials".into()),
            user: Some(format!("user{}", n * 31 % 20_000).into()),
            src_ip: Some(format!("10.{}.{}.{}", source >> 16, (source >> 8) & 255, source & 255).as_str().into()),
            device: Some(format!("device{}", n % 9_000).into()),
            user_agent: Some("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36".into()),
            factor: Factor::Password,
            ..AuthEvent::default()
        }
    }
}

fn judge(c: &mut Criterion) {
    let rules = rules();
    let chain: Arc<ChainId> = Arc::new("main/auth.events/0/0".parse().unwrap());
    let mut group = c.benchmark_group("25 rules");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, attack) in [("ordinary traffic", false), ("three sources attack", true)] {
        let limits = Limits { state_bytes: 128 << 20, lateness: Duration::from_secs(600) };
        let mut detector = Detector::new(rules.clone(), limits);
        let (mut traffic, mut offset, mut findings) = (Traffic { number: 0, attack }, 0, Vec::new());
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || traffic.batch(),
                |batch| {
                    for outcome in batch.iter() {
                        offset += 1;
                        let now = START + offset;
                        detector.judge(&Input { chain: &chain, offset, timestamp: now, now, outcome }, &mut findings);
                    }
                    findings.clear();
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, judge);
criterion_main!(benches);
