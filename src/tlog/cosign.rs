//! Cosignatures: a witness says that a checkpoint is the largest it has seen of a log, and when
//! (c2sp.org/tlog-cosignature, `cosignature/v1`). They are signature lines of the checkpoint's note, beside the
//! log's own.

use crate::{
    error::{Error, Result},
    fault::{Fault, code},
    note::{self, DASH, KeyId, split_key},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, VerifyingKey};
use std::collections::BTreeSet;

/// The type of an Ed25519 cosignature key, as the first byte of its key data.
pub const ED25519: u8 = 4;
/// The same of an ML-DSA-44 one, which is known and cannot be verified here.
const ML_DSA_44: u8 = 6;
/// The type of a key that signs whole notes: a log's, and no witness's.
const LOG: u8 = 1;
/// An answer of a witness has at most so many lines that are looked at.
const MAX_LINES: usize = 16;

/// The key of a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigner {
    name: String,
    id: KeyId,
    key: VerifyingKey,
}

/// A cosignature that was verified.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cosignature {
    /// Name of the witness's key.
    pub name: String,
    /// Its id, eight hexadecimal digits.
    pub id: String,
    /// When the witness says that it saw this: seconds since 1970.
    pub time: u64,
    /// The signature line, without its newline.
    pub line: String,
}

impl Cosigner {
    /// Reads `<name>+<hash>+<keydata>` of an Ed25519 cosignature key (type 04).
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: &str| Error::config(format!("{text:?} is no key of a witness: {what}"));
        if text.starts_with("PRIVATE+KEY+") {
            return Err(Error::config("this is a private key: a policy holds verifier keys, which anybody may see"));
        }
        let (name, id, data) = split_key(text).ok_or_else(|| wrong("it should be name+hash+keydata"))?;
        let data = STANDARD.decode(data).map_err(|_| wrong("its key data is not base64"))?;
        let public: &[u8; 32] = match data.split_first() {
            Some((&ED25519, public)) => public.try_into().map_err(|_| wrong("its key data has another length"))?,
            Some((&ML_DSA_44, _)) => return Err(wrong("it is of type ML-DSA-44, which this version cannot verify")),
            Some((&LOG, _)) => return Err(wrong("it is a key of a log (type 1): witnesses have others (type 4)")),
            _ => return Err(wrong("its type is not that of a cosignature (type 4)")),
        };
        let key = VerifyingKey::from_bytes(public).ok().filter(|key| !key.is_weak());
        let key = key.ok_or_else(|| wrong("its key data is not a point that can be a key"))?;
        match KeyId::of_type(name, ED25519, public) == id {
            true => Ok(Self { name: name.into(), id, key }),
            false => Err(wrong("its hash belongs to another name or key")),
        }
    }

    /// Name of the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of the key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The 32 bytes of the public key: what makes two witnesses one.
    pub fn public(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// `<name>+<hash>+<keydata>`.
    pub fn text(&self) -> String {
        let data: Vec<u8> = [ED25519].iter().chain(self.key.as_bytes()).copied().collect();
        format!("{}+{}+{}", self.name, self.id, STANDARD.encode(data))
    }

    /// Whether a signature line of this name and blob (key id first) is meant to be by this key.
    pub fn is_named(&self, name: &str, blob: &[u8]) -> bool {
        name == self.name && blob.starts_with(&self.id.0)
    }

    /// Verifies a blob (key id, time, signature) over a checkpoint's text, its last newline included. The time, in
    /// seconds since 1970; `None` if it is no good cosignature.
    pub fn verify(&self, text: &str, blob: &[u8]) -> Option<u64> {
        let rest = blob.strip_prefix(&self.id.0)?;
        let (time, signature) = rest.split_first_chunk::<8>()?;
        // the bounds of the format; a cosignature of this type that names no time says nothing
        let time = Some(u64::from_be_bytes(*time)).filter(|time| (1..=i64::MAX as u64).contains(time))?;
        let signature = Signature::from_slice(signature).ok()?;
        let good = self.key.verify_strict(message(text, time).as_bytes(), &signature);
        good.ok().map(|()| time)
    }

    /// The cosignature of this key in an answer to `add-checkpoint`: signature lines and nothing else. Lines of other
    /// keys are passed over. The error says what the answer is instead.
    pub fn find(&self, text: &str, answer: &[u8]) -> Result<Cosignature, String> {
        let answer = std::str::from_utf8(answer).map_err(|_| "its answer is not text".to_owned())?;
        let lines = answer.strip_suffix('\n').ok_or("its answer does not end in a newline")?;
        for line in lines.split('\n').take(MAX_LINES) {
            let (name, blob) = signature_line(line).ok_or("its answer is not signature lines")?;
            if self.is_named(name, &blob) {
                return match self.verify(text, &blob) {
                    Some(time) => Ok(self.cosignature(time, line)),
                    None => Err("it answered with a signature that does not fit this checkpoint".into()),
                };
            }
        }
        Err(format!("it answered without a signature of its key {}+{}", self.name, self.id))
    }

    fn cosignature(&self, time: u64, line: &str) -> Cosignature {
        Cosignature { name: self.name.clone(), id: self.id.to_string(), time, line: line.into() }
    }
}

/// What is signed: two lines, and the checkpoint's text.
pub fn message(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// The cosignatures of known witnesses on a note, by their place in `witnesses`, each once; a bad one refuses the
/// note.
pub fn cosignatures<'a>(
    note: &[u8],
    witnesses: impl Iterator<Item = &'a Cosigner> + Clone,
) -> Result<Vec<(usize, Cosignature)>, Fault> {
    let parts = note::split(note).map_err(super::refused)?;
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, blob) in &parts.lines {
        let Some((at, witness)) = witnesses.clone().enumerate().find(|(_, witness)| witness.is_named(name, blob))
        else {
            continue;
        };
        let Some(time) = witness.verify(parts.text, blob) else {
            let detail = format!("the cosignature of {name}+{} does not fit", witness.id);
            return Err(Fault::new(code::LOG_SIGNATURE, detail));
        };
        if seen.insert(at) {
            let line = format!("{DASH}{name} {}", STANDARD.encode(blob));
            found.push((at, witness.cosignature(time, &line)));
        }
    }
    Ok(found)
}

/// A note with these cosignatures behind its lines, those left out that it has already.
pub fn with_cosignatures(note: &str, cosignatures: &[Cosignature]) -> String {
    let mut out = note.to_owned();
    for Cosignature { line, .. } in cosignatures {
        if !note.lines().any(|there| there == line) {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

fn signature_line(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, blob) = line.strip_prefix(DASH)?.split_once(' ')?;
    let blob = STANDARD.decode(blob).ok().filter(|blob| blob.len() > 4)?;
    note::is_key_name(name).then_some((name, blob))
}

/// A witness as tests need it: what it answers.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};

    /// The verifier key of a witness with this seed.
    pub(crate) fn witness(name: &str, seed: u8) -> Cosigner {
        let key = SigningKey::from_bytes(&[seed; 32]).verifying_key();
        Cosigner { name: name.into(), id: KeyId::of_type(name, ED25519, key.as_bytes()), key }
    }

    /// Its signature line over a checkpoint's text.
    pub(crate) fn cosign(name: &str, seed: u8, text: &str, time: u64) -> String {
        let signature = SigningKey::from_bytes(&[seed; 32]).sign(message(text, time).as_bytes());
        let id = witness(name, seed).id;
        let blob = [&id.0[..], &time.to_be_bytes(), &signature.to_bytes()].concat();
        format!("{DASH}{name} {}\n", STANDARD.encode(blob))
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::*, *};
    use proptest::prelude::*;

    /// Found in FiloSottile/sunlight, cmd/skylight/testdata.
    const KEY: &str = "witness.example.org+b8a2cf20+BFLN3yikSfFkVAJtrnh/CiY3Zozkoy7clp+P7XB28qUN";
    const TEXT: &str = "rome2026h1.example.org\n300\nlCkHUpkmVBEms2r2T1K6Og69+wUuuN3MIEW1/ezu2v0=\n";
    const SIGNATURE: &str =
        "uKLPIAAAAABpVGeAhm2bOvKc3LaB9PFN1ruG19Y5yqslmcAAbhftnn1Zznmo0LXFZq4LGvqKqLX8jWlwLKasxEGTLIqAVusneCBmBw==";

    #[test]
    fn the_published_cosignature_verifies() {
        let witness = Cosigner::parse(KEY).unwrap();
        assert_eq!(witness.text(), KEY);
        let line = format!("{DASH}witness.example.org {SIGNATURE}");
        let found = witness.find(TEXT, format!("{line}\n").as_bytes()).unwrap();
        assert_eq!((found.time, found.id.as_str(), &found.line), (1_767_139_200, "b8a2cf20", &line));
        assert!(witness.find(&TEXT.replace("300", "301"), format!("{line}\n").as_bytes()).is_err());
    }

    /// The published proof of the prior art: its checkpoint has a line of the log and one of a witness.
    #[test]
    fn cosignatures_are_found_on_a_note_beside_that_of_the_log() {
        let note = "authseal.example/log1\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n\n\
            \u{2014} authseal.example/log1 \
            OzgqsQV4+Eit7EsRgEyQmea3mLrY1E8MCv5QU+RNoqXRLTIpuZwmqoOax8EZUmPdYx+27pF6LaOng4by9LYhoA1fqAo=\n\
            \u{2014} witness.example/w1 \
            BNLYMwAAAABlU/EAi9G1iwfrLdGgQDHoEyXsMomywUHFqGk2wzEJOITKUI0sxU0VKzAQiuCpld9a8CRQklT4wHfwCqixpRjiNctVAA==\n";
        let key = "witness.example/w1+04d2d833+BD1AF8PoQ4lakrcKp00bfrycmCzPLsSWjMDNVfEq9GYM";
        let known = [witness("other", 1), Cosigner::parse(key).unwrap()];
        let found = cosignatures(note.as_bytes(), known.iter()).unwrap();
        assert_eq!(found.iter().map(|(at, c)| (*at, c.time)).collect::<Vec<_>>(), [(1, 1_700_000_000)]);
        assert_eq!(with_cosignatures(note, &[found[0].1.clone()]), note, "it is there already");
        let forged = note.replace("\n8\n", "\n9\n");
        assert_eq!(cosignatures(forged.as_bytes(), known.iter()).unwrap_err().code, code::LOG_SIGNATURE);
        assert_eq!(cosignatures(forged.as_bytes(), known[..1].iter()), Ok(vec![]), "an unknown key says nothing");
    }

    #[test]
    fn what_is_added_reads_back_once() {
        let signer = note::Signer::from_seed("log", [9; 32]).unwrap();
        let text = "log\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n";
        let (first, second) = (witness("w/1", 1), witness("w/2", 2));
        let answers = [cosign("w/1", 1, text, 7), cosign("w/2", 2, text, 8)];
        let found =
            [first.find(text, answers[0].as_bytes()), second.find(text, answers[1].as_bytes())].map(Result::unwrap);
        let note = with_cosignatures(&signer.sign(text).unwrap(), &found);
        assert_eq!(with_cosignatures(&note, &found), note);
        let read = cosignatures(note.as_bytes(), [first, second].iter()).unwrap();
        assert_eq!(read.into_iter().map(|(_, c)| c).collect::<Vec<_>>(), found);
        assert!(note::Verifiers::of(&signer).open(note.as_bytes()).is_ok());
    }

    #[test]
    fn other_answers_are_told_apart() {
        let witness = witness("w", 1);
        let (good, other) = (cosign("w", 1, TEXT, 5), cosign("other", 2, TEXT, 5));
        assert!(witness.find(TEXT, format!("{other}{good}").as_bytes()).is_ok());
        let bad = |answer: &str| witness.find(TEXT, answer.as_bytes()).unwrap_err();
        assert!(bad(&other).contains("without a signature of its key w+"));
        assert!(bad(&cosign("w", 1, "another\n", 5)).contains("does not fit"));
        assert!(bad(&cosign("w", 1, TEXT, 0)).contains("does not fit"), "no time");
        assert!(bad(&cosign("w", 1, TEXT, 1 << 63)).contains("does not fit"), "a time beyond the format");
        for garbage in ["", "\n", "<html>\n", "200\n", good.trim_end()] {
            assert!(bad(garbage).starts_with("its answer"), "{garbage:?}");
        }
    }

    #[test]
    fn keys_of_other_types_are_refused_by_name() {
        let log = note::Signer::from_seed("log", [9; 32]).unwrap().verifier_key();
        let says = |text: &str| Cosigner::parse(text).unwrap_err().to_string();
        assert!(says(&log).contains("key of a log"));
        assert!(says(&KEY.replace("b8a2cf20", "b8a2cf21")).contains("another name or key"));
        assert!(says("w+00000000+Bg==").contains("ML-DSA-44"));
        for bad in ["", "w", "w+1+AA==", "w+00000000+AA==", "w+00000000+BAAA", "PRIVATE+KEY+w+00000000+AAAA"] {
            assert!(Cosigner::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn hostile_answers_and_notes_never_pass_or_panic(
            bytes: Vec<u8>, text: String, lines in "(— w [A-Za-z0-9+/=]{0,120}\n){0,4}",
        ) {
            let witness = witness("w", 1);
            prop_assert!(witness.find(TEXT, &bytes).is_err());
            prop_assert!(witness.find(&text, lines.as_bytes()).is_err());
            prop_assert_eq!(witness.verify(&text, &bytes), None);
            let _ = (Cosigner::parse(&text), cosignatures(&bytes, [witness].iter()));
        }

        #[test]
        fn a_changed_bit_is_seen(bit in 0_usize..76 * 8) {
            let witness = witness("w", 1);
            let line = cosign("w", 1, TEXT, 5);
            let mut blob = STANDARD.decode(line.trim_end().rsplit(' ').next().unwrap()).unwrap();
            prop_assert_eq!(witness.verify(TEXT, &blob), Some(5));
            blob[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(witness.verify(TEXT, &blob), None);
        }
    }
}
