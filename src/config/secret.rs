//! Text that must never be printed: wiped from memory when dropped, shown as `<redacted>`.

use base64::{Engine, engine::general_purpose::STANDARD};
use std::fmt;
use zeroize::Zeroizing;

/// A password, a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text in.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself: for the one call that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// What is shown instead of a secret.
pub const REDACTED: &str = "<redacted>";

/// 32 secret bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Key32(Zeroizing<[u8; 32]>);

impl Key32 {
    /// What is said of a text that is none, behind what it is called.
    pub const WRONG: &str = "is neither 64 hexadecimal digits nor the base64 of 32 bytes";

    /// Reads 64 hexadecimal digits or the padded base64 of 32 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = match crate::digest::Digest::from_hex(&text.to_ascii_lowercase()) {
            Some(digest) => digest.0,
            None => STANDARD.decode(text).map(Zeroizing::new).ok()?.as_slice().try_into().ok()?,
        };
        Some(Self(Zeroizing::new(bytes)))
    }

    /// The bytes themselves.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}
