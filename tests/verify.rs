//! The audit of stores that nobody tampered with, and its own behaviour: what it counts, says, bounds and refuses.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

mod lab;

use authseal::{
    audit::{self, Freshness, Progress, Report, VerifyOptions},
    error::{Kind, Result},
    layout,
    note::Verifiers,
    record::GapCause,
    retention::Retention,
    segment::Codec,
    store::{
        Store,
        dir::DirStore,
        memory::{Call, Failure, Fault, MemoryStore, Verb},
    },
};
use lab::stores::{Script, Watched};
use lab::*;
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

fn keys() -> Verifiers {
    Verifiers::of(&signer(ORIGIN, 1))
}

async fn with(store: impl Store, options: VerifyOptions) -> Result<Report> {
    audit::verify(Arc::new(store), &keys(), options).await
}

fn codes(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|f| f.name).collect()
}

#[tokio::test]
async fn a_good_store_is_counted_to_the_record() {
    let progress = Arc::new(Progress::default());
    let options = VerifyOptions { progress: Some(Arc::clone(&progress)), ..VerifyOptions::new(NOW) };
    let store = memory(&STORE).await;
    let report = with(store, options).await.unwrap();
    assert_eq!(report.exit_code(), 0, "{report}");
    assert!(report.findings.is_empty());
    let t = report.totals;
    assert_eq!((t.chains, t.segments, t.verified, t.artifacts), (4, 13, 13, 2));
    // 40 + 20 + 28 + 20 records, and a leaf for each of two gaps
    assert_eq!((t.records, t.events + t.rejections + t.opaque), (110, 108));
    assert_eq!((t.gaps.before_chain, t.gaps.not_delivered, t.gaps.lost), (4, 2, 0));
    let bytes: usize = STORE.iter().filter(|(key, _)| *key != "store.json").map(|(_, b)| b.len()).sum();
    assert_eq!(t.bytes, bytes as u64);
    let p = &progress;
    let counted = [&p.chains, &p.chains_done, &p.segments, &p.segments_done].map(|n| n.load(Relaxed));
    assert_eq!(counted, [4, 4, 13, 13]);
    assert_eq!(p.records.load(Relaxed), 110);
    assert!(p.bytes.load(Relaxed) > bytes as u64);

    let names: Vec<String> = report.chains.iter().map(|c| c.chain.to_string()).collect();
    assert_eq!(names, ["main/auth/0/0", "main/auth/1/0", "main/auth/1/1", "main/logins/0/0"]);
    let first = &report.chains[0];
    assert_eq!((first.offsets.unwrap().from, first.offsets.unwrap().to), (0, 40));
    assert_eq!(first.sequences.unwrap().to, Some(5));
    let behind = first.behind.unwrap();
    assert_eq!((behind.sealed_to, behind.known_to, behind.offsets), (40, 45, 5));
    assert_eq!(first.signed_by, [signer(ORIGIN, 1).verifier_key().split('+').nth(1).unwrap()]);
    assert!(report.chains[1].superseded && report.chains[1].next_by.is_none());
    assert!(report.chains[3].closed && report.chains[3].next_by.is_none());
}

#[tokio::test]
async fn the_report_does_not_depend_on_the_number_of_jobs() {
    let lab = Lab::of(&STORE).await;
    lab.remove(&key("main/auth/0/0", 1));
    lab.write(&key("main/auth/1/1", 1), b"x");
    lab.write("chains/a", b"x");
    let mut reports = Vec::new();
    for jobs in [0, 1, 2, 16] {
        let options = VerifyOptions { jobs, ..VerifyOptions::new(NOW) };
        reports.push(with(lab.store(), options).await.unwrap());
    }
    assert!(reports.iter().all(|report| *report == reports[0]), "{}", reports[0]);
    assert_eq!(reports[0].to_json().unwrap(), reports[3].to_json().unwrap());
}

#[tokio::test]
async fn a_store_without_chains_is_no_pass() {
    let empty = MemoryStore::new();
    let report = with(empty, VerifyOptions::new(NOW)).await.unwrap();
    assert_eq!((report.exit_code(), codes(&report)), (11, vec!["no_chains", "store_json_missing"]));
    assert_eq!(report.verdicts.freshness, "not_checked");
    let claimed = MemoryStore::new();
    claimed.create("store.json", store_json(ORIGIN), &Retention::NONE).await.unwrap();
    let report = with(claimed, VerifyOptions::new(NOW)).await.unwrap();
    assert_eq!((report.exit_code(), codes(&report)), (11, vec!["no_chains"]));
}

#[tokio::test]
async fn what_cannot_be_checked_is_an_error_and_no_report() {
    let store = Arc::new(memory(&STORE).await);
    let error = audit::verify(store, &Verifiers::default(), VerifyOptions::new(NOW)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{error}");
    let nowhere = DirStore::new("/nonexistent/authseal");
    let error = with(nowhere, VerifyOptions::new(NOW)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{error}");
}

#[tokio::test]
async fn another_key_is_a_failure_of_every_segment() {
    let other = Verifiers::of(&signer(ORIGIN, 2));
    let report = verify(Arc::new(memory(&STORE).await), &other).await;
    assert_eq!((report.exit_code(), report.finding_counts.integrity, report.totals.verified), (10, 13, 0));
    assert!(codes(&report).iter().all(|code| *code == "unknown_key"), "{report}");
    let named = signer(ORIGIN, 1).verifier_key().rsplit_once('+').unwrap().0.to_owned();
    assert!(report.findings[0].detail.ends_with(&format!("it names {named}")), "{report}");
    let given = signer(ORIGIN, 2).verifier_key().rsplit_once('+').unwrap().0.to_owned();
    assert_eq!(report.keys, [given]);
    // both keys together are fine, and the report says who signed what
    let both = format!("{}{}", other.text(), keys().text());
    let report = verify(Arc::new(memory(&STORE).await), &Verifiers::parse(&both).unwrap()).await;
    assert_eq!(report.exit_code(), 0);
}

#[tokio::test]
async fn gaps_are_told_at_their_offsets() {
    for (cause, code, exit) in [
        (GapCause::Lost, "gap_lost", 11),
        (GapCause::Unexplained, "gap_unexplained", 11),
        (GapCause::Skipped, "gap_skipped", 0),
    ] {
        let mut objects = STORE.clone();
        let mut sealer = Sealer::new("main/gappy/0/0", Codec::Zstandard);
        sealer.seal(Part::Records(10));
        sealer.seal(Part::Gap(3, cause, 6));
        sealer.put(&mut objects);
        let report = verify(Arc::new(memory(&objects).await), &keys()).await;
        assert_eq!((report.exit_code(), codes(&report)), (exit, vec![code]), "{report}");
        let place = &report.findings[0].place;
        assert_eq!(place.position().unwrap(), "main/gappy/0/0@13");
        assert_eq!((place.sequence, place.offsets.unwrap().to), (Some(1), Some(19)));
        assert_eq!(report.totals.verified, 15, "a gap is honest: its segment is good");
        assert!(report.chains.iter().all(|c| c.first_break.is_none()));
    }
}

#[tokio::test]
async fn a_gap_is_told_also_when_its_segment_is_broken() {
    let mut objects = STORE.clone();
    let mut sealer = Sealer::new("main/gappy/0/0", Codec::Null);
    sealer.seal(Part::Gap(3, GapCause::Lost, 6));
    sealer.put(&mut objects);
    let lab = Lab::of(&objects).await;
    lab.edit(&key("main/gappy/0/0", 0), |bytes| *bytes.last_mut().unwrap() ^= 1);
    let report = lab.verify().await;
    assert_eq!(codes(&report), ["body_digest", "sync_marker", "gap_lost"], "{report}");
}

#[tokio::test]
async fn many_gaps_of_a_segment_are_listed_in_part_and_counted_in_full() {
    let mut sealer = Sealer::new("main/gappy/0/0", Codec::Zstandard);
    let mut builder = authseal::segment::SegmentBuilder::new(0, Codec::Zstandard, 3);
    for n in 0..150 {
        let gap = authseal::record::Gap { from: 2 * n, to: 2 * n + 1, cause: GapCause::Skipped };
        builder.push_gap(gap).unwrap();
        let (raw, decoded) = decoded(2 * n + 1);
        builder.push_record(&raw, &decoded).unwrap();
    }
    let draft = builder.finish().unwrap();
    let manifest = sealer.manifest(Part::Records(0), &draft);
    sealer.out.push(authseal::segment::seal(draft, manifest, &sealer.signer).unwrap());
    let mut objects = Objects::new();
    objects.insert("store.json".into(), store_json(ORIGIN));
    sealer.put(&mut objects);
    let report = verify(Arc::new(memory(&objects).await), &keys()).await;
    assert_eq!(report.exit_code(), 0, "{report}");
    assert_eq!((report.finding_counts.notices, report.totals.gaps.skipped), (101, 150));
    assert!(codes(&report).contains(&"gaps_not_listed"));
}

#[tokio::test]
async fn freshness_is_told_and_fails_only_when_asked_for() {
    let store = memory(&STORE).await;
    let later = NOW + 10 * 3_600_000;
    let run = |now, freshness| with(store.clone(), VerifyOptions { freshness, ..VerifyOptions::new(now) });
    let report = run(NOW, Freshness::Promised).await.unwrap();
    assert_eq!((report.exit_code(), report.verdicts.freshness), (0, "good"));
    let report = run(later, Freshness::Tell).await.unwrap();
    assert_eq!((report.exit_code(), report.verdicts.freshness, report.findings.len()), (0, "stale", 0));
    // two of the four chains: one was superseded, one closed
    assert_eq!(report.freshness.stale_chains, 2);
    let report = run(later, Freshness::Promised).await.unwrap();
    assert_eq!((report.exit_code(), codes(&report)), (12, vec!["stale", "stale"]));
    let report = run(NOW, Freshness::MaxAge(3_600_000)).await.unwrap();
    assert_eq!(report.exit_code(), 0, "{report}");
    let report = run(NOW, Freshness::MaxAge(1000)).await.unwrap();
    assert_eq!((report.exit_code(), report.freshness.max_age), (12, Some(1000)));
    // whatever else fails comes first
    store.mark_deleted(&key("main/auth/0/0", 0));
    let report = with(store.clone(), VerifyOptions { freshness: Freshness::Promised, ..VerifyOptions::new(later) });
    assert_eq!(report.await.unwrap().exit_code(), 13);
}

#[tokio::test]
async fn a_segment_from_the_future_is_a_notice() {
    let store = memory(&STORE).await;
    let report = with(store, VerifyOptions::new(BEGAN - 3_600_000)).await.unwrap();
    assert_eq!(report.exit_code(), 0, "{report}");
    assert_eq!(report.finding_counts.notices, 13);
    assert!(codes(&report).iter().all(|code| *code == "sealed_in_future"));
}

#[tokio::test]
async fn the_list_of_findings_is_bounded_and_the_counts_are_not() {
    let lab = Lab::of(&STORE).await;
    for n in 0..50 {
        lab.write(&format!("chains/stray-{n:02}"), b"x");
    }
    lab.remove(&key("main/auth/0/0", 1));
    let options = VerifyOptions { max_findings: 5, ..VerifyOptions::new(NOW) };
    let report = with(lab.store(), options).await.unwrap();
    let counts = report.finding_counts;
    assert_eq!((counts.integrity, counts.completeness, counts.listed, report.findings.len()), (50, 1, 5, 5));
    assert_eq!(report.findings[0].place.key.as_deref(), Some("chains/stray-00"));
    // not listed, and still known: the chain's own first break is kept apart
    assert_eq!(report.chains[0].first_break.as_ref().unwrap().name, "missing_segment");
    assert!(report.to_string().contains("… and 46 more"), "{report}");
}

#[tokio::test]
async fn a_chain_longer_than_a_page_is_walked_to_its_end() {
    let mut objects = Objects::new();
    objects.insert("store.json".into(), store_json(ORIGIN));
    let mut sealer = Sealer::new("main/long/0/0", Codec::Null);
    for _ in 0..2100 {
        sealer.seal(Part::Heartbeat);
    }
    sealer.put(&mut objects);
    let whole = memory(&objects).await;
    let options = || VerifyOptions { jobs: 3, ..VerifyOptions::new(NOW + 1_000_000_000) };
    let report = with(whole.clone(), options()).await.unwrap();
    assert_eq!((report.exit_code(), report.totals.verified), (0, 2100), "{report}");
    for n in [999, 1000, 1001, 2000] {
        let store = whole.fork();
        store.remove(&key("main/long/0/0", n));
        let report = with(store, options()).await.unwrap();
        assert_eq!((report.exit_code(), codes(&report)), (11, vec!["missing_segment"]), "{report}");
        assert_eq!(report.findings[0].place.sequence, Some(n));
    }
}

#[tokio::test]
async fn faults_of_the_moment_are_tried_again() {
    let store = memory(&STORE).await;
    let mut n = 0;
    store.set_faults(Script(move |_: &Call<'_>| {
        n += 1;
        if n % 7 == 0 { Fault::lost(Failure::Unavailable) } else { Fault::NONE }
    }));
    let report = with(store, VerifyOptions { jobs: 16, ..VerifyOptions::new(NOW) }).await.unwrap();
    assert_eq!(report.exit_code(), 0, "{report}");
}

#[tokio::test]
async fn one_object_that_cannot_be_read_is_a_finding_and_a_store_that_is_away_is_an_error() {
    let one = key("main/auth/0/0", 1);
    for failure in [Failure::Forbidden, Failure::Timeout] {
        let store = memory(&STORE).await;
        let one = one.clone();
        store.set_faults(Script(move |call: &Call<'_>| {
            if call.key == one && call.verb == Verb::Read { Fault::lost(failure) } else { Fault::NONE }
        }));
        let report = with(store, VerifyOptions::new(NOW)).await.unwrap();
        assert_eq!((report.exit_code(), codes(&report)), (11, vec!["unreadable"]), "{report}");
    }
    let store = memory(&STORE).await;
    store.set_faults(Script(|call: &Call<'_>| {
        let away = call.verb == Verb::Read && call.key.starts_with("chains/");
        if away { Fault::lost(Failure::Timeout) } else { Fault::NONE }
    }));
    let options = VerifyOptions { jobs: 16, ..VerifyOptions::new(NOW) };
    assert_eq!(with(store, options).await.unwrap_err().kind(), Kind::Retry);
    let store = memory(&STORE).await;
    store.set_faults(Script(|call: &Call<'_>| match call.verb {
        Verb::List => Fault::lost(Failure::Forbidden),
        _ => Fault::NONE,
    }));
    assert_eq!(with(store, VerifyOptions::new(NOW)).await.unwrap_err().kind(), Kind::Config);
}

#[tokio::test]
async fn no_more_segments_are_held_than_there_are_jobs() {
    for jobs in [1, 3] {
        let store = Watched::new(memory(&STORE).await);
        let most = Arc::clone(&store.most);
        let report = with(store, VerifyOptions { jobs, ..VerifyOptions::new(NOW) }).await.unwrap();
        assert_eq!(report.exit_code(), 0);
        assert_eq!(most.load(Relaxed), jobs, "as many as there are jobs, and no more");
    }
}

#[tokio::test]
async fn a_segment_that_the_listing_left_out_is_asked_for() {
    let mut store = Watched::new(memory(&STORE).await);
    store.forget = vec![key("main/auth/0/0", 2)];
    let report = with(store, VerifyOptions::new(NOW)).await.unwrap();
    assert_eq!((report.exit_code(), report.totals.verified), (0, 13), "{report}");
}

/// All chains want to read beside what they read ahead: nobody may wait for a place that one who waits holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chains_that_look_twice_do_not_wait_for_each_other() {
    let good = memory(&STORE).await;
    for chain in ["main/auth/0/0", "main/auth/1/1", "main/logins/0/0"] {
        let mut bad = STORE[&key(chain, 1)].to_vec();
        *bad.last_mut().unwrap() ^= 1;
        good.replace(&key(chain, 1), bad);
    }
    for jobs in [1, 2, 3, 2, 2, 2] {
        let mut store = Watched::new(good.fork());
        let chains = ["main/auth/0/0", "main/auth/1/0", "main/auth/1/1", "main/logins/0/0"];
        store.forget = chains.map(|chain| key(chain, 0)).to_vec();
        let audit = with(store, VerifyOptions { jobs, ..VerifyOptions::new(NOW) });
        let report = tokio::time::timeout(Duration::from_secs(60), audit).await.expect("it waits for itself").unwrap();
        assert_eq!((report.exit_code(), report.totals.verified), (10, 10), "{report}");
    }
}

/// To look for one changed bit takes time, and somebody may have changed one in each of a million segments.
#[tokio::test]
async fn only_the_first_broken_segments_of_a_chain_are_looked_at_closely() {
    let mut objects = Objects::new();
    objects.insert("store.json".into(), store_json(ORIGIN));
    let mut sealer = Sealer::new("main/long/0/0", Codec::Null);
    for _ in 0..30 {
        sealer.seal(Part::Records(5));
    }
    sealer.put(&mut objects);
    let store = memory(&objects).await;
    for n in 0..30 {
        let mut bad = objects[&key("main/long/0/0", n)].to_vec();
        let value = bad.windows(7).rposition(|w| w == b"{\"user\"").unwrap();
        bad[value + 3] ^= 1;
        store.replace(&key("main/long/0/0", n), bad);
    }
    let report = with(store, VerifyOptions::new(NOW + 1_000_000_000)).await.unwrap();
    assert_eq!(report.totals.verified, 0, "{report}");
    let exact = report.findings.iter().filter(|f| f.name == "root" && f.place.offset.is_some()).count();
    let broken = report.findings.iter().filter(|f| f.name == "body_digest").count();
    assert_eq!((exact, broken, report.finding_counts.integrity), (16, 30, 46));
    // the links between them are checked all the same: their manifests are genuine
    assert_eq!(report.chains[0].offsets.unwrap().to, 150);
}

#[tokio::test]
async fn chains_are_found_by_jumping_over_their_segments() {
    let store = Watched::new(memory(&STORE).await);
    let limits = Arc::clone(&store.limits);
    with(store, VerifyOptions { jobs: 1, ..VerifyOptions::new(NOW) }).await.unwrap();
    let sizes = limits.lock().unwrap().clone();
    // store.json; no log; a jump for each of four chains and one that finds no more; then their folders
    assert_eq!(sizes[..7], [1, 0, 1, 1, 1, 1, 0], "{sizes:?}");
}

#[tokio::test]
async fn the_json_has_the_documented_shape() {
    let lab = Lab::of(&STORE).await;
    lab.remove(&key("main/auth/0/0", 1));
    let json: serde_json::Value = serde_json::from_str(&lab.verify().await.to_json().unwrap()).unwrap();
    let manual = include_str!("../docs/verify.md");
    let section = manual.split("## JSON").nth(1).unwrap().split("## Running").next().unwrap();
    let mut documented = 0;
    let mut look = |value: &serde_json::Value| {
        for name in value.as_object().unwrap().keys() {
            assert!(section.contains(&format!("`{name}`")), "docs/verify.md does not describe {name}");
            documented += 1;
        }
    };
    for value in [&json, &json["verdicts"], &json["totals"], &json["totals"]["gaps"], &json["freshness"]] {
        look(value);
    }
    for value in [&json["protection"], &json["since"]] {
        look(value);
    }
    for value in [&json["chains"][0], &json["chains"][0]["behind"], &json["finding_counts"], &json["findings"][0]] {
        look(value);
    }
    assert_eq!(documented, 95);
    assert_eq!(json["format"], "authseal/verify@1");
    assert_eq!(json["exit_code"], 11);
    assert_eq!(json["verdicts"]["completeness"], "incomplete");
    assert_eq!(json["chains"][0]["chain"], "main/auth/0/0");
    assert_eq!(json["chains"][0]["first_break"]["code"], "missing_segment");
    assert_eq!(json["findings"][0]["offsets"], serde_json::json!({"from": 10, "to": 20}));
    assert!(json["limits"].as_array().is_some_and(|limits| !limits.is_empty()));
}

#[tokio::test]
async fn the_text_tells_an_auditor_what_to_know() {
    let lab = Lab::of(&STORE).await;
    lab.edit(&key("main/auth/1/1", 1), |bytes| *bytes.last_mut().unwrap() ^= 1);
    lab.remove(&key("main/auth/0/0", 1));
    let report = lab.verify().await;
    let text = report.to_string();
    for expected in [
        "origin   example.com/auth",
        "integrity     TAMPERED",
        "completeness  INCOMPLETE   1 failure",
        "protection    unlocked     no lock was promised: whoever may write to the store can delete from it",
        "TAMPERED body_digest  chain main/auth/1/1, segment 1, offsets 14 to 23  (this chain breaks here first)",
        "INCOMPLETE missing_segment  chain main/auth/0/0, segment 1, offsets 10 to 19",
        "chains/main/auth/00000/0000/000000000001.avro",
        "What this does not cover",
        "The newest segments of a chain can be removed unseen",
        "exit code 10",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 160), "{text}");
    assert!(text.contains(&lab.root().display().to_string()));
}

#[tokio::test]
async fn a_hostile_name_or_number_in_a_signed_manifest_does_not_stop_the_audit() {
    let mut objects = STORE.clone();
    let mut sealer = Sealer::new("main/vast/99999/0", Codec::Null);
    sealer.partitions = Some(i64::MAX);
    sealer.seal_edited(Part::Records(3), |m| {
        m.next_by = i64::MAX;
        m.broker.last_stable = Some(i64::MAX);
        m.times.sealed = i64::MAX - 1;
    });
    sealer.put(&mut objects);
    let report = verify(Arc::new(memory(&objects).await), &keys()).await;
    assert_eq!(report.exit_code(), 11);
    assert_eq!(report.finding_counts.completeness, 99_999, "every other partition that can be is missing");
    assert_eq!(report.finding_counts.listed, 1000);
    let _ = (report.to_string(), report.to_json().unwrap());
}

#[tokio::test]
async fn layout_keys_of_the_store_are_those_of_the_audit() {
    // the largest sequence that has a key: nothing overflows behind it
    let lab = Lab::of(&STORE).await;
    let chain_text = "main/auth/0/0";
    lab.copy(&key(chain_text, 4), &layout::segment_key(&chain(chain_text), layout::MAX_SEQUENCE));
    let report = lab.verify().await;
    assert_eq!(codes(&report), ["segment_misplaced", "missing_segment"], "{report}");
}
