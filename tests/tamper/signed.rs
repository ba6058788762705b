//! What is signed: signatures, manifests, origins, and what a holder of the key can do.

use super::*;
use authseal::{
    digest::Digest,
    manifest::Manifest,
    note::{Signer, Verifiers},
    retention::{LockMode, Retention},
    segment::{self, Codec},
};
use std::sync::Arc;

/// Signs a line with another key and puts it into a segment.
fn sign(parts: &mut Parts, line: &str, signer: &Signer) {
    parts.note = signer.sign(line).unwrap();
}

#[tokio::test]
async fn a_changed_signature() {
    let edit = |edit: fn(&mut Parts)| move |lab: &Lab| lab.rebuild(&key(A, 1), edit);
    let note_form = ["note_form main/auth/0/0#1"];
    let strip = edit(|parts| parts.note = parts.manifest_line().to_owned());
    check("stripped", strip, 10, &note_form).await;
    let strip = edit(|parts| parts.note = format!("{}\n", parts.manifest_line()));
    check("stripped, the empty line left", strip, 10, &note_form).await;
    let second = edit(|parts| {
        let other = signer(ORIGIN, 9).sign(parts.manifest_line()).unwrap();
        parts.note.push_str(other.rsplit_once("\n\n").unwrap().1);
    });
    check("a second one added", second, 10, &note_form).await;
    let twice = edit(|parts| {
        let line = parts.note.rsplit_once("\n\n").unwrap().1.to_owned();
        parts.note.push_str(&line);
    });
    check("the same one twice", twice, 10, &note_form).await;
    let of_another = |lab: &Lab| {
        let other = Parts::of(&lab.read(&key(A, 2))).note;
        lab.rebuild(&key(A, 1), |parts| {
            parts.note = format!("{}\n{}", parts.manifest_line(), other.rsplit_once("\n\n").unwrap().1);
        });
    };
    check("that of another segment", of_another, 10, &["signature main/auth/0/0#1"]).await;
    let own_key = edit(|parts| {
        let line = parts.manifest_line().to_owned();
        sign(parts, &line, &signer(ORIGIN, 9));
    });
    check("by another key of the same name", own_key, 10, &["unknown_key main/auth/0/0#1"]).await;
}

#[tokio::test]
async fn a_changed_manifest() {
    fn edit(edit: impl Fn(&str) -> String) -> impl Fn(&Lab) {
        move |lab: &Lab| {
            lab.rebuild(&key(A, 1), |parts| {
                let line = edit(parts.manifest_line());
                parts.set_manifest_line(&line);
            });
        }
    }
    let signature = ["signature main/auth/0/0#1"];
    check("whitespace", edit(|line| line.replace("\":", "\": ")), 10, &signature).await;
    check("a time", edit(|line| edited(line, |m| m.times.sealed += 1)), 10, &signature).await;
    check("a promise", edit(|line| edited(line, |m| m.next_by += 1)), 10, &signature).await;
    let lock = Retention { mode: LockMode::Compliance, until: Some(BEGAN) };
    check("another lock", edit(move |line| edited(line, |m| m.retention = lock)), 10, &signature).await;
    check("the instance", edit(|line| edited(line, |m| m.writer.instance = "other".into())), 10, &signature).await;
    check("an empty line", edit(|line| line.replace('\n', "\n\n")), 10, &signature).await;
}

/// What a holder of the key can still not do unseen: sign something that is not in the one form.
#[tokio::test]
async fn a_manifest_signed_by_our_key_in_another_form() {
    let edit = |edit: fn(&str) -> String| {
        move |lab: &Lab| {
            lab.rebuild(&key(A, 1), |parts| {
                let line = edit(parts.manifest_line());
                sign(parts, &line, &signer(ORIGIN, 1));
            });
        }
    };
    let form = ["manifest_form main/auth/0/0#1"];
    check("whitespace", edit(|line| line.replace("\":", "\": ")), 10, &form).await;
    check("a field left out", edit(|line| line.replace(",\"index\":null", "")), 10, &form).await;
    check("two lines", edit(|line| format!("{line}x\n")), 10, &form).await;
    check("a number as a float", edit(|line| line.replace("\"sequence\":1,", "\"sequence\":1.0,")), 10, &form).await;
    let twice = edit(|line| line.replace("\"sequence\":1,", "\"sequence\":1,\"sequence\":1,"));
    check("a field twice", twice, 10, &form).await;
    let kind = edit(|line| line.replace("\"kind\":\"data\"", "\"kind\":\"summary\""));
    check("another kind", kind, 10, &form).await;
    let format = edit(|line| line.replace("segment@1", "segment@2"));
    check("another format", format, 10, &form).await;
    let field = edit(|line| line.replace("\"index\":null", "\"index\":null,\"more\":1"));
    check("an unknown field", field, 10, &["manifest_unknown_field main/auth/0/0#1"]).await;
    let lie = edit(|line| edited(line, |m| m.counts.events -= 1));
    check("counts that do not add up", lie, 10, &form).await;
    let root = edit(|line| edited(line, |m| m.root = Digest::of(b"x")));
    check(
        "another root",
        root,
        10,
        &["sync_marker main/auth/0/0#1", "sync_marker main/auth/0/0#1", "previous main/auth/0/0#2"],
    )
    .await;
}

/// Seals what comes after segment 1 of chain A anew, or behind its end, with a key that the auditor trusts.
fn resealed(edit: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let mut sealer = Sealer::new(A, Codec::Null);
    sealer.partitions = Some(2);
    sealer.seal(Part::Records(10));
    sealer.seal_edited(Part::Records(10), edit).bytes.to_vec()
}

#[tokio::test]
async fn a_stolen_key() {
    let forge = |edit: fn(&mut Manifest)| move |lab: &Lab| lab.write(&key(A, 1), &resealed(edit));
    // both it and what follows are genuine by their signatures, and contradict each other
    let history = ["previous main/auth/0/0#1", "previous main/auth/0/0#2"];
    check("a segment sealed anew on another history", forge(|_| {}), 10, &history).await;

    let append = |text: &'static str, part: Part, edit: fn(&mut Manifest)| {
        move |lab: &Lab| {
            let mut sealer = Sealer::new(text, Codec::Null);
            let last = (0..).take_while(|s| lab.path(&key(text, *s)).exists()).last().unwrap();
            let head = segment::open(&lab.read(&key(text, last)), &Verifiers::of(&sealer.signer)).unwrap();
            sealer.to = head.manifest.offsets.to;
            sealer.head = Some(authseal::chain::Head::of_opened(&head));
            let bytes = sealer.seal_edited(part, edit).bytes.clone();
            lab.write(&key(text, last + 1), &bytes);
        }
    };
    let records = Part::Records(10);
    check("one more", append(A, records, |_| {}), 0, &[]).await;
    check("behind the close", append(L, records, |_| {}), 10, &["after_close main/logins/0/0#3"]).await;
    let earlier = append(A, records, |m| m.times.sealed = BEGAN);
    check("sealed before its predecessor", earlier, 10, &["sealed_time main/auth/0/0#5"]).await;
    let topic = append(A, records, |m| m.broker.topic_id = Some("other".into()));
    check("of another topic", topic, 10, &["topic_changed main/auth/0/0#5"]).await;
    let cluster = append(A, records, |m| m.broker.cluster_id = Some("other".into()));
    check("of another cluster", cluster, 10, &["cluster_changed main/auth/0/0#5"]).await;
    let previous = append(A, records, |m| m.previous = Some(Digest::of(b"x")));
    check("on another predecessor", previous, 10, &["previous main/auth/0/0#5"]).await;
    let superseded = append(B, records, |_| {});
    check("behind a reset", superseded, 10, &["incarnation_link main/auth/1/1#0"]).await;
}

/// Chains that only a broken writer, or a holder of the key, could make.
#[tokio::test]
async fn offsets_left_out_between_and_before_segments() {
    let put = |from: i64, to: i64| {
        move |lab: &Lab| {
            let mut sealer = Sealer::new("main/extra/0/0", Codec::Null);
            sealer.to = from;
            sealer.seal(Part::Records(5));
            sealer.to = to;
            sealer.seal(Part::Records(5));
            for sealed in &sealer.out {
                lab.write(&key("main/extra/0/0", sealed.manifest.sequence), &sealed.bytes);
            }
        }
    };
    check("between", put(0, 8), 11, &["offsets_gap main/extra/0/0@5"]).await;
    check("twice", put(0, 3), 10, &["offsets_overlap main/extra/0/0@3"]).await;
    check("before", put(3, 8), 11, &["offsets_before_start main/extra/0/0#0"]).await;
}

#[tokio::test]
async fn another_origin() {
    let info = |lab: &Lab| lab.write("store.json", &store_json("evil.example"));
    let all = [A, B, C, L].map(|text| format!("origin_mismatch {text}#0"));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    check("in store.json", info, 10, &all).await;
    let wrong = |edit: fn(&str) -> String| {
        move |lab: &Lab| lab.edit("store.json", |bytes| *bytes = edit(std::str::from_utf8(bytes).unwrap()).into_bytes())
    };
    let invalid = ["store_json_invalid store.json"];
    check("whitespace in store.json", wrong(|text| text.replace(',', ", ")), 10, &invalid).await;
    check("an empty store.json", wrong(|_| String::new()), 10, &invalid).await;
    check("another layout", wrong(|text| text.replace("\"layout\":1", "\"layout\":2")), 10, &invalid).await;
    let removed = |lab: &Lab| lab.remove("store.json");
    check("store.json removed", removed, 11, &["store_json_missing store.json"]).await;

    // the auditor trusts both keys: each only for its own origin
    let (ours, evil) = (signer(ORIGIN, 1), signer("evil.example", 9));
    let both = Verifiers::parse(&format!("{}\n{}\n", ours.verifier_key(), evil.verifier_key())).unwrap();
    let forge = |origin: &'static str| {
        let evil = &evil;
        move |parts: &mut Parts| {
            let line = edited(parts.manifest_line(), |m| m.origin = origin.into());
            sign(parts, &line, evil);
        }
    };
    for (origin, expected) in [
        (ORIGIN, &["key_name main/auth/0/0#1"][..]),
        ("evil.example", &["origin_mismatch main/auth/0/0#1", "previous main/auth/0/0#2"]),
    ] {
        let lab = Lab::of(&STORE).await;
        lab.rebuild(&key(A, 1), forge(origin));
        expect(origin, &verify(Arc::new(lab.store()), &both).await, 10, expected);
    }
}
