//! Rules that look back further than a restart reads again, against a real Kafka: killed in the middle again and again
//! and moved between processes, they find what they find when nothing happens to them.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod live;

use live::{Live, Record, Site, create_compacted, publish, read_topic, unique};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    thread::sleep,
    time::{Duration, Instant},
};

/// Half a day of windows, a month of memory; a restart reads a quarter of an hour again.
const RULES: [(&str, &str); 2] = [
    (
        "slow",
        r#"rule("SLOW-1", #{ name: "slow guessing", severity: LOW, mode: "live",
            when: activity == LOGON & outcome == FAILURE, key: [user], window: "12h",
            agg: #{ failures: count(), sources: distinct(src_ip) }, at_least: #{ failures: 3, sources: 2 },
            dedup: "6h", update_on: #{ failures: "x2" } });"#,
    ),
    (
        "known",
        r#"marker("seen", #{ when: activity == LOGON & outcome == SUCCESS, key: [user, src_ip], ttl: "30d" });
        rule("NEW-1", #{ name: "not from here before", severity: LOW, mode: "live",
            when: activity == LOGON & outcome == SUCCESS, key: [user, src_ip], dedup: "1h", wait: "1m" });
        fn decide(e, w) { e.mark("seen").missing }"#,
    ),
];
const EVENTS: u64 = 60_000;
const PARTITIONS: i32 = 4;
const KILLS: usize = 6;

/// Three and a half days of logons, keyed by user.
fn event(n: u64) -> Record {
    let random = (n ^ 0x5eed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let user = format!("u{}", random % 997);
    let outcome = if (random >> 20).is_multiple_of(8) { "FAILURE" } else { "SUCCESS" };
    let time = 1_767_225_600_000 + n as i64 * 5_000;
    let value = json!({"event_id": n.to_string(), "time": time, "activity": "LOGON", "outcome": outcome,
        "user": user, "src_ip": format!("10.0.0.{}", (random >> 40) % 5)});
    Record { key: Some(user.into()), value: Some(value.to_string().into()), timestamp: Some(time), ..Record::default() }
}

/// A site with these rules. `kept` says where their state lies; without it a restart reads everything again.
async fn site(live: &Live, topic: &str, kept: Option<&str>) -> Site {
    let site = Site::beside(live, topic, "json").await;
    std::fs::create_dir(site.path("rules")).unwrap();
    for (name, text) in RULES {
        std::fs::write(site.path(&format!("rules/{name}.rhai")), text).unwrap();
    }
    let file = site.path("authseal.toml");
    let shipped = format!("dir = \"{}/rules\"", env!("CARGO_MANIFEST_DIR"));
    let state = match kept {
        Some(topic) => format!("replay_horizon = \"15m\"\nstate_topic = \"{topic}\""),
        None => "replay_horizon = \"40d\"".into(),
    };
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(&shipped));
    let own = format!("dir = \"{}\"\nreload = \"0s\"\n{state}", site.path("rules").display());
    std::fs::write(&file, text.replace(&shipped, &own)).unwrap();
    site
}

/// The ids of all findings on the alerts topic, without those that tell one again. Which steps of growing an update
/// leaves out depends on how much was read at once.
fn findings(live: &Live, site: &Site) -> BTreeSet<String> {
    let alerts = read_topic(&live.kafka, &site.alerts);
    let id = |message: &live::Read| {
        let alert: Value = serde_json::from_slice(message.value.as_deref().unwrap()).unwrap();
        assert!(!alert.to_string().contains("window_truncated"), "{alert:#}");
        alert["finding_info"]["uid"].as_str().unwrap().to_owned()
    };
    alerts.iter().map(id).collect()
}

#[tokio::test]
async fn durable_rules_find_the_same_however_often_their_processes_are_killed() {
    let Some(live) = Live::get() else { return };
    let (topic, state) = (unique("durable"), unique("state"));
    live::create_topics(&live.kafka, &[(&topic, PARTITIONS)]).await;
    create_compacted(&live.kafka, &state, 3).await;
    let (disturbed, calm) = (site(&live, &topic, Some(&state)).await, site(&live, &topic, None).await);
    let (kafka, name) = (live.kafka.clone(), topic.clone());
    let producer = std::thread::spawn(move || {
        for part in 0..12 {
            publish(&kafka, &name, (part * EVENTS / 12..(part + 1) * EVENTS / 12).map(event));
            sleep(Duration::from_millis(2800));
        }
    });
    let names = ["one", "two"];
    let mut instances = names.map(|name| Some(disturbed.run(name)));
    for round in 0..KILLS {
        sleep(Duration::from_millis(5200 + 170 * round as u64));
        let who = round % 2;
        instances[who].take().unwrap().kill();
        instances[who] = Some(disturbed.run(names[who]));
    }
    producer.join().unwrap();
    let quiet = calm.run("one");
    disturbed.wait_until_sealed(&live, EVENTS as i64, 180);
    calm.wait_until_sealed(&live, EVENTS as i64, 120);

    // idle partitions let the last judgements go
    let began = Instant::now();
    let (mut found, mut wanted) = (BTreeSet::new(), BTreeSet::new());
    while began.elapsed() < Duration::from_secs(90) {
        (found, wanted) = (findings(&live, &disturbed), findings(&live, &calm));
        let rules = ["SLOW-1", "NEW-1"].map(|rule| wanted.iter().filter(|uid| uid.starts_with(rule)).count());
        if found == wanted && began.elapsed() > Duration::from_secs(20) {
            assert!(rules.iter().all(|count| *count > 100), "{rules:?}");
            break;
        }
        sleep(Duration::from_secs(1));
    }
    let logs = || names.map(|name| disturbed.log(name)).join("\n");
    let missed: Vec<_> = wanted.difference(&found).collect();
    let more: Vec<_> = found.difference(&wanted).collect();
    assert!(missed.is_empty() && more.is_empty(), "missed {missed:?}, only there {more:?}\n{}", logs());
    for instance in instances {
        instance.unwrap().terminate();
    }
    assert_eq!(quiet.terminate(), Some(0));
    let log = logs();
    let restored = |line: &&str| line.contains("state of the rules restored") && !line.contains("records=0");
    let count = log.lines().filter(restored).count();
    // on a busy machine one is killed before it has its partitions
    assert!(count >= KILLS / 2, "only {count} times\n{log}");
    assert_eq!(disturbed.verify(&disturbed.store(&live)).0, 0);
}
