//! A checkpoint: the size and root of the log, signed (c2sp.org/tlog-checkpoint). Three lines: origin, size, root.

use super::refused;
use crate::{
    digest::Digest,
    error::Result,
    fault::{Fault, code},
    note::{Signer, Verifiers},
};

/// A checkpoint is at most this long, its signatures and those of witnesses included.
pub const MAX: usize = 65_536;

/// What the log was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Digest,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// The signed note.
    pub fn sign(&self, signer: &Signer) -> Result<String> {
        signer.sign(&self.text())
    }

    /// Reads the text. Extension lines are passed over: this log writes none, and nobody can audit them.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let form = |what: &str| Fault::new(code::LOG_FORM, format!("it is not a checkpoint: {what}"));
        let lines = text.strip_suffix('\n').ok_or_else(|| form("its text does not end in a newline"))?;
        let mut lines = lines.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty()).ok_or_else(|| form("it has no origin"))?;
        let size = lines.next().and_then(decimal).ok_or_else(|| form("its second line is no size"))?;
        let root = lines.next().and_then(Digest::from_base64).ok_or_else(|| form("its third line is no root"))?;
        match lines.all(|line| !line.is_empty()) {
            true => Ok(Self { origin: origin.into(), size, root }),
            false => Err(form("an extension line is empty")),
        }
    }

    /// Opens a signed checkpoint of the log `origin`: one of the keys called so must have signed it. Signatures of
    /// keys that are not known, of witnesses for example, are passed over.
    pub fn open(note: &[u8], keys: &Verifiers, origin: &str) -> Result<Self, Fault> {
        if note.len() > MAX {
            return Err(Fault::new(code::LOG_FORM, format!("it has {} bytes, at most {MAX} are allowed", note.len())));
        }
        let note = keys.open(note).map_err(refused)?;
        if !note.signatures.iter().any(|signature| signature.name == origin) {
            return Err(Fault::new(code::LOG_UNKNOWN_KEY, format!("no key called {origin} signed it")));
        }
        let checkpoint = Self::parse(note.text)?;
        match checkpoint.origin == origin {
            true => Ok(checkpoint),
            false => Err(Fault::new(code::LOG_FORM, format!("it is of the log {}, not {origin}", checkpoint.origin))),
        }
    }
}

/// A number in decimal, without sign and leading zeros: the one spelling in checkpoints and proofs.
pub fn decimal(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|c| c.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checkpoint of the golden log of transparency-dev/tessera.
    #[test]
    fn the_golden_checkpoint_is_signed_byte_for_byte() {
        let key = "PRIVATE+KEY+example.com/log/testdata+33d7b496+AeymY/SZAX0jZcJ8enZ5FY1Dz+wTML2yWSkK+9DSF3eg";
        let signer = Signer::parse(key).unwrap();
        let root = Digest::from_base64("rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=").unwrap();
        let checkpoint = Checkpoint { origin: "example.com/log/testdata".into(), size: 15, root };
        let note = checkpoint.sign(&signer).unwrap();
        let signature = "M9e0luh4jTG+UMBqOUo9/q+yAEvx1ilBEniMvjf1zfcBOhg+CKubMt53MvIt/uEWP6zdkdIQzd/fmwlM/dlPWF74ewI=";
        let want = format!("example.com/log/testdata\n15\n{root}\n\n\u{2014} example.com/log/testdata {signature}\n");
        assert_eq!(note, want);
        let keys = Verifiers::of(&signer);
        assert_eq!(Checkpoint::open(note.as_bytes(), &keys, "example.com/log/testdata"), Ok(checkpoint));
        let other = Checkpoint::open(note.as_bytes(), &keys, "example.com/log");
        assert_eq!(other.unwrap_err().code, code::LOG_UNKNOWN_KEY);
    }

    /// The published proof of the prior art: a log signature beside one of a witness that is not known.
    #[test]
    fn a_signature_of_a_witness_is_passed_over() {
        let note = "authseal.example/log1\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n\n\
            \u{2014} authseal.example/log1 \
            OzgqsQV4+Eit7EsRgEyQmea3mLrY1E8MCv5QU+RNoqXRLTIpuZwmqoOax8EZUmPdYx+27pF6LaOng4by9LYhoA1fqAo=\n\
            \u{2014} witness.example/w1 \
            BNLYMwAAAABlU/EAi9G1iwfrLdGgQDHoEyXsMomywUHFqGk2wzEJOITKUI0sxU0VKzAQiuCpld9a8CRQklT4wHfwCqixpRjiNctVAA==\n";
        let keys =
            Verifiers::parse("authseal.example/log1+3b382ab1+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea").unwrap();
        let checkpoint = Checkpoint::open(note.as_bytes(), &keys, "authseal.example/log1").unwrap();
        assert_eq!(checkpoint.size, 8);
        let forged = note.replace("\n8\n", "\n9\n");
        let error = Checkpoint::open(forged.as_bytes(), &keys, "authseal.example/log1").unwrap_err();
        assert_eq!(error.code, code::LOG_SIGNATURE);
    }

    #[test]
    fn only_one_spelling_is_read() {
        let root = Digest::of(b"");
        let good = format!("a\n10\n{root}\n");
        assert_eq!(Checkpoint::parse(&good).unwrap().text(), good);
        assert!(Checkpoint::parse(&format!("{good}extension\n")).is_ok());
        for bad in [
            format!("\n10\n{root}\n"),
            format!("a\n010\n{root}\n"),
            format!("a\n+1\n{root}\n"),
            format!("a\n-1\n{root}\n"),
            format!("a\n\n{root}\n"),
            format!("a\n99999999999999999999\n{root}\n"),
            format!("a\n10\n{}\n", root.hex()),
            format!("a\n10\n{root}"),
            format!("a\n10\n{root}\n\n"),
            "a\n10\n".into(),
        ] {
            assert_eq!(Checkpoint::parse(&bad).map_err(|f| f.code), Err(code::LOG_FORM), "{bad:?}");
        }
    }
}
