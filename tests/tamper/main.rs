//! What an attacker can do to a store, named by what he does, and what the audit says of it: reason code, exact place,
//! exit code. Each row lists *all* failures that the audit reports, in its order.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

mod contents;
mod independent;
#[path = "../lab/mod.rs"]
mod lab;
mod log;
mod places;
#[path = "../python/mod.rs"]
mod python;
mod random;
mod signed;

use authseal::{
    audit::{Finding, Report},
    store::Store,
};
use lab::*;
use python::python;

/// `code place`: a record as its position, else chain#sequence(s) of a segment, a chain, or a key.
fn told(finding: &Finding) -> String {
    let place = &finding.place;
    let text = match (&place.chain, place.position(), place.sequence, place.sequences) {
        (_, Some(position), ..) => position,
        (Some(chain), None, _, Some(range)) => format!("{chain}#{}..{}", range.from, range.to.unwrap()),
        (Some(chain), None, Some(sequence), None) => format!("{chain}#{sequence}"),
        (Some(chain), None, None, None) => match &place.key {
            Some(key) => key.clone(),
            None => chain.to_string(),
        },
        (None, ..) => place.key.clone().unwrap_or_default(),
    };
    format!("{} {text}", finding.name)
}

fn failures(report: &Report) -> Vec<String> {
    report.findings.iter().filter(|f| f.is_failure()).map(told).collect()
}

/// Makes the store, lets the attacker at it, and compares what the audit says.
async fn check(name: &str, tamper: impl FnOnce(&Lab), exit: u8, expected: &[&str]) {
    let lab = Lab::of(&STORE).await;
    tamper(&lab);
    let report = lab.verify().await;
    expect(name, &report, exit, expected);
    independent::agrees(name, lab.root(), &signer(ORIGIN, 1).verifier_key(), &report);
}

fn expect(name: &str, report: &Report, exit: u8, expected: &[&str]) {
    let found = failures(report);
    assert_eq!(found, expected, "{name}\n{report}");
    assert_eq!(report.exit_code(), exit, "{name}\n{report}");
    let words = (report.verdicts.integrity, report.verdicts.completeness, report.verdicts.protection);
    assert_eq!(words.0 == "tampered", exit == 10, "{name}: {words:?}");
    assert!(exit != 11 || words.1 == "incomplete", "{name}: {words:?}");
    assert!(exit != 0 || words == ("good", "good", "unlocked"), "{name}: {words:?}");
    for chain in &report.chains {
        let marked = report.findings.iter().filter(|f| f.first_break && f.place.chain.as_ref() == Some(&chain.chain));
        assert_eq!(marked.count(), usize::from(chain.first_break.is_some()), "{name}: {}\n{report}", chain.chain);
    }
}

const A: &str = "main/auth/0/0";
const B: &str = "main/auth/1/0";
const C: &str = "main/auth/1/1";
const L: &str = "main/logins/0/0";

fn flip(bytes: &mut [u8], at: usize) {
    bytes[at] ^= 1;
}

/// Flips one bit in the middle of the part of segment 1 that is called `region`.
fn flip_in(lab: &Lab, region: &str) {
    let parts = Parts::of(&lab.read(&key(A, 1)));
    let (_, from, to) = parts.regions().into_iter().find(|(name, ..)| *name == region).unwrap();
    lab.edit(&key(A, 1), |bytes| flip(bytes, from.midpoint(to)));
}

#[tokio::test]
async fn an_untouched_store_passes() {
    check("nothing", |_| {}, 0, &[]).await;
}

/// The store trait is what the attacker's own reader would use too: what it lists is what was put.
#[tokio::test]
async fn the_lab_is_faithful() {
    let lab = Lab::of(&STORE).await;
    let listed = lab.store().list("", None, 1000).await.unwrap();
    assert_eq!(listed.iter().map(|e| e.key.clone()).collect::<Vec<_>>(), STORE.keys().cloned().collect::<Vec<_>>());
}
