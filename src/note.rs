//! C2SP signed notes with Ed25519 keys: text that people can read, and lines that say who signed it.
//! Source: c2sp.org/signed-note. A note is `text ‖ "\n" ‖ signature lines`; the text ends in a newline.

use crate::{
    digest::{Digest, hex},
    error::{Error, Result},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature as Ed25519, Signer as _, SigningKey, VerifyingKey};
use std::fmt;
use zeroize::Zeroizing;

/// The type of an Ed25519 key, as the first byte of its key data.
const ED25519: u8 = 1;
/// A note with more signature lines is refused.
pub const MAX_SIGNATURES: usize = 64;
/// What a line of a signer's key file begins with.
const PRIVATE: &str = "PRIVATE+KEY+";
/// Begins a signature line: U+2014 and a space.
pub(crate) const DASH: &str = "\u{2014} ";

/// The first four bytes of SHA-256(name ‖ 0x0A ‖ type ‖ public key).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 4]);

impl KeyId {
    /// Reads eight lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.len() == 8 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        u32::from_str_radix(text, 16).ok().filter(|_| lower).map(|id| Self(id.to_be_bytes()))
    }

    fn of(name: &str, public: &[u8; 32]) -> Self {
        Self::of_type(name, ED25519, public)
    }

    /// That of a key of another signature type: notes of a log carry cosignatures too.
    pub(crate) fn of_type(name: &str, kind: u8, public: &[u8]) -> Self {
        let [a, b, c, d, ..] = Digest::of_parts(&[name.as_bytes(), &[b'\n', kind], public]).0;
        Self([a, b, c, d])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A signing key: name and Ed25519 seed. Never printed; its memory is wiped when it is dropped.
pub struct Signer {
    name: String,
    id: KeyId,
    key: SigningKey,
}

impl Signer {
    /// Reads `PRIVATE+KEY+<name>+<hash>+<keydata>`.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::config(format!("the signing key cannot be read: {what}; write it with `authseal keys generate`"))
        };
        let text = text.trim_end_matches(['\r', '\n']);
        let rest = text.strip_prefix(PRIVATE).ok_or_else(|| wrong("it does not begin with PRIVATE+KEY+"))?;
        let (name, id, data) = split_key(rest).ok_or_else(|| wrong("it is not PRIVATE+KEY+name+hash+keydata"))?;
        let data = Zeroizing::new(STANDARD.decode(data).map_err(|_| wrong("its key data is not base64"))?);
        let seed = key_bytes(&data).ok_or_else(|| wrong("its key data is not an Ed25519 seed"))?;
        let signer = Self::from_seed(name, *seed)?;
        if signer.id != id {
            return Err(wrong("its hash belongs to another key"));
        }
        Ok(signer)
    }

    /// A new key called `name` from 32 random bytes.
    pub fn from_seed(name: &str, seed: [u8; 32]) -> Result<Self> {
        if !is_key_name(name) {
            return Err(Error::config(format!("{name:?} cannot name a key: no spaces, no plus signs, not empty")));
        }
        let seed = Zeroizing::new(seed);
        let key = SigningKey::from_bytes(&seed);
        Ok(Self { name: name.into(), id: KeyId::of(name, key.verifying_key().as_bytes()), key })
    }

    /// `PRIVATE+KEY+…`: what the key file holds.
    pub fn secret_text(&self) -> Zeroizing<String> {
        let mut data = Zeroizing::new([ED25519; 33]);
        data[1..].copy_from_slice(&*Zeroizing::new(self.key.to_bytes()));
        let mut text = Zeroizing::new(String::with_capacity(PRIVATE.len() + self.name.len() + 64));
        for part in [PRIVATE, &self.name, "+", &self.id.to_string(), "+"] {
            text.push_str(part);
        }
        // written in place, so that no copy of the seed is left behind
        STANDARD.encode_string(&data[..], &mut text);
        text
    }

    /// The 32 secret bytes, for whoever writes them into a file of another form.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// Key name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Key id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// `<name>+<hash>+<keydata>`: what verifiers need.
    pub fn verifier_key(&self) -> String {
        verifier_text(&self.name, self.id, self.key.verifying_key().as_bytes())
    }

    /// `text` (which ends in a newline) with one signature line.
    pub fn sign(&self, text: &str) -> Result<String> {
        assemble(text, &self.name, self.id, &self.signature(text))
    }

    /// The signature over `text` alone.
    pub fn signature(&self, text: &str) -> [u8; 64] {
        self.key.sign(text.as_bytes()).to_bytes()
    }
}

/// The note of `text` (which ends in a newline) with one signature line, whoever made the signature.
pub fn assemble(text: &str, name: &str, id: KeyId, signature: &[u8; 64]) -> Result<String> {
    if !is_text(text) {
        return Err(Error::bug("a note's text must end in a newline and hold no other control characters"));
    }
    let mut blob = [0; 68];
    blob[..4].copy_from_slice(&id.0);
    blob[4..].copy_from_slice(signature);
    Ok(format!("{text}\n{DASH}{name} {}\n", STANDARD.encode(blob)))
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}+{}, secret)", self.name, self.id)
    }
}

/// Who signed a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Key name.
    pub name: String,
    /// Key id.
    pub id: KeyId,
}

/// A note that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note<'a> {
    /// The text that was signed; it ends in a newline.
    pub text: &'a str,
    /// The signatures of known keys, all of them good, in the order of the note.
    pub signatures: Vec<Signature>,
    /// How many signature lines are in the note, unknown keys included.
    pub lines: usize,
}

/// Why a note is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is not a signed note; what is wrong.
    Form(&'static str),
    /// The signature of a known key is bad.
    Signature(KeyId),
    /// No key that is known signed it.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Verifier {
    name: String,
    id: KeyId,
    key: VerifyingKey,
}

/// Keys that may have signed.
#[derive(Debug, Clone, Default)]
pub struct Verifiers {
    keys: Vec<Verifier>,
}

impl Verifiers {
    /// Reads verifier keys, one a line; empty lines and lines that begin with `#` are passed over.
    pub fn parse(text: &str) -> Result<Self> {
        let mut keys = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_end_matches('\r');
            if !line.is_empty() && !line.starts_with('#') {
                keys.add(line).map_err(|e| e.context(format!("verifier key in line {}", number + 1)))?;
            }
        }
        Ok(keys)
    }

    /// The verifier of a signer.
    pub fn of(signer: &Signer) -> Self {
        Self { keys: vec![Verifier { name: signer.name.clone(), id: signer.id, key: signer.key.verifying_key() }] }
    }

    /// Whether no key is known.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Names and ids of the keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, KeyId)> {
        self.keys.iter().map(|k| (k.name.as_str(), k.id))
    }

    /// `<name>+<hash>+<keydata>` of every key, one a line: what [`Verifiers::parse`] reads.
    pub fn text(&self) -> String {
        self.keys.iter().map(|k| verifier_text(&k.name, k.id, k.key.as_bytes()) + "\n").collect()
    }

    /// Those of the keys that are called `name`.
    pub fn named(&self, name: &str) -> Self {
        self.filtered(|named, _| named == name)
    }

    /// Those of the keys that `wanted` wants.
    pub fn filtered(&self, wanted: impl Fn(&str, KeyId) -> bool) -> Self {
        Self { keys: self.keys.iter().filter(|key| wanted(&key.name, key.id)).cloned().collect() }
    }

    /// Adds the keys of `other`. Fails if two different keys have one name and id.
    pub fn extend(&mut self, other: &Self) -> Result<()> {
        other.keys.iter().try_for_each(|key| self.add(&verifier_text(&key.name, key.id, key.key.as_bytes())))
    }

    /// `<name>+<hash>+<keydata>` of one key, if it is known.
    pub fn text_of(&self, name: &str, id: KeyId) -> Option<String> {
        self.find(name, id).map(|key| verifier_text(&key.name, key.id, key.key.as_bytes()))
    }

    /// Whether `signature` over `text` is that of the key; `None`: the key is not known.
    pub fn verify(&self, name: &str, id: KeyId, text: &str, signature: &[u8]) -> Option<bool> {
        let known = self.find(name, id)?;
        let good = Ed25519::from_slice(signature).and_then(|s| known.key.verify_strict(text.as_bytes(), &s));
        Some(good.is_ok())
    }

    /// Adds `<name>+<hash>+<keydata>`.
    pub fn add(&mut self, text: &str) -> Result<()> {
        let wrong = |what: &str| Error::config(format!("{text:?} is not a verifier key: {what}"));
        if text.starts_with(PRIVATE) {
            return Err(Error::config(
                "this is a private key: give its verifier key (`authseal keys show`), and keep it secret",
            ));
        }
        let (name, id, data) = split_key(text).ok_or_else(|| wrong("it should be name+hash+keydata"))?;
        let data = STANDARD.decode(data).map_err(|_| wrong("its key data is not base64"))?;
        let public = key_bytes(&data).ok_or_else(|| wrong("its key data is not an Ed25519 key"))?;
        let key = VerifyingKey::from_bytes(public).ok().filter(|k| !k.is_weak());
        let key = key.ok_or_else(|| wrong("its key data is not a point that can be a key"))?;
        if KeyId::of(name, public) != id {
            return Err(wrong("its hash belongs to another name or key"));
        }
        let new = Verifier { name: name.into(), id, key };
        match self.find(name, id) {
            None => self.keys.push(new),
            Some(known) if *known == new => {}
            Some(_) => return Err(wrong("another key has the same name and hash")),
        }
        Ok(())
    }

    fn find(&self, name: &str, id: KeyId) -> Option<&Verifier> {
        self.keys.iter().find(|k| k.id == id && k.name == name)
    }

    /// Reads a note. Signatures of unknown keys are passed over; a bad signature of a known key refuses the note,
    /// and so does a note that no known key signed.
    pub fn open<'a>(&self, note: &'a [u8]) -> Result<Note<'a>, Refused> {
        let Parts { text, lines } = split(note)?;
        let mut signatures = Vec::new();
        for (name, blob) in &lines {
            let [a, b, c, d, signature @ ..] = &blob[..] else { return Err(Refused::Form("a signature is too short")) };
            let id = KeyId([*a, *b, *c, *d]);
            match self.verify(name, id, text, signature) {
                None => continue,
                Some(false) => return Err(Refused::Signature(id)),
                Some(true) => {}
            }
            signatures.push(Signature { name: (*name).into(), id });
        }
        if signatures.is_empty() {
            return Err(Refused::Unknown);
        }
        Ok(Note { text, signatures, lines: lines.len() })
    }
}

/// The parts of a note, unverified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The text, which ends in a newline.
    pub text: &'a str,
    /// Key names and blobs of the signature lines; a blob has more than four bytes.
    pub lines: Vec<(&'a str, Vec<u8>)>,
}

/// Splits a note and verifies nothing: for saying what is wrong with one.
pub fn split(note: &[u8]) -> Result<Parts<'_>, Refused> {
    let form = Refused::Form;
    let note = std::str::from_utf8(note).map_err(|_| form("it is not UTF-8"))?;
    if note.bytes().any(|c| c < 0x20 && c != b'\n') {
        return Err(form("it holds control characters"));
    }
    let at = note.rfind("\n\n").ok_or(form("no empty line is between text and signatures"))?;
    let (text, signatures) = (&note[..=at], &note[at + 2..]);
    let signatures = signatures.strip_suffix('\n').ok_or(form("it does not end in a signature line"))?;
    if signatures.split('\n').count() > MAX_SIGNATURES {
        return Err(form("it has too many signatures"));
    }
    let line = |line| signature_line(line).ok_or(form("a signature line is not dash, key name, base64"));
    Ok(Parts { text, lines: signatures.split('\n').map(line).collect::<Result<_, _>>()? })
}

fn signature_line(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, blob) = line.strip_prefix(DASH)?.split_once(' ')?;
    let blob = STANDARD.decode(blob).ok().filter(|b| b.len() > 4)?;
    is_key_name(name).then_some((name, blob))
}

/// `name+hash+keydata`: base64 may hold plus signs, so only the first two separate.
pub(crate) fn split_key(text: &str) -> Option<(&str, KeyId, &str)> {
    let mut parts = text.splitn(3, '+');
    let (name, id, data) = (parts.next()?, parts.next()?, parts.next()?);
    let id = KeyId::parse(id)?;
    is_key_name(name).then_some((name, id, data))
}

fn key_bytes(data: &[u8]) -> Option<&[u8; 32]> {
    data.strip_prefix(&[ED25519])?.try_into().ok()
}

fn verifier_text(name: &str, id: KeyId, public: &[u8; 32]) -> String {
    let mut data = [ED25519; 33];
    data[1..].copy_from_slice(public);
    format!("{name}+{id}+{}", STANDARD.encode(data))
}

/// Whether `name` can name a key: not empty, no Unicode space, no plus sign, no control character.
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c < ' ' || c == '+')
}

fn is_text(text: &str) -> bool {
    text.ends_with('\n') && !text.bytes().any(|c| c < 0x20 && c != b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of c2sp.org/signed-note.
    const EXAMPLE_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const EXAMPLE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
        Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    /// A tree head of sum.golang.org, found in FiloSottile/torchwood.
    const SUMDB_KEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
    const SUMDB: &str = "go.sum database tree\n35225469\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=\n\n\
        \u{2014} sum.golang.org \
        Az3grpukl5AXaVfYkLiDGORx/DN2nlcS5kZHR5uYOBV2KA2HgXpD+gu9HHONebHLAyaKbbTM75QTtPydhKCExixSfwQ=\n";
    /// The golden log of transparency-dev/tessera.
    const GOLDEN: &str = "PRIVATE+KEY+example.com/log/testdata+33d7b496+AeymY/SZAX0jZcJ8enZ5FY1Dz+wTML2yWSkK+9DSF3eg";

    fn seeded(name: &str) -> Signer {
        Signer::from_seed(name, [7; 32]).unwrap()
    }

    #[test]
    fn published_notes_verify() {
        for (key, note) in [(EXAMPLE_KEY, EXAMPLE), (SUMDB_KEY, SUMDB)] {
            let keys = Verifiers::parse(&format!("# a comment\n\n{key}\n{key}\r\n")).unwrap();
            let opened = keys.open(note.as_bytes()).unwrap();
            assert_eq!((opened.signatures.len(), opened.lines), (1, 1));
            assert!(note.starts_with(opened.text) && opened.text.ends_with('\n'));
            assert_eq!(keys.text(), format!("{key}\n"));
        }
    }

    #[test]
    fn the_golden_signer_signs_as_its_own_tools_do() {
        let signer = Signer::parse(GOLDEN).unwrap();
        assert_eq!(signer.secret_text().as_str(), GOLDEN);
        let text = "example.com/log/testdata\n15\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\n";
        let want = "M9e0luh4jTG+UMBqOUo9/q+yAEvx1ilBEniMvjf1zfcBOhg+CKubMt53MvIt/uEWP6zdkdIQzd/fmwlM/dlPWF74ewI=";
        let note = signer.sign(text).unwrap();
        assert_eq!(note, format!("{text}\n\u{2014} example.com/log/testdata {want}\n"));
        assert_eq!(Verifiers::of(&signer).open(note.as_bytes()).unwrap().text, text);
        assert!(!format!("{signer:?}").contains("eymY"), "{signer:?}");
    }

    #[test]
    fn text_and_signatures_part_at_the_last_empty_line() {
        let signer = seeded("a");
        let text = "one\n\n\u{2014} a AAAAAAAA\n\ntwo\n";
        let note = signer.sign(text).unwrap();
        assert_eq!(Verifiers::of(&signer).open(note.as_bytes()).unwrap().text, text);
    }

    #[test]
    fn unknown_keys_are_passed_over_and_a_known_key_that_fails_refuses() {
        let (ours, other) = (seeded("ours"), seeded("other"));
        let text = "text\n";
        let line = |s: &Signer, text: &str| s.sign(text).unwrap().rsplit_once("\n\n").unwrap().1.to_string();
        let note = |lines: &[String]| format!("{text}\n{}", lines.concat());
        let keys = Verifiers::of(&ours);
        let good = note(&[vec![line(&other, text); 15], vec![line(&ours, text)]].concat());
        let opened = keys.open(good.as_bytes()).unwrap();
        assert_eq!((opened.lines, opened.signatures.len()), (16, 1));
        assert_eq!(keys.open(note(&[line(&other, text)]).as_bytes()), Err(Refused::Unknown));
        let bad = note(&[line(&ours, text), line(&ours, "forged\n")]);
        assert_eq!(keys.open(bad.as_bytes()), Err(Refused::Signature(ours.id())));
        // same id, another name: not the key that we know
        let renamed = line(&ours, text).replace(" ours ", " theirs ");
        assert_eq!(keys.open(note(&[renamed]).as_bytes()), Err(Refused::Unknown));
        let many = note(&vec![line(&ours, text); MAX_SIGNATURES + 1]);
        assert!(matches!(keys.open(many.as_bytes()), Err(Refused::Form(_))));
    }

    #[test]
    fn what_is_not_a_note_is_refused() {
        let signer = seeded("a");
        let good = signer.sign("text\n").unwrap();
        let keys = Verifiers::of(&signer);
        for bad in [
            good.replace('\u{2014}', "-"),
            good.trim_end().to_string(),
            good.replace("\n\n", "\n"),
            good.clone() + "x",
            good.clone() + "\n",
            good.replace("text", "te\txt"),
            good.replace(" a ", " a+b "),
            good.replace(" a ", "  "),
            format!("text\n\n{DASH}a AAAAAA==\n"),
            String::new(),
            "\n\n".into(),
        ] {
            assert!(
                matches!(keys.open(bad.as_bytes()), Err(Refused::Form(_))),
                "{bad:?}: {:?}",
                keys.open(bad.as_bytes())
            );
        }
        assert_eq!(keys.open(b"\xff\n\n"), Err(Refused::Form("it is not UTF-8")));
        assert!(signer.sign("no newline").is_err() && signer.sign("tab\t\n").is_err());
    }

    #[test]
    fn bad_keys_are_refused_without_showing_secrets() {
        for bad in ["", "PRIVATE+KEY+", &GOLDEN[..40], &GOLDEN.replace("33d7", "33d8"), &GOLDEN.replace("+Aey", "+Bey")]
        {
            let message = Signer::parse(bad).unwrap_err().to_string();
            assert!(!message.contains("mY/SZ"), "{message}");
        }
        for bad in [
            "x",
            "a+b+c",
            &EXAMPLE_KEY.replace("530d903a", "530D903A"),
            &EXAMPLE_KEY.replace("530d903a", "530d903b"),
            &EXAMPLE_KEY.replace("foo", "bar"),
            &EXAMPLE_KEY.replace("+Aek", "+Bek"),
            GOLDEN,
        ] {
            let message = Verifiers::parse(bad).unwrap_err().to_string();
            assert!(!message.contains("mY/SZ"), "{message}");
        }
        for name in ["", "a b", "a+b", "a\u{a0}b", "a\nb"] {
            assert!(Signer::from_seed(name, [1; 32]).is_err(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_reads_back(lines in prop::collection::vec("[^\\x00-\\x1f]*", 1..5), seed: [u8; 32]) {
            let text = lines.join("\n") + "\n";
            let signer = Signer::from_seed("k", seed).unwrap();
            let note = signer.sign(&text).unwrap();
            prop_assert_eq!(Verifiers::of(&signer).open(note.as_bytes()).unwrap().text, text);
            let again = Signer::parse(&signer.secret_text()).unwrap();
            prop_assert_eq!(Verifiers::parse(&signer.verifier_key()).unwrap().text(), Verifiers::of(&again).text());
        }

        #[test]
        fn a_changed_byte_is_seen(at: prop::sample::Index, flip in 1..=255_u8) {
            let signer = seeded("k");
            let mut note = signer.sign("some text\nmore\n").unwrap().into_bytes();
            let at = at.index(note.len());
            note[at] ^= flip;
            prop_assert!(Verifiers::of(&signer).open(&note).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(note: Vec<u8>, text: String) {
            prop_assert!(Verifiers::of(&seeded("k")).open(&note).is_err());
            let _ = (Verifiers::parse(&text), Signer::parse(&text));
        }
    }
}
