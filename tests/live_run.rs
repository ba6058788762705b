//! The main job against a real Kafka and a real S3 endpoint: real input end to end, `kill -9` again and again,
//! hostile input, and every kind of tampering found on a copy of what was sealed.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod live;

use live::{Live, Published, Record, Site, publish, read_topic, show, unique};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn openssh() -> Vec<Record> {
    let text = std::fs::read_to_string(root().join("tests/data/openssh/events.ndjson")).unwrap();
    let record = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        let key = event["user"].as_str().map(|user| user.as_bytes().to_vec());
        Record { key, value: Some(line.as_bytes().to_vec()), ..Record::default() }
    };
    text.lines().map(record).collect()
}

/// The verifier in Python, which shares nothing with ours: its exit code and what it counted.
fn independent(live: &Live, site: &Site, store: &Path) -> (i32, Value) {
    let script = root().join("tests/independent/verify_store.py");
    let output = Command::new(&live.python).arg(script).arg(store).arg(site.path("seal.vkey")).output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", show(&output)));
    (output.status.code().unwrap(), json)
}

/// Every leaf of every segment as a second Avro implementation reads it: partition, offset, kind, SHA-256 of the value.
fn leaves(live: &Live, store: &Path) -> Vec<(i32, i64, String, Option<String>)> {
    let script = root().join("tests/independent/leaves.py");
    let output = Command::new(&live.python).arg(script).arg(store).output().unwrap();
    assert!(output.status.success(), "{}", show(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let leaf = |line: &str| {
        let parts: Vec<&str> = line.split('\t').collect();
        let value = (parts[3] != "-").then(|| parts[3].to_string());
        (parts[0].parse().unwrap(), parts[1].parse().unwrap(), parts[2].to_string(), value)
    };
    text.lines().map(leaf).collect()
}

/// Every published record is sealed exactly once, with the bytes that were published.
fn assert_each_sealed_once(published: &Published, leaves: &[(i32, i64, String, Option<String>)]) {
    let mut sealed = BTreeMap::new();
    for (partition, offset, kind, value) in leaves {
        assert_ne!(kind, "GAP", "{partition}@{offset}");
        let before = sealed.insert((*partition, *offset), value.clone());
        assert!(before.is_none(), "{partition}@{offset} is sealed twice");
    }
    assert_eq!(sealed.len(), published.len());
    for (place, digest) in published {
        assert_eq!(sealed.get(place), Some(&digest.map(|d| d.hex())), "{place:?}");
    }
}

#[tokio::test]
async fn a_real_brute_force_is_sealed_proven_and_named() {
    let Some(live) = Live::get() else { return };
    let topic = unique("ssh");
    let site = Site::new(&live, &topic, 4, "json", "").await;
    let published = publish(&live.kafka, &topic, openssh());
    assert_eq!(published.len(), 534);
    let one = site.run("one");
    site.wait_until_sealed(&live, 534, 90);
    let alerts = wait_for_alerts(&live, &site, &["183.62.140.253", "187.141.143.180", "103.99.0.122"]);
    assert_eq!(one.terminate(), Some(0), "{}", site.log("one"));

    let (code, report) = site.verify(&site.store(&live));
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["verdicts"]["integrity"], json!("good"), "{report:#}");
    assert_eq!(report["verdicts"]["completeness"], json!("good"), "{report:#}");
    assert_eq!(report["totals"]["events"], json!(534));

    let copy = site.path("copy");
    site.download(&live, &copy).await;
    assert_each_sealed_once(&published, &leaves(&live, &copy));
    let (code, summary) = independent(&live, &site, &copy);
    assert_eq!(code, 0, "{summary}");

    let file = site.path("alerts.ndjson");
    let lines: Vec<String> = alerts.iter().map(Value::to_string).collect();
    std::fs::write(&file, lines.join("\n") + "\n").unwrap();
    let script = root().join("tests/ocsf/validate.py");
    let schema = root().join("tests/ocsf/schema/detection_finding.schema.json");
    let output = Command::new(&live.python).arg(script).arg(schema).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", show(&output));
    for alert in &alerts {
        let evidence = alert["evidences"].to_string();
        assert!(
            evidence.contains(&format!("main/{topic}/")),
            "an alert names the positions of its evidence: {alert:#}"
        );
    }
}

fn wait_for_alerts(live: &Live, site: &Site, sources: &[&str]) -> Vec<Value> {
    for _ in 0..60 {
        let alerts: Vec<Value> = read_topic(&live.kafka, &site.alerts)
            .iter()
            .map(|m| serde_json::from_slice(m.value.as_deref().unwrap()).unwrap())
            .collect();
        let named = |source: &&str| {
            alerts.iter().any(|alert| alert["finding_info"]["title"].as_str().unwrap_or_default().contains(*source))
        };
        if sources.iter().all(named) {
            return alerts;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    panic!("not every one of {sources:?} was named by an alert\n{}", site.log("one"));
}

#[tokio::test]
async fn ten_times_killed_in_the_middle_and_every_offset_is_sealed_exactly_once() {
    let Some(live) = Live::get() else { return };
    const EVENTS: u64 = 200_000;
    let topic = unique("kill");
    let site = Site::new(&live, &topic, 4, "json", "").await;
    let event = |n: u64| {
        let value = json!({"event_id": n.to_string(), "time": "2026-01-01T00:00:00Z", "activity": "LOGON",
            "outcome": "SUCCESS", "user": format!("u{}", n % 997), "src_ip": "10.0.0.1"});
        Record { key: Some(n.to_string().into()), value: Some(value.to_string().into()), ..Record::default() }
    };
    let (kafka, name) = (live.kafka.clone(), topic.clone());
    let producer = std::thread::spawn(move || {
        let mut published = Published::new();
        for part in 0..10 {
            published.extend(publish(&kafka, &name, (part * EVENTS / 10..(part + 1) * EVENTS / 10).map(event)));
            std::thread::sleep(Duration::from_millis(1500));
        }
        published
    });
    let names = ["one", "two"];
    let mut instances = names.map(|name| Some(site.run(name)));
    for round in 0..10 {
        std::thread::sleep(Duration::from_millis(2000 + 130 * round as u64));
        let who = round % 2;
        instances[who].take().unwrap().kill();
        instances[who] = Some(site.run(names[who]));
    }
    let published = producer.join().unwrap();
    assert_eq!(published.len() as u64, EVENTS);
    site.wait_until_sealed(&live, EVENTS as i64, 120);
    for instance in instances {
        instance.unwrap().terminate();
    }
    let (code, report) = site.verify(&site.store(&live));
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["totals"]["events"], json!(EVENTS));
    let copy = site.path("copy");
    site.download(&live, &copy).await;
    assert_each_sealed_once(&published, &leaves(&live, &copy));
}

#[tokio::test]
async fn ten_thousand_hostile_records_are_all_accounted_for() {
    let Some(live) = Live::get() else { return };
    const RECORDS: usize = 10_000;
    let topic = unique("hostile");
    let site = Site::new(&live, &topic, 2, "json", "").await;
    let good = openssh();
    let mut random = Splitmix(0xbad);
    let records: Vec<Record> = (0..RECORDS).map(|n| hostile(&mut random, &good[n % good.len()])).collect();
    let published = publish(&live.kafka, &topic, records);
    let one = site.run("one");
    let report = site.wait_until_sealed(&live, RECORDS as i64, 90);
    let rejections = report["totals"]["rejections"].as_u64().unwrap() as usize;
    assert!(rejections > RECORDS / 4, "{report:#}");
    let mut dead = Vec::new();
    for _ in 0..60 {
        dead = read_topic(&live.kafka, &site.dead_letters);
        if dead.len() >= rejections {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    let position = |m: &live::Read| String::from_utf8(m.headers["authseal-position"].clone()).unwrap();
    let positions: BTreeSet<String> = dead.iter().map(position).collect();
    assert_eq!(positions.len(), rejections, "every rejection is a dead letter");
    assert!(dead.iter().all(|m| !m.headers["authseal-code"].is_empty()));
    assert_eq!(one.terminate(), Some(0), "{}", site.log("one"));
    let (code, report) = site.verify(&site.store(&live));
    assert_eq!(code, 0, "{report:#}");
    let copy = site.path("copy");
    site.download(&live, &copy).await;
    let leaves = leaves(&live, &copy);
    assert_eq!(leaves.len(), published.len());
    let sealed: BTreeSet<_> = leaves.iter().map(|(partition, offset, ..)| (*partition, *offset)).collect();
    assert_eq!(sealed, published.keys().copied().collect());
}

struct Splitmix(u64);

impl Splitmix {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.below(256) as u8).collect()
    }
}

/// Random bytes, or a good record with some bytes changed, cut or repeated; random headers, keys and timestamps.
fn hostile(random: &mut Splitmix, good: &Record) -> Record {
    let mut value = good.value.clone().unwrap();
    match random.below(5) {
        0 => value = random.bytes(300),
        1 => value.truncate(random.below(value.len())),
        2 => value.extend(random.bytes(20)),
        _ => {
            for _ in 0..=random.below(4) {
                let at = random.below(value.len());
                value[at] = random.below(256) as u8;
            }
        }
    }
    let timestamps =
        [None, Some(0), Some(1), Some(i64::MAX), Some(4_102_444_800_000), Some(random.below(1 << 50) as i64)];
    let headers = (0..random.below(4)).map(|_| {
        let name: String = random.bytes(12).into_iter().filter(|b| *b != 0).map(char::from).collect();
        (name, (random.below(3) > 0).then(|| random.bytes(40)))
    });
    Record {
        headers: headers.collect(),
        key: (random.below(3) > 0).then(|| random.bytes(30)),
        value: (random.below(50) > 0).then_some(value),
        timestamp: timestamps[random.below(timestamps.len())],
        partition: None,
    }
}

#[tokio::test]
async fn what_is_done_to_a_copy_is_found_and_named() {
    let Some(live) = Live::get() else { return };
    let topic = unique("tamper");
    let site = Site::new(&live, &topic, 1, "json", "").await;
    let one = site.run("one");
    for part in openssh().chunks(90) {
        publish(&live.kafka, &topic, part.to_vec());
        std::thread::sleep(Duration::from_millis(2500));
    }
    site.wait_until_sealed(&live, 534, 60);
    assert_eq!(one.terminate(), Some(0));
    let store = site.path("store");
    site.download(&live, &store).await;
    assert_eq!(site.verify(&store.display().to_string()).0, 0);
    assert_eq!(independent(&live, &site, &store).0, 0);
    let chain = store.join(format!("chains/main/{topic}/00000/0000"));
    let mut files: Vec<PathBuf> = std::fs::read_dir(&chain).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    let name = |file: &Path| file.file_name().unwrap().to_string_lossy().into_owned();

    // one flipped bit
    let bytes = std::fs::read(&files[2]).unwrap();
    let mut flipped = bytes.clone();
    let at = flipped.len() - 40;
    flipped[at] ^= 1;
    std::fs::write(&files[2], &flipped).unwrap();
    expect(&live, &site, &store, 10, &name(&files[2]));
    std::fs::write(&files[2], &bytes).unwrap();

    // one removed segment
    let third = std::fs::read(&files[3]).unwrap();
    std::fs::remove_file(&files[3]).unwrap();
    expect(&live, &site, &store, 11, "missing_segment");
    // a swapped pair
    let other = std::fs::read(&files[4]).unwrap();
    std::fs::write(&files[3], &other).unwrap();
    std::fs::write(&files[4], &third).unwrap();
    expect(&live, &site, &store, 10, &name(&files[3]));
    std::fs::write(&files[3], &third).unwrap();
    std::fs::write(&files[4], &other).unwrap();
    assert_eq!(site.verify(&store.display().to_string()).0, 0);

    // one removed record: named by its position
    let offset = 5 + authseal::segment::read::records(&third).unwrap().next().unwrap().unwrap().offset();
    std::fs::write(&files[3], authseal::segment::without_record(&third, offset).unwrap()).unwrap();
    expect(&live, &site, &store, 10, &format!("main/{topic}/0/0@{offset}"));
}

/// Both verifiers find it, with the exit code, and ours names it.
fn expect(live: &Live, site: &Site, store: &Path, code: i32, names: &str) {
    let (ours, report) = site.verify(&store.display().to_string());
    assert_eq!(ours, code, "{report:#}");
    assert!(report["findings"].to_string().contains(names), "{names} is not named: {report:#}");
    let (theirs, summary) = independent(live, site, store);
    assert_ne!(theirs, 0, "{summary}");
}
