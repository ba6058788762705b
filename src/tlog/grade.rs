//! What a checkpoint is worth to somebody who does not trust its log: who else has seen it, and since when it exists.
//! One pure function, for stores and for proofs alike.

use super::{cosign::Cosignature, policy::Policy, refused, stamp::Stamped};
use crate::{
    fault::{Fault, code},
    note,
};
use std::collections::BTreeSet;

/// What stands behind a checkpoint beside the signature of its log. By itself a log says what it likes to whom it
/// likes: `unwitnessed` < `witnessed`, `unwitnessed` < `stamped`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grade {
    /// Cosignatures of witnesses that the policy names.
    pub cosignatures: Vec<Cosignature>,
    /// Whether these are a quorum. A policy that asks for none gives none.
    pub witnessed: bool,
    /// Stamps of this checkpoint by authorities that are believed.
    pub stamps: Vec<Stamped>,
}

impl Grade {
    /// Whether a quorum of witnesses has seen this checkpoint, and none before it that it does not follow from.
    pub fn is_witnessed(&self) -> bool {
        self.witnessed
    }

    /// Whether an authority says when it existed.
    pub fn is_stamped(&self) -> bool {
        !self.stamps.is_empty()
    }

    /// `unwitnessed`, `witnessed`, `stamped`, `witnessed+stamped`.
    pub fn name(&self) -> &'static str {
        name(self.is_witnessed(), self.is_stamped())
    }

    /// By the end of which second a quorum had seen it: the latest of its cosignatures, seconds since 1970.
    pub fn witnessed_at(&self) -> Option<u64> {
        self.cosignatures.iter().map(|c| c.time).max().filter(|_| self.witnessed)
    }

    /// Since when it surely exists: its earliest stamp, milliseconds since 1970.
    pub fn stamped_at(&self) -> Option<i64> {
        self.stamps.iter().map(|stamp| stamp.time).min()
    }
}

/// The name of a grade.
pub fn name(witnessed: bool, stamped: bool) -> &'static str {
    match (witnessed, stamped) {
        (false, false) => "unwitnessed",
        (true, false) => "witnessed",
        (false, true) => "stamped",
        (true, true) => "witnessed+stamped",
    }
}

/// Grades the checkpoint in `note`, whose log's signature the caller has verified. Without a policy nobody can be a
/// witness. `stamps` are verified ([`super::stamp::Stamp::verify`]); those of other checkpoints do not count.
///
/// The error: the note is none, or a witness that the policy names did not sign what stands there.
pub fn grade(note: &[u8], policy: Option<&Policy>, stamps: &[Stamped]) -> Result<Grade, Fault> {
    let text = note::split(note).map_err(refused)?.text;
    let stamps = stamps.iter().filter(|stamp| stamp.text == text).cloned().collect();
    let Some(policy) = policy else { return Ok(Grade { stamps, ..Grade::default() }) };
    let found = policy.cosignatures(note).map_err(|fault| Fault { code: code::COSIGNATURE, ..fault })?;
    let by: BTreeSet<usize> = found.iter().map(|(at, _)| *at).collect();
    // a policy that names logs believes no other
    let of_log = policy.logs().is_empty() || policy.logs().open(note).is_ok();
    let witnessed = of_log && policy.asks_for_witnesses() && policy.is_met(&by);
    Ok(Grade { cosignatures: found.into_iter().map(|(_, cosignature)| cosignature).collect(), witnessed, stamps })
}

#[cfg(test)]
mod tests {
    use super::{
        super::cosign::testing::{cosign, witness},
        *,
    };
    use crate::{digest::Digest, note::Signer, tlog::Checkpoint};

    fn note(by: &[u8]) -> String {
        let signer = Signer::from_seed("log", [9; 32]).unwrap();
        let checkpoint = Checkpoint { origin: "log".into(), size: 8, root: Digest::of(b"x") };
        let mut note = checkpoint.sign(&signer).unwrap();
        by.iter().for_each(|n| note += &cosign(&format!("w/{n}"), *n, &checkpoint.text(), 1000 + u64::from(*n)));
        note
    }

    fn policy(logs: &str, quorum: &str) -> Policy {
        let witnesses: String =
            (1..=3).map(|n| format!("witness W{n} {}\n", witness(&format!("w/{n}"), n).text())).collect();
        let text = format!("{logs}{witnesses}group two 2 W1 W2 W3\nquorum {quorum}\n");
        Policy::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_quorum_makes_it_witnessed() {
        let two = policy("", "two");
        for (by, name, at) in
            [(&[][..], "unwitnessed", None), (&[2], "unwitnessed", None), (&[1, 3, 7], "witnessed", Some(1003))]
        {
            let grade = grade(note(by).as_bytes(), Some(&two), &[]).unwrap();
            assert_eq!((grade.name(), grade.witnessed_at()), (name, at), "{by:?}");
            assert_eq!(grade.cosignatures.len(), by.iter().filter(|n| **n < 4).count());
        }
        let nobody = grade(note(&[1, 2, 3]).as_bytes(), Some(&policy("", "none")), &[]).unwrap();
        assert_eq!(nobody.name(), "unwitnessed", "no quorum is no witness");
        assert_eq!(grade(note(&[1, 2, 3]).as_bytes(), None, &[]).unwrap(), Grade::default());
    }

    #[test]
    fn a_policy_that_names_logs_believes_no_other() {
        let key = |seed| format!("log {}\n", Signer::from_seed("log", [seed; 32]).unwrap().verifier_key());
        for (seed, name) in [(9, "witnessed"), (8, "unwitnessed")] {
            let grade = grade(note(&[1, 2]).as_bytes(), Some(&policy(&key(seed), "two")), &[]).unwrap();
            assert_eq!(grade.name(), name);
        }
    }

    #[test]
    fn stamps_of_this_checkpoint_count_and_lies_refuse_it() {
        let note = note(&[1, 2]);
        let text = note.split("\n\n").next().unwrap().to_owned() + "\n";
        let stamp = |text: &str, time| Stamped { text: text.into(), time, authority: "CN=a".into() };
        let stamps = [stamp("other\n", 1), stamp(&text, 9), stamp(&text, 7)];
        let stamped = grade(note.as_bytes(), None, &stamps).unwrap();
        assert_eq!((stamped.name(), stamped.stamped_at()), ("stamped", Some(7)));
        assert_eq!(grade(note.as_bytes(), Some(&policy("", "two")), &stamps).unwrap().name(), "witnessed+stamped");
        let forged = note.replace("\n8\n", "\n9\n");
        assert_eq!(grade(forged.as_bytes(), Some(&policy("", "two")), &[]).unwrap_err().code, code::COSIGNATURE);
        assert!(grade(b"no note", None, &[]).is_err());
    }
}
