//! What stands for bytes that are not kept: HMAC-SHA-256 under a key that can be destroyed, so that a holder of the
//! bytes can prove them while nobody can guess them.

use super::codes;
use crate::record::{RawRecord, Scope, Withheld};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Makes MACs under the destroyable key.
#[derive(Clone)]
pub(super) struct Macs {
    keyed: Hmac<Sha256>,
}

impl Macs {
    pub fn new(key: &[u8; 32]) -> Self {
        Self { keyed: keyed(key) }
    }

    /// Stands for the value: the MAC is over its bytes as they are. `None` if there is no value.
    pub fn value(&self, code: &'static str, raw: &RawRecord) -> Option<Withheld> {
        let value = raw.value.as_ref()?;
        Some(Withheld { code, length: value.len() as i64, mac: mac(&self.keyed, &[value]), scope: Scope::Value })
    }

    /// Stands for the whole record: the MAC is over key, each header's name and value, and value, in this order,
    /// each as 0x00 if null, else 0x01 ‖ length as 8 bytes big-endian ‖ bytes.
    pub fn record(&self, code: &'static str, raw: &RawRecord) -> Withheld {
        let mut mac = self.keyed.clone();
        let mut part = |bytes: Option<&[u8]>| match bytes {
            None => mac.update(&[0]),
            Some(bytes) => {
                mac.update(&[1]);
                mac.update(&(bytes.len() as u64).to_be_bytes());
                mac.update(bytes);
            }
        };
        part(raw.key.as_deref());
        for header in &raw.headers {
            part(Some(&header.key));
            part(header.value.as_deref());
        }
        part(raw.value.as_deref());
        let mac = mac.finalize().into_bytes().into();
        Withheld { code, length: raw.size() as i64, mac, scope: Scope::Record }
    }
}

/// HMAC-SHA-256 under a key.
pub(super) fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC fills a short key up with zeros to the block of its hash
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    Hmac::<Sha256>::new(&block.into())
}

/// The MAC of these bytes, one after the other.
pub(super) fn mac(keyed: &Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed.clone();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The withheld code that goes with a rejection's.
pub(super) fn withheld_code(rejection: &'static str) -> &'static str {
    if rejection == codes::SECRET_FIELD { codes::WITHHELD_SECRET } else { rejection }
}
