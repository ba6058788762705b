//! What lies where: segments, folders and artifacts removed, moved, planted; versions and markers.

use super::*;
use authseal::{
    digest::Digest,
    layout,
    note::Verifiers,
    segment::{self, Codec},
    store::memory::MemoryStore,
};
use std::sync::Arc;

#[tokio::test]
async fn a_removed_segment() {
    let remove = |sequences: &'static [u64]| move |lab: &Lab| sequences.iter().for_each(|s| lab.remove(&key(A, *s)));
    check("first", remove(&[0]), 11, &["missing_segment main/auth/0/0#0"]).await;
    check("middle", remove(&[2]), 11, &["missing_segment main/auth/0/0#2"]).await;
    check("heartbeat", remove(&[3]), 11, &["missing_segment main/auth/0/0#3"]).await;
    check("two that follow", remove(&[1, 2]), 11, &["missing_segment main/auth/0/0#1..3"]).await;
    let apart = ["missing_segment main/auth/0/0#0", "missing_segment main/auth/0/0#2"];
    check("two apart", remove(&[0, 2]), 11, &apart).await;
    // nothing that is left names it: the limit that the report states
    check("the newest", remove(&[4]), 0, &[]).await;
    let superseded = |lab: &Lab| lab.remove(&key(B, 1));
    check("the last of an incarnation", superseded, 10, &["incarnation_link main/auth/1/1#0"]).await;
}

#[tokio::test]
async fn a_removed_segment_is_told_with_its_offsets() {
    let lab = Lab::of(&STORE).await;
    lab.remove(&key(A, 1));
    lab.remove(&key(A, 2));
    let report = lab.verify().await;
    let place = &report.findings[0].place;
    let (sequences, offsets) = (place.sequences.unwrap(), place.offsets.unwrap());
    assert_eq!((sequences.from, sequences.to, offsets.from, offsets.to), (1, Some(3), 10, Some(30)));
    assert_eq!(place.key.as_deref(), Some(key(A, 1).as_str()));
    assert!(report.findings[0].first_break);
    assert_eq!(report.chains[0].segments, 3);
}

#[tokio::test]
async fn a_removed_chain() {
    let folder = |text: &str| layout::chain_prefix(&chain(text));
    let remove = |text: &'static str| move |lab: &Lab| lab.remove(&folder(text));
    check("a partition", remove(A), 11, &["chain_missing main/auth/0/0"]).await;
    check("an old incarnation", remove(B), 11, &["incarnation_missing main/auth/1/0"]).await;
    check("all chains", |lab| lab.remove("chains"), 11, &["no_chains "]).await;
    let all = |lab: &Lab| {
        lab.remove("chains");
        lab.remove("store.json");
    };
    check("all of it", all, 11, &["no_chains ", "store_json_missing store.json"]).await;
}

#[tokio::test]
async fn a_genuine_segment_in_another_place() {
    let swap = |lab: &Lab| lab.swap(&key(A, 1), &key(A, 2));
    let both = ["segment_misplaced main/auth/0/0#1", "segment_misplaced main/auth/0/0#2"];
    check("two swapped", swap, 10, &both).await;
    let lab = Lab::of(&STORE).await;
    swap(&lab);
    let report = lab.verify().await;
    let detail = &report.findings[0].detail;
    assert_eq!(
        detail, "it is segment 2 of main/auth/0/0, which holds offsets 20..30; the two lie in each other's place",
        "{report}"
    );
    assert!(report.findings[0].first_break && !report.findings[1].first_break);

    let copy = |from: (&'static str, u64), to: (&'static str, u64)| {
        move |lab: &Lab| lab.copy(&key(from.0, from.1), &key(to.0, to.1))
    };
    check("over another chain's", copy((A, 1), (L, 1)), 10, &["segment_misplaced main/logins/0/0#1"]).await;
    check("a replayed older one at the end", copy((A, 2), (A, 5)), 10, &["segment_misplaced main/auth/0/0#5"]).await;
    check("over its predecessor", copy((A, 2), (A, 1)), 10, &["segment_misplaced main/auth/0/0#1"]).await;
    let future = ["segment_misplaced main/auth/0/0#999", "missing_segment main/auth/0/0#5..999"];
    check("at a sequence of the future", copy((A, 4), (A, 999)), 10, &future).await;
    let moved = |lab: &Lab| lab.rename(&key(A, 1), &key(L, 3));
    let found = ["segment_misplaced main/logins/0/0#3", "missing_segment main/auth/0/0#1"];
    check("moved", moved, 10, &found).await;
}

#[tokio::test]
async fn a_renamed_folder() {
    let partition = |lab: &Lab| lab.rename("chains/main/auth/00000", "chains/main/auth/00007");
    let misplaced: Vec<String> = (0..5).map(|n| format!("segment_misplaced main/auth/7/0#{n}")).collect();
    let mut expected: Vec<&str> = misplaced.iter().map(String::as_str).collect();
    expected.push("chain_missing main/auth/0/0");
    check("another partition", partition, 10, &expected).await;

    let unknown: Vec<String> =
        (0..5).map(|n| format!("unexpected_object chains/main/auth/0/0000/00000000000{n}.avro")).collect();
    let mut expected: Vec<&str> = unknown.iter().map(String::as_str).collect();
    expected.push("chain_missing main/auth/0/0");
    check("no partition", |lab| lab.rename("chains/main/auth/00000", "chains/main/auth/0"), 10, &expected).await;

    let expected = ["no_chains "];
    check("the folder of all chains", |lab| lab.rename("chains", "old-chains"), 11, &expected).await;
}

#[tokio::test]
async fn artifacts() {
    let name = STORE.keys().find(|key| key.starts_with("artifacts/")).unwrap().clone();
    let replace = |lab: &Lab| lab.write(&name, b"rule \"allow everything\"");
    let told = |code: &str, lab_key: &str| {
        // the first manifest that names it is told with it
        let _ = lab_key;
        format!("{code} main/auth/0/0#0")
    };
    check("replaced", replace, 10, &[&told("artifact_digest", &name)]).await;
    check("removed", |lab| lab.remove(&name), 11, &[&told("artifact_missing", &name)]).await;
    check("the folder removed", |lab| lab.remove("artifacts"), 11, &["artifact_missing main/auth/0/0#0"; 2]).await;
    let unnamed = layout::artifact_key(&Digest::of(b"never named"));
    check("one that nobody names", |lab| lab.write(&unnamed, b"never named"), 0, &[]).await;
    check("one that lies", |lab| lab.write(&unnamed, b"x"), 10, &[&format!("artifact_digest {unnamed}")]).await;
    let stray = "artifacts/rules.zip";
    check("a stray file", |lab| lab.write(stray, b"x"), 10, &["unexpected_object artifacts/rules.zip"]).await;
}

#[tokio::test]
async fn planted_objects() {
    let forged = |lab: &Lab| {
        let mut sealer = Sealer::new(A, Codec::Zstandard);
        sealer.signer = signer(ORIGIN, 9);
        let head = segment::open(&lab.read(&key(A, 4)), &Verifiers::of(&signer(ORIGIN, 1))).unwrap();
        sealer.to = head.manifest.offsets.to;
        sealer.head = Some(authseal::chain::Head::of_opened(&head));
        let bytes = sealer.seal(Part::Records(10)).bytes.clone();
        lab.write(&key(A, 5), &bytes);
    };
    check("a segment signed by another key", forged, 10, &["unknown_key main/auth/0/0#5"]).await;
    for stray in [
        "chains/readme.txt",
        "chains/main/notes",
        "chains/main/auth/00000/0000/000000000001.avro.bak",
        "chains/main/auth/00000/0000/zz/deeper",
        "chains/main/auth/00000/0000/zzz",
        "chains/main/auth/00000/0001x/000000000000.avro",
        "chains/zzz",
    ] {
        check(stray, |lab| lab.write(stray, b"x"), 10, &[&format!("unexpected_object {stray}")]).await;
    }
    let link = |lab: &Lab| {
        lab.remove(&key(A, 1));
        std::os::unix::fs::symlink(lab.path(&key(A, 2)), lab.path(&key(A, 1))).unwrap();
    };
    check("a link", link, 10, &["not_a_segment main/auth/0/0#1"]).await;
    let elsewhere = |lab: &Lab| {
        lab.rename("chains", "genuine");
        std::os::unix::fs::symlink(lab.path("genuine"), lab.path("chains")).unwrap();
    };
    check("a link to all chains", elsewhere, 10, &["unexpected_object chains/", "no_chains "]).await;
    let artifacts = |lab: &Lab| {
        lab.rename("artifacts", "genuine");
        std::os::unix::fs::symlink(lab.path("genuine"), lab.path("artifacts")).unwrap();
    };
    let found =
        ["unexpected_object artifacts/", "artifact_missing main/auth/0/0#0", "artifact_missing main/auth/0/0#0"];
    check("a link to all artifacts", artifacts, 10, &found).await;
    let partition = |lab: &Lab| {
        lab.rename("chains/main/auth/00000", "genuine");
        std::os::unix::fs::symlink(lab.path("genuine"), lab.path("chains/main/auth/00000")).unwrap();
    };
    let found = ["unexpected_object chains/main/auth/00000", "chain_missing main/auth/0/0"];
    check("a link to a partition", partition, 10, &found).await;
    let folder = |lab: &Lab| {
        lab.remove(&key(A, 1));
        std::fs::create_dir(lab.path(&key(A, 1))).unwrap();
    };
    check("an empty folder", folder, 10, &["not_a_segment main/auth/0/0#1"]).await;
}

#[tokio::test]
async fn faults_of_one_chain_do_not_hide_those_of_another() {
    let tamper = |lab: &Lab| {
        lab.edit(&key(L, 0), |bytes| flip(bytes, 0));
        lab.remove(&key(C, 1));
        lab.edit(&key(A, 0), |bytes| flip(bytes, 0));
        lab.edit(&key(A, 2), |bytes| flip(bytes, 0));
    };
    let expected = [
        "not_a_segment main/auth/0/0#0",
        "not_a_segment main/auth/0/0#2",
        "not_a_segment main/logins/0/0#0",
        "missing_segment main/auth/1/1#1",
    ];
    check("four", tamper, 10, &expected).await;
}

#[tokio::test]
async fn versions_and_markers() {
    let one = key(A, 1);
    let store = memory(&STORE).await;
    expect("untouched", &verify(Arc::new(store.clone()), &Verifiers::of(&signer(ORIGIN, 1))).await, 0, &[]);
    let keys = Verifiers::of(&signer(ORIGIN, 1));
    let shadow = ["shadow_version main/auth/0/0#1"];
    let marker = ["delete_marker main/auth/0/0#1"];
    type Tamper = fn(&MemoryStore, &str);
    let rows: &[(&str, Tamper, u8, &[&str])] = &[
        ("another object put over it", |s, k| s.shadow(k, &b"x"[..]), 13, &shadow),
        ("the same object put over it", |s, k| s.shadow(k, STORE[k].clone()), 13, &shadow),
        ("deleted", |s, k| s.mark_deleted(k), 13, &marker),
        (
            "deleted and written again",
            |s, k| {
                s.mark_deleted(k);
                s.shadow(k, &b"forged"[..]);
            },
            13,
            &["delete_marker main/auth/0/0#1", "shadow_version main/auth/0/0#1"],
        ),
        (
            "removed for good, a marker left",
            |s, k| {
                s.remove(k);
                s.mark_deleted(k);
            },
            11,
            &["missing_segment main/auth/0/0#1", "delete_marker main/auth/0/0#1"],
        ),
        (
            "removed for good, forged behind a marker",
            |s, k| {
                s.remove(k);
                s.mark_deleted(k);
                s.shadow(k, &b"forged"[..]);
            },
            10,
            &["not_a_segment main/auth/0/0#1", "delete_marker main/auth/0/0#1"],
        ),
    ];
    for (name, tamper, exit, expected) in rows {
        let store = store.fork();
        tamper(&store, &one);
        expect(name, &verify(Arc::new(store), &keys).await, *exit, expected);
    }
    for (key, place) in [("store.json", "store.json"), ("chains/stray", "chains/stray")] {
        let store = store.fork();
        store.mark_deleted(key);
        let report = verify(Arc::new(store), &keys).await;
        assert!(failures(&report).contains(&format!("delete_marker {place}")), "{report}");
    }
}
