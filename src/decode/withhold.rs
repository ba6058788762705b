//! What stands for bytes that are not kept: HMAC-SHA-256 under a key that can be destroyed, so that a holder of the
//! bytes can prove them while nobody can guess them, and pseudonyms by which events still join.

use super::codes;
use crate::{
    digest::hex,
    event::{AuthEvent, Field, Slot, Text},
    record::{RawRecord, Scope, Withheld},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Pseudonyms begin with it; a class and 32 hexadecimal digits follow: `hmac:session:…`.
pub const PSEUDONYM_PREFIX: &str = "hmac:";

/// Identifiers shorter than this are not looked for within other texts: they would be found by chance.
const MIN_SOUGHT: usize = 8;

/// Identifiers that a reader could replay, each with the class within which equal ones join.
const IDENTIFIERS: [(Field, &str); 5] = [
    (Field::session, "session"),
    (Field::root_session, "session"),
    (Field::token_id, "token"),
    (Field::token_family, "token"),
    (Field::device_token, "device"),
];

/// The class of a field that holds a replayable identifier.
pub(super) fn class_of(field: Field) -> Option<&'static str> {
    IDENTIFIERS.iter().find(|(f, _)| *f == field).map(|(_, class)| *class)
}

/// Makes MACs under the destroyable key.
#[derive(Clone)]
pub(super) struct Macs {
    keyed: Hmac<Sha256>,
}

impl Macs {
    pub fn new(key: &[u8; 32]) -> Self {
        // HMAC fills a short key up with zeros to the block of its hash
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(key);
        Self { keyed: Hmac::<Sha256>::new(&block.into()) }
    }

    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.keyed.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Stands for the value: the MAC is over its bytes as they are. `None` if there is no value.
    pub fn value(&self, code: &'static str, raw: &RawRecord) -> Option<Withheld> {
        let value = raw.value.as_ref()?;
        Some(Withheld { code, length: value.len() as i64, mac: self.mac(&[value]), scope: Scope::Value })
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

    /// `hmac:<class>:<32 hex digits>`: the first 128 bits of HMAC("authseal/pseudonym@1" ‖ 0x00 ‖ class ‖ 0x00 ‖ text).
    pub fn pseudonym(&self, class: &str, text: &str) -> Text {
        let mac = self.mac(&[b"authseal/pseudonym@1\0", class.as_bytes(), &[0], text.as_bytes()]);
        Text::from(format!("{PSEUDONYM_PREFIX}{class}:{}", hex(&mac[..16])))
    }

    /// Puts pseudonyms in place of the identifiers that could be replayed, wherever the event holds them. True if
    /// one of them stands in the record's key or headers too.
    pub fn pseudonymise(&self, event: &mut AuthEvent, raw: &RawRecord) -> bool {
        let mut sought: Vec<(Text, Text)> = Vec::new();
        for (field, class) in IDENTIFIERS {
            if let Slot::OptText(Some(text)) = event.slot(field) {
                let pseudonym = self.pseudonym(class, text);
                sought.push((std::mem::replace(text, pseudonym.clone()), pseudonym));
            }
        }
        // the longest first: one identifier may be the beginning of another
        sought.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        for field in Field::ALL.iter().filter(|f| class_of(**f).is_none()) {
            match event.slot(*field) {
                Slot::Text(text) | Slot::OptText(Some(text)) => replace(text, &sought),
                Slot::Texts(texts) => texts.iter_mut().for_each(|text| replace(text, &sought)),
                _ => {}
            }
        }
        let all: Vec<(Text, Text)> = event.attributes.iter().map(|(k, v)| (k.into(), v.into())).collect();
        for (key, value) in all {
            let (mut new_key, mut new_value) = (key.clone(), value.clone());
            replace(&mut new_key, &sought);
            match attribute_class(&key) {
                Some(class) => new_value = self.pseudonym(class, &value),
                None => replace(&mut new_value, &sought),
            }
            if new_key != key {
                event.attributes.remove(&key);
            }
            if new_key != key || new_value != value {
                event.attributes.insert(new_key, new_value);
            }
        }
        let parts = raw.key.iter().chain(raw.headers.iter().flat_map(|h| [&h.key].into_iter().chain(&h.value)));
        parts.into_iter().any(|part| sought.iter().any(|(text, _)| holds(part, text)))
    }
}

/// An attribute of this name holds an identifier that could be replayed.
fn attribute_class(name: &str) -> Option<&'static str> {
    super::guard::names::replayable(name)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes == text.as_bytes()
        || text.len() >= MIN_SOUGHT
            && bytes.windows(text.len()).any(|window| window[0] == text.as_bytes()[0] && window == text.as_bytes())
}

fn replace(text: &mut Text, sought: &[(Text, Text)]) {
    for (from, to) in sought {
        if text == from {
            *text = to.clone();
        } else if from.len() >= MIN_SOUGHT && text.contains(from.as_str()) {
            *text = text.replace(from.as_str(), to).into();
        }
    }
}

/// The withheld code that goes with a rejection's.
pub(super) fn withheld_code(rejection: &'static str) -> &'static str {
    if rejection == codes::SECRET_FIELD { codes::WITHHELD_SECRET } else { rejection }
}
